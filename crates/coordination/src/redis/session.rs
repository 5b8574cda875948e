//! Connections to one master, and what is asked over them.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Cmd, RedisError, Value};
use st2sa_core::time::Time;
use st2sa_machine::clock;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::promises::Promises;
use super::settings::Settings;

/// Why the connections cannot be had.
pub(super) type Problem = String;

/// Which connection: what one carries delays what comes behind it there, up to the wait for a replica.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lane {
    /// Leadership, where moments count.
    Leading,
    /// Transactions, and what a leader reads.
    Journal,
    /// Sensors' values, up to many megabytes at a time.
    Values,
}

/// What makes an answer count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    /// That it came: a hint.
    AsSaid,
    /// That a master gave it: the script sees to that itself.
    FromMaster,
    /// That a master gave it: nothing in it would tell.
    ReadFromMaster,
}

/// Why an answer does not count.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// There was none in time.
    #[error("no answer in {} ms", .0.as_millis())]
    Silent(Duration),
    /// The server's, or the connection's.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// What was said, or written, may be known to this master alone.
    #[error("no replica has confirmed it")]
    Unconfirmed,
    /// An answer that no script of ours gives.
    #[error("the answer cannot be read: {0}")]
    Unreadable(String),
    /// A value that was written by somebody else.
    #[error(transparent)]
    Damaged(#[from] crate::codec::Damaged),
}

/// Connections to one master, used together and replaced together.
pub(super) struct Session {
    /// The master's `host:port`.
    pub(super) address: String,
    /// When it was connected.
    pub(super) since: Instant,
    /// What the server promised then.
    pub(super) promises: Promises,
    lanes: [MultiplexedConnection; 3],
    /// The server's clock less ours, in milliseconds.
    clock_ahead: AtomicI64,
    barrier: String,
    deadline: Duration,
    /// It is known not to work.
    broken: Notify,
    /// Somebody went away without an answer.
    doubted: Notify,
    /// The connections' tasks, which end with it.
    _drivers: JoinSet<()>,
}

impl Session {
    /// Connects to the server at an address, if it is a master that can be used.
    pub(super) async fn connect(settings: &Settings, address: &str) -> Result<Self, Problem> {
        let connected = timeout(settings.deadline, Self::connect_all(settings, address)).await;
        connected.map_err(|_| format!("no answer in {} ms", settings.deadline.as_millis()))?
    }

    async fn connect_all(settings: &Settings, address: &str) -> Result<Self, Problem> {
        let mut drivers = JoinSet::new();
        let mut leading = connection(settings, address, &mut drivers).await?;
        // A user who may read neither is no reason not to work: people are told.
        let info = redis::cmd("INFO").query_async::<String>(&mut leading).await;
        let appendfsync =
            redis::cmd("CONFIG").arg("GET").arg("appendfsync").query_async::<Vec<String>>(&mut leading).await;
        let promises = Promises::new(info.ok(), appendfsync.ok().and_then(|mut pair| pair.pop()));
        if let Some(refusal) = promises.refusal() {
            return Err(refusal);
        }
        if !promises.is_master() {
            return Err("it is a replica".to_owned());
        }
        let time: (u64, u64) = redis::cmd("TIME").query_async(&mut leading).await.map_err(said)?;
        let received_at = clock::now();
        let journal = connection(settings, address, &mut drivers).await?;
        let values = connection(settings, address, &mut drivers).await?;
        let session = Self {
            address: address.to_owned(),
            since: Instant::now(),
            promises,
            lanes: [leading, journal, values],
            clock_ahead: AtomicI64::default(),
            barrier: settings.names.barrier(),
            deadline: settings.deadline,
            broken: Notify::new(),
            doubted: Notify::new(),
            _drivers: drivers,
        };
        session.set_clock(time.0.saturating_mul(1_000).saturating_add(time.1 / 1_000), received_at);
        Ok(session)
    }

    /// Sends a command, and waits for what makes its answer count; `replicated` is that a replica must confirm it.
    pub(super) async fn ask(
        &self,
        lane: Lane,
        command: Cmd,
        counts: Counts,
        replicated: bool,
    ) -> Result<Value, Trouble> {
        let mut connection = self.lanes[lane as usize].clone();
        let mut pipeline = redis::pipe();
        pipeline.add_command(command);
        match (counts, replicated) {
            (Counts::AsSaid, _) | (Counts::FromMaster, false) => {}
            // A replica, or a master that was made one, refuses this.
            (Counts::ReadFromMaster, false) => drop(pipeline.cmd("DEL").arg(&self.barrier)),
            // Also an answer that wrote nothing: replicas that follow another master by now do not confirm it.
            (Counts::FromMaster | Counts::ReadFromMaster, true) => {
                // The other half of the deadline is for the way there and back.
                let patience = u64::try_from(self.deadline.as_millis() / 2).unwrap_or(u64::MAX).max(1);
                pipeline.cmd("SET").arg(&self.barrier).arg(1).cmd("WAIT").arg(1).arg(patience);
            }
        }
        let wants_replica = replicated && counts != Counts::AsSaid;
        let mut answers: Vec<Value> = pipeline.query_async(&mut connection).await?;
        if wants_replica {
            let confirmed = matches!(answers.last(), Some(Value::Int(replicas)) if *replicas >= 1);
            if !confirmed {
                return Err(Trouble::Unconfirmed);
            }
        }
        if answers.is_empty() {
            return Err(Trouble::Unreadable("there is none".to_owned()));
        }
        Ok(answers.swap_remove(0))
    }

    /// A connection of its own that hears what is told on a channel.
    pub(super) async fn subscribe(&self, settings: &Settings, channel: &str) -> Result<PubSub, Problem> {
        let stream = settings.connector.connect(&self.address).await.map_err(|error| error.to_string())?;
        let mut subscription = PubSub::new(&settings.login, stream).await.map_err(said)?;
        subscription.subscribe(channel).await.map_err(said)?;
        Ok(subscription)
    }

    /// The server's clock in `ahead` milliseconds from now, as far as it is known: early, by as long as the answer that
    /// told it took to come back, never late.
    pub(super) fn clock_in(&self, ahead: u64) -> u64 {
        let ours = clock::now().0 / 1_000_000;
        ours.saturating_add_signed(self.clock_ahead.load(Ordering::Relaxed)).saturating_add(ahead)
    }

    /// Takes note of what the server's clock said, in milliseconds, in an answer that came at `received_at` by ours.
    pub(super) fn set_clock(&self, server: u64, received_at: Time) {
        let ours = received_at.0.div_ceil(1_000_000);
        self.clock_ahead.store(server.wrapping_sub(ours).cast_signed(), Ordering::Relaxed);
    }

    /// It does not work: it is to be replaced.
    pub(super) fn give_up(&self) {
        self.broken.notify_one();
    }

    /// It may not work: it is to be looked at.
    pub(super) fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Waits until it was given up (true), or is due for a look.
    pub(super) async fn given_up_within(&self, look_every: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.broken.notified() => true,
            () = self.doubted.notified() => false,
            () = tokio::time::sleep(look_every) => false,
        }
    }

    /// Whether every connection answers, and what the server says of itself; `None` where it does not work.
    pub(super) async fn look(&self) -> Option<Promises> {
        let [leading, journal, values] = &self.lanes;
        let alive = async |lane: &MultiplexedConnection| {
            redis::cmd("PING").query_async::<Value>(&mut lane.clone()).await.is_ok()
        };
        let info = async { redis::cmd("INFO").arg("replication").query_async::<String>(&mut leading.clone()).await };
        let all = async { tokio::join!(info, alive(journal), alive(values)) };
        let (info, journal, values) = timeout(self.deadline, all).await.ok()?;
        let told = match info {
            Ok(info) => Some(info),
            // It may not be asked this, but answers.
            Err(error) if !error.is_io_error() => None,
            Err(_) => return None,
        };
        let promises = Promises::new(told, None);
        (journal && values && promises.is_master()).then_some(promises)
    }
}

/// One connection, logged in.
pub(super) async fn connection(
    settings: &Settings,
    address: &str,
    drivers: &mut JoinSet<()>,
) -> Result<MultiplexedConnection, Problem> {
    let stream = settings.connector.connect(address).await.map_err(|error| error.to_string())?;
    login(settings, &settings.login, stream, drivers).await.map_err(said)
}

/// Asks a sentinel where the master is.
pub(super) async fn master(settings: &Settings, sentinel: &str, name: &str) -> Result<String, Problem> {
    let asked = timeout(settings.deadline, async {
        // Most sentinels know no passwords: one that does says so.
        let open = redis::RedisConnectionInfo::default().set_skip_set_lib_name();
        match asked_master(settings, &open, sentinel, name).await {
            Err(problem) if problem.contains("NOAUTH") => {
                let login = settings.login.clone().set_db(0);
                asked_master(settings, &login, sentinel, name).await
            }
            answer => answer,
        }
    });
    asked.await.map_err(|_| format!("no answer in {} ms", settings.deadline.as_millis()))?
}

async fn asked_master(
    settings: &Settings,
    who: &redis::RedisConnectionInfo,
    sentinel: &str,
    name: &str,
) -> Result<String, Problem> {
    let mut drivers = JoinSet::new();
    let stream = settings.connector.connect(sentinel).await.map_err(|error| error.to_string())?;
    let mut connection = login(settings, who, stream, &mut drivers).await.map_err(said)?;
    let mut ask = redis::cmd("SENTINEL");
    ask.arg("get-master-addr-by-name").arg(name);
    let address: Option<(String, String)> = ask.query_async(&mut connection).await.map_err(said)?;
    let (host, port) = address.ok_or_else(|| format!("it watches no master called `{name}`"))?;
    Ok(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

async fn login(
    settings: &Settings,
    who: &redis::RedisConnectionInfo,
    stream: super::stream::Stream,
    drivers: &mut JoinSet<()>,
) -> Result<MultiplexedConnection, RedisError> {
    // The crate's own are 500 ms for an answer and a second for a connection.
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(Some(settings.deadline))
        .set_connection_timeout(Some(settings.deadline));
    let (connection, driver) = MultiplexedConnection::new_with_config(who, stream, config).await?;
    drivers.spawn(driver);
    Ok(connection)
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn said(error: RedisError) -> Problem {
    error.to_string()
}
