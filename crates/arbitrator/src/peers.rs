//! The other arbitrators: who has been heard of, and what is said to them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use st2sa_core::message::ToPeer;
use st2sa_core::names::ArbitratorId;
use st2sa_core::time::Time;
use st2sa_doors::Caller;
use st2sa_proto::v1::peers_client::PeersClient;
use st2sa_proto::{FromPeer, v1};
use tokio::runtime::Handle;
use tonic::transport::Channel;

/// Others that are remembered: more than anybody runs. Whoever was heard of the longest ago is forgotten first.
const PEERS_AT_MOST: usize = 32;

/// How long a connection is used: well within the time that certificates overlap.
const CHANNEL_LASTS: Duration = Duration::from_mins(1);

/// The other arbitrators, as one of them knows them.
pub(crate) struct Peers {
    me: ArbitratorId,
    caller: Caller,
    runtime: Handle,
    /// What is said is of no use later.
    within: Duration,
    heard: BTreeMap<ArbitratorId, Time>,
    channels: BTreeMap<ArbitratorId, (Channel, Instant)>,
}

impl Peers {
    /// Nobody is known yet.
    pub(crate) fn new(me: ArbitratorId, caller: Caller, runtime: Handle, within: Duration) -> Self {
        Self { me, caller, runtime, within, heard: BTreeMap::new(), channels: BTreeMap::new() }
    }

    /// Somebody has said something; those that are known, if he was not among them.
    pub(crate) fn heard(&mut self, now: Time, from: &ArbitratorId) -> Option<Vec<ArbitratorId>> {
        if *from == self.me || self.heard.insert(from.clone(), now).is_some() {
            return None;
        }
        while self.heard.len() > PEERS_AT_MOST {
            let oldest = self.heard.iter().min_by_key(|(_, at)| **at).map(|(peer, _)| peer.clone())?;
            self.heard.remove(&oldest);
            self.channels.remove(&oldest);
        }
        Some(self.heard.keys().cloned().collect())
    }

    /// Says something; it may be lost.
    pub(crate) fn tell(&mut self, to: &ArbitratorId, message: ToPeer) {
        let Some(channel) = self.channel(to) else { return };
        let said = FromPeer { from: self.me.clone(), message }.encode();
        let (within, bearer) = (self.within, self.caller.bearer());
        let to = to.clone();
        self.runtime.spawn(async move {
            let mut client = PeersClient::with_interceptor(channel, bearer);
            match tokio::time::timeout(within, client.tell(said)).await {
                Ok(Ok(_)) => {}
                Ok(Err(status)) => tracing::debug!(%to, %status, "another arbitrator did not hear"),
                Err(_) => tracing::debug!(%to, "another arbitrator does not answer"),
            }
        });
    }

    /// The connection to another one: made when it is first needed, and again whenever it is lost.
    fn channel(&mut self, to: &ArbitratorId) -> Option<Channel> {
        // Made anew now and then: with a certificate that was renewed meanwhile.
        if let Some((channel, _)) = self.channels.get(to).filter(|(_, made)| made.elapsed() < CHANNEL_LASTS) {
            return Some(channel.clone());
        }
        let Some(address) = to.address() else {
            tracing::warn!(%to, "the id of another arbitrator has no address in it: nothing can be said to it");
            return None;
        };
        // Whoever is in the store alone is not counted with those heard of.
        if self.channels.len() > PEERS_AT_MOST * 2 {
            self.channels.clear();
        }
        let _entered = self.runtime.enter();
        let channel = match self.caller.connect_lazily(address, self.within) {
            Ok(channel) => channel,
            Err(error) => {
                tracing::warn!(%to, error, "the address of another arbitrator is none");
                return None;
            }
        };
        self.channels.insert(to.clone(), (channel.clone(), Instant::now()));
        Some(channel)
    }
}

/// What arrives of it, understood.
pub(crate) fn understood(message: &v1::FromPeer) -> Result<Option<FromPeer>, tonic::Status> {
    FromPeer::decode(message).map_err(|error| tonic::Status::invalid_argument(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_on_which_nothing_comes_is_given_up_for_another_one() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = ArbitratorId::new(format!("p@{}", listener.local_addr().unwrap()));
        let caller = Caller::new(st2sa_doors::Keys::default()).unwrap();
        let within = Duration::from_millis(100);
        let mut peers = Peers::new(ArbitratorId::new("me@h:1"), caller, runtime.handle().clone(), within);
        let mut accepted = Vec::new();
        listener.set_nonblocking(true).unwrap();
        let since = std::time::Instant::now();
        // As when the network drops everything: the first one stands, and is silent.
        while accepted.len() < 2 {
            assert!(since.elapsed() < Duration::from_secs(30), "{} connections were made", accepted.len());
            peers.tell(&to, ToPeer::Elector);
            accepted.extend(listener.accept().ok());
            std::thread::sleep(within);
        }
    }

    #[test]
    fn the_others_are_learnt_by_what_they_say_and_the_oldest_are_forgotten() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let me = ArbitratorId::new("me@h:1");
        let caller = Caller::new(st2sa_doors::Keys::default()).unwrap();
        let mut peers = Peers::new(me.clone(), caller, runtime.handle().clone(), Duration::from_millis(1));
        assert_eq!(peers.heard(Time(1), &me), None);
        let id = |number: u64| ArbitratorId::new(format!("p{number:03}@h:{number}"));
        assert_eq!(peers.heard(Time(1), &id(1)), Some(vec![id(1)]));
        assert_eq!(peers.heard(Time(2), &id(1)), None);
        assert_eq!(peers.heard(Time(3), &id(2)), Some(vec![id(1), id(2)]));
        let many = u64::try_from(PEERS_AT_MOST).unwrap();
        for number in 3..=many {
            peers.heard(Time(number + 1), &id(number));
        }
        let known = peers.heard(Time(100), &id(many + 1)).unwrap();
        assert!(known.len() == PEERS_AT_MOST && !known.contains(&id(1)), "{known:?}");
    }
}
