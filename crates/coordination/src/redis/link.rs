//! The way to the master: found, kept, and found again by one task.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::session::{Counts, Lane, Problem, Session, Trouble, master};
use super::settings::Settings;

/// How often connections that nobody complains of are looked at, and the replicas counted: three commands each time.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// Connections that worked for less than this are not replaced at once.
const SHORT_LIVED: Duration = Duration::from_secs(1);
/// How often a server is tried at the start: a busy one may miss a deadline, and one that is wrong is told soon.
pub(super) const TRIES_AT_START: usize = 3;

/// The way to the master. Its task is [`keep`].
pub(super) struct Link {
    pub(super) settings: Settings,
    session: watch::Sender<Option<Arc<Session>>>,
    /// Replicas were seen, or sentinels promote some: nothing counts from now on that none of them has confirmed.
    replicated: AtomicBool,
    /// What the master promises, for people.
    words: Mutex<String>,
    /// Which sentinel is asked first next time: each has its own view of a partition.
    turn: AtomicUsize,
    /// The trouble that people know of.
    told: Mutex<Option<String>>,
}

impl Link {
    /// Finds the master for the first time; [`keep`] is given the connections to it.
    pub(super) async fn open(settings: Settings) -> Result<(Arc<Self>, Arc<Session>), Problem> {
        let replicated = AtomicBool::new(settings.sentinel.is_some());
        let link = Self {
            settings,
            session: watch::Sender::new(None),
            replicated,
            words: Mutex::default(),
            turn: AtomicUsize::default(),
            told: Mutex::default(),
        };
        let mut tries = 1;
        let session = loop {
            match link.connect().await {
                Ok(session) => break session,
                Err(problem) if tries == TRIES_AT_START => return Err(problem),
                Err(_) => tries += 1,
            }
            sleep(pause()).await;
        };
        let session = link.begin(session);
        Ok((Arc::new(link), session))
    }

    /// Asks the master. Within the deadline there is an answer that counts, or none.
    pub(super) async fn ask(&self, lane: Lane, command: Cmd, counts: Counts) -> Result<Value, Trouble> {
        let answer = self.ask_if(lane, |_| Some(command), counts).await?;
        answer.ok_or_else(|| Trouble::Unreadable("there is none".to_owned()))
    }

    /// The same with a command that is made, or not, when there is a connection and nothing else is waited for.
    pub(super) async fn ask_if(
        &self,
        lane: Lane,
        command: impl FnOnce(&Arc<Session>) -> Option<Cmd>,
        counts: Counts,
    ) -> Result<Option<Value>, Trouble> {
        let deadline = self.settings.deadline;
        let mut asked = None;
        let answer = timeout(deadline, async {
            let session = self.session().await;
            let Some(command) = command(&session) else { return Ok(None) };
            let guard = asked.insert(Unanswered { session: Some(Arc::clone(&session)), since: Instant::now() });
            let answer = session.ask(lane, command, counts, self.replicated.load(Ordering::Relaxed)).await;
            guard.session = None;
            if answer.as_ref().is_err_and(needs_another_session) {
                self.give_up(&session);
            }
            answer.map(Some)
        });
        let answer = answer.await.unwrap_or(Err(Trouble::Silent(deadline)));
        if let Some(session) = asked.and_then(|asked| asked.silent_for(deadline / 2)) {
            self.give_up(&session);
        }
        self.tell(answer.as_ref().err());
        answer
    }

    /// The connections, once there are any.
    pub(super) async fn session(&self) -> Arc<Session> {
        let mut sessions = self.session.subscribe();
        let found = sessions.wait_for(Option::is_some).await.map(|session| session.clone());
        match found {
            Ok(Some(session)) => session,
            // The sender lives as long as this does.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Waits until these connections are not the ones in use any more.
    pub(super) async fn until_replaced(&self, session: &Arc<Session>) {
        let mut sessions = self.session.subscribe();
        let replaced = sessions.wait_for(|now| now.as_ref().is_none_or(|now| !Arc::ptr_eq(now, session)));
        // The sender lives as long as this does.
        let _ = replaced.await;
    }

    /// Nobody is to use these connections any more.
    fn give_up(&self, session: &Arc<Session>) {
        self.session.send_if_modified(|now| now.take_if(|now| Arc::ptr_eq(now, session)).is_some());
        session.give_up();
    }

    /// What the master promises to keep.
    pub(super) fn words(&self) -> String {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// People hear of a trouble when it begins, not each time that it shows.
    fn tell(&self, trouble: Option<&Trouble>) {
        let trouble = trouble.map(ToString::to_string);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told == trouble {
            return;
        }
        if let Some(trouble) = &trouble {
            tracing::warn!(trouble, "what Redis was asked for may or may not have been done");
        }
        *told = trouble;
    }

    async fn connect(&self) -> Result<Session, Problem> {
        let mut problems = Vec::new();
        let servers = &self.settings.servers;
        // Servers of one list are always asked in its order: all arbitrators are to find the same one.
        let first = self.settings.sentinel.as_ref().map_or(0, |_| self.turn.fetch_add(1, Ordering::Relaxed));
        for server in servers.iter().cycle().skip(first % servers.len().max(1)).take(servers.len()) {
            let address = match &self.settings.sentinel {
                Some(name) => master(&self.settings, server, name).await,
                None => Ok(server.clone()),
            };
            let connected = match &address {
                Ok(address) => Session::connect(&self.settings, address).await,
                Err(problem) => Err(problem.clone()),
            };
            match connected {
                Ok(session) => return Ok(session),
                Err(problem) => {
                    let via = address.ok().filter(|address| address != server);
                    let at = via.map_or_else(|| server.clone(), |address| format!("{address}, said {server}"));
                    problems.push(format!("{at}: {problem}"));
                }
            }
        }
        Err(problems.join("; "))
    }

    fn begin(&self, session: Session) -> Arc<Session> {
        self.count_replicas(session.promises.replicas());
        let mut words = session.promises.words();
        if self.replicated.load(Ordering::Relaxed) {
            words += "; what counts is confirmed by a replica";
        }
        let before = std::mem::replace(&mut *self.words.lock().unwrap_or_else(PoisonError::into_inner), words.clone());
        if before != words {
            let at = &session.address;
            if let Some(advice) = session.promises.advice() {
                tracing::warn!(%at, found = words, "Redis may forget what it has confirmed: {advice}");
            } else {
                tracing::info!(%at, found = words, "Redis keeps what it has confirmed, unless it fails over");
            }
        }
        let session = Arc::new(session);
        self.session.send_replace(Some(Arc::clone(&session)));
        session
    }

    fn count_replicas(&self, replicas: usize) {
        if replicas > 0 && !self.replicated.swap(true, Ordering::Relaxed) {
            tracing::info!(
                replicas,
                "from now on only what a replica confirms counts; where the last one is taken away for good, start \
                 the arbitrators again"
            );
        }
    }
}

/// Keeps the connections: looks at them now and then and whenever somebody got no answer, and replaces them.
pub(super) async fn keep(link: Arc<Link>, mut session: Arc<Session>) {
    loop {
        while !session.given_up_within(LOOK_EVERY).await {
            let Some(promises) = session.look().await else { break };
            link.count_replicas(promises.replicas());
        }
        link.give_up(&session);
        if session.since.elapsed() < SHORT_LIVED {
            sleep(pause()).await;
        }
        let mut told = None;
        session = loop {
            match link.connect().await {
                Ok(session) => break link.begin(session),
                Err(problem) if told.as_ref() == Some(&problem) => {}
                Err(problem) => {
                    tracing::warn!(problem, "Redis cannot be used; trying again");
                    told = Some(problem);
                }
            }
            sleep(pause()).await;
        };
    }
}

/// Between two tries to connect: 50 to 250 ms, different each time, so that not all come at once.
fn pause() -> Duration {
    let drawn = getrandom::u32().unwrap_or_default();
    Duration::from_millis(50 + u64::from(drawn % 200))
}

/// The connections are of no use: lost, silent, or to a server that is no master any more.
fn needs_another_session(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::Silent(_) | Trouble::Unconfirmed => true,
        Trouble::Redis(error) => {
            let text = error.to_string();
            error.is_io_error() || ["READONLY", "LOADING", "MASTERDOWN"].iter().any(|code| text.contains(code))
        }
        Trouble::Unreadable(_) | Trouble::Damaged(_) => false,
    }
}

/// Who stops waiting before the answer came leaves word of it, whoever stopped it.
struct Unanswered {
    session: Option<Arc<Session>>,
    since: Instant,
}

impl Unanswered {
    /// The connections that have not answered for so long: sooner proves nothing.
    fn silent_for(mut self, patience: Duration) -> Option<Arc<Session>> {
        if self.since.elapsed() >= patience { self.session.take() } else { None }
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(session) = &self.session {
            session.doubt();
        }
    }
}
