//! A container that is nothing but its stream, and stays with one arbitrator whatever becomes of that one: it sends
//! heartbeats and writes for as long as it lives, and keeps what comes back. What an arbitrator that was deposed still
//! says, it says to this one.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use st2sa_core::message::{Binding, Effects, Heartbeat, Hello, Kind, Offer, State, Status, ToArbitrator, ToContainer};
use st2sa_core::names::{ContainerName, Digest, Fence, Incarnation, Machine, SensorRef, SessionId};
use st2sa_core::placement::Labels;
use st2sa_core::time::{Span, Time};
use st2sa_machine::clock;
use st2sa_proto::v1::datastore_client::DatastoreClient;
use st2sa_proto::v1::sessions_client::SessionsClient;
use st2sa_proto::{About, FromArbitrator, FromContainer, PROTOCOL, v1};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

use crate::SESSION_TTL;
use crate::failure::{OrFail, fail};

/// Between two heartbeats.
const HEARTBEAT: Duration = Duration::from_millis(100);
/// Messages that wait for an arbitrator that stands still: minutes of heartbeats.
const WAITING_AT_MOST: usize = 4_096;
/// An arbitrator that leads grants the sensor within this.
const GRANTED_WITHIN: Duration = Duration::from_secs(15);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// One that is bound, with a sensor of its own that it was told to run.
#[derive(Debug)]
pub struct LoyalContainer {
    sensor: SensorRef,
    heard: Arc<Mutex<Heard>>,
    channel: Channel,
    runtime: Runtime,
}

/// Everything that came back, with when.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Heartbeats that were acknowledged.
    pub acknowledged: Vec<Instant>,
    /// What it was told to be.
    pub statuses: Vec<(Instant, Fence)>,
    /// Writes under its sensor's fence: their names, and whether each was accepted.
    pub writes: Vec<(Instant, String, Result<(), String>)>,
    /// Heartbeats that it has sent.
    pub sent: usize,
    last_acknowledged: Option<Time>,
    ended: Option<String>,
}

impl Heard {
    /// What of it came at this moment or later: heartbeats acknowledged, statuses, and writes accepted.
    pub fn since(&self, moment: Instant) -> (usize, usize, usize) {
        let acknowledged = self.acknowledged.iter().filter(|at| **at >= moment).count();
        let statuses = self.statuses.iter().filter(|(at, _)| *at >= moment).count();
        let writes = self.writes.iter().filter(|(at, _, accepted)| *at >= moment && accepted.is_ok()).count();
        (acknowledged, statuses, writes)
    }
}

impl LoyalContainer {
    /// Greets an arbitrator that leads, binds itself under this name, and offers a sensor that nobody else has; returns once
    /// it is told to run it.
    #[track_caller]
    pub fn bound_to(arbitrator: SocketAddr, name: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{arbitrator}")).or_fail("name an arbitrator");
        Self::bound_over(async move { endpoint.connect().await.map_err(|error| error.to_string()) }, name)
    }

    /// The same over a connection that is made in some other way, with TLS perhaps.
    #[track_caller]
    pub fn bound_over(connecting: impl Future<Output = Result<Channel, String>>, name: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .or_fail("start a runtime");
        let channel = runtime.block_on(connecting).or_fail("connect to an arbitrator");
        let heard = Arc::<Mutex<Heard>>::default();
        let sensor = SensorRef::new(format!("loyal.{name}"));
        let talk = Talk { name: ContainerName::new(name), sensor: sensor.clone(), heard: Arc::clone(&heard) };
        let talking = talk.run(channel.clone());
        let of_talk = Arc::clone(&heard);
        runtime.spawn(async move {
            let ended = talking.await.err().unwrap_or_else(|| "it was closed".to_owned());
            lock(&of_talk).ended = Some(ended);
        });
        let loyal = Self { sensor, heard, channel, runtime };
        let since = Instant::now();
        while loyal.heard().statuses.is_empty() {
            let heard = loyal.heard();
            if since.elapsed() > GRANTED_WITHIN || heard.ended.is_some() {
                fail(format!("{name} is granted nothing: {heard:?}"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        loyal
    }

    /// What came back so far.
    pub fn heard(&self) -> Heard {
        lock(&self.heard).clone()
    }

    /// Asks its arbitrator to store a value in the name of its sensor, under the newest fence that it was given. The answer
    /// is with what is [`heard`](Self::heard) once there is one.
    pub fn write(&self, name: &str) {
        let Some((_, fence)) = self.heard().statuses.last().copied() else { return };
        let name = format!("{}:{name}", self.sensor);
        let request = v1::ApplyRequest {
            sensor: self.sensor.to_string(),
            fence: Some(v1::Fence { term: fence.term.0, n: fence.n }),
            writes: vec![v1::Write { name: name.clone(), value: Some("written".to_owned()), ttl_ms: None }],
        };
        let (mut client, heard) = (DatastoreClient::new(self.channel.clone()), Arc::clone(&self.heard));
        self.runtime.spawn(async move {
            let answer = client.apply(request).await.map(drop).map_err(|status| status.message().to_owned());
            lock(&heard).writes.push((Instant::now(), name, answer));
        });
    }
}

/// Its side of the stream.
struct Talk {
    name: ContainerName,
    sensor: SensorRef,
    heard: Arc<Mutex<Heard>>,
}

impl Talk {
    async fn run(self, channel: Channel) -> Result<(), String> {
        let (messages, waiting) = mpsc::channel(WAITING_AT_MOST);
        let say = async |message: FromContainer| messages.send(message.encode()).await.map_err(|_| "closed".to_owned());
        let incarnation = clock::now().0;
        let hello = Hello {
            name: self.name.clone(),
            incarnation: Incarnation(incarnation),
            machine: Machine(1),
            registration: None,
            highest: None,
            succeeds: None,
            labels: Labels::new(),
            capacity: None,
        };
        let about = About {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: "loyal".to_owned(),
            pid: std::process::id(),
            address: String::new(),
        };
        say(FromContainer::Hello(Box::new(hello), about)).await?;
        let answer = SessionsClient::new(channel).open(ReceiverStream::new(waiting)).await;
        let mut answers = answer.map_err(|status| status.message().to_owned())?.into_inner();
        let mut ticks = tokio::time::interval(HEARTBEAT);
        let mut bound: Option<(SessionId, u64)> = None;
        loop {
            let answer = tokio::select! {
                _ = ticks.tick() => {
                    if let Some((session, sequence)) = &mut bound {
                        *sequence += 1;
                        say(FromContainer::Message(self.heartbeat(*session, *sequence))).await?;
                    }
                    continue;
                }
                answer = answers.message() => answer.map_err(|status| status.message().to_owned())?,
            };
            let Some(answer) = answer else { return Ok(()) };
            match FromArbitrator::decode(answer).map_err(|error| error.to_string())? {
                Some(FromArbitrator::Message(ToContainer::Welcome { session, .. })) => {
                    bound = Some((session, 1));
                    say(FromContainer::Message(self.heartbeat(session, 1))).await?;
                    say(FromContainer::Message(ToArbitrator::Offers(vec![self.offer()]))).await?;
                }
                Some(FromArbitrator::Message(ToContainer::Ack { sent_at, .. })) => {
                    let mut heard = lock(&self.heard);
                    heard.acknowledged.push(Instant::now());
                    heard.last_acknowledged = Some(sent_at);
                }
                Some(FromArbitrator::Message(ToContainer::SetStatus { sensor, fence, status })) => {
                    lock(&self.heard).statuses.push((Instant::now(), fence));
                    let state = if matches!(status, Status::Active(_)) { State::Running } else { State::Stopped };
                    say(FromContainer::Message(ToArbitrator::Applied { sensor, fence, state })).await?;
                }
                Some(_) | None => {}
            }
        }
    }

    fn heartbeat(&self, session: SessionId, sequence: u64) -> ToArbitrator {
        let now = clock::now();
        let ttl = Span::from_millis(u64::try_from(SESSION_TTL.as_millis()).unwrap_or_default());
        let acknowledged = {
            let mut heard = lock(&self.heard);
            heard.sent += 1;
            heard.last_acknowledged
        };
        ToArbitrator::Heartbeat(Box::new(Heartbeat {
            session,
            sequence,
            sent_at: now,
            lapsed: acknowledged.is_none_or(|sent_at| now >= sent_at + ttl),
            draining: false,
            binds: (sequence == 1).then(Binding::default),
            polled: Vec::new(),
            reports: Vec::new(),
        }))
    }

    fn offer(&self) -> Offer {
        Offer {
            sensor: self.sensor.clone(),
            digest: Digest(1),
            previous: None,
            kind: Kind::Passive,
            effects: Effects::Direct,
        }
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}
