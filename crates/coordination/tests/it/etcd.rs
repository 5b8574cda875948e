//! The etcd engine: the suite on one server for all, and what only a shared store can do.

mod access;
mod cluster;
mod contest;
mod faults;
mod limits;

use std::process::Command;
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use st2sa_coordination::etcd::Etcd;
use st2sa_coordination::store::{Lengths, OpenError, Store};
use st2sa_coordination::{Datastore, Engine, Still, StoreError, ValueWrite, Watcher};
use st2sa_core::engine::{
    Body, Check, Electors, Entry, Intent, Key, LeaderSeen, Record, Reply, Request, Token, Transaction, Value, Write,
};
use st2sa_core::names::{ArbitratorId, Digest, EntryId, Fence, Incarnation, SensorRef, Term};
use st2sa_core::time::Span;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::conformance::{self, campaign, token};

/// Nothing here takes longer, on whatever machine.
const BOUND: Duration = Duration::from_secs(30);

/// One server for all cases that do it no harm.
struct Shared {
    url: String,
    address: std::net::SocketAddr,
    end: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Shared {
    /// The one that runs, or a new one.
    fn get() -> Arc<Self> {
        static SHARED: Mutex<Weak<Shared>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap();
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let ((end, ended), (started, start)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
        // It dies with the thread that has started it, and a test's ends with the test.
        let thread = std::thread::spawn(move || {
            let server = st2sa_testbed::Etcd::start();
            started.send((server.url(), server.address())).unwrap();
            // The sender's end is what is waited for.
            let _: Result<(), _> = ended.recv();
        });
        let (url, address) = start.recv().unwrap();
        let new = Arc::new(Self { url, address, end: Some(end), thread: Some(thread) });
        *shared = Arc::downgrade(&new);
        new
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(self.end.take());
        self.thread.take().map(JoinHandle::join);
    }
}

fn lengths() -> Lengths {
    Lengths { leader_ttl: Span::from_secs(2), deadline: Span::from_secs(2) }
}

fn store(url: &str, namespace: &str) -> Store {
    let mut store = Store::parse(url).unwrap().store;
    store.namespace = Some(namespace.to_owned());
    store
}

async fn open(url: &str, namespace: &str) -> Etcd {
    Etcd::open(&store(url, namespace), lengths()).await.unwrap()
}

/// Asks as the arbitrator's shell does: the answer is dropped after a heartbeat.
async fn ask(engine: &Etcd, request: Request) -> Reply {
    let bound = Duration::from_millis(400);
    tokio::time::timeout(bound, engine.ask(request)).await.unwrap_or(Reply::Unknown)
}

async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(since.elapsed() < BOUND, "{BOUND:?} were not enough for this: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn etcdctl(url: &str, arguments: &[&str]) -> String {
    let endpoint = url.replace("etcd3+", "");
    let mut command = Command::new("etcdctl");
    let output = command.env("ETCDCTL_API", "3").arg(format!("--endpoints={endpoint}")).args(arguments).output();
    let output = output.expect("`apt-get install etcd-client` brings it");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn token_of(arbitrator: &str, attempt: u64) -> Token {
    Token { arbitrator: ArbitratorId::new(arbitrator), incarnation: Incarnation(2), attempt }
}

fn campaign_of(arbitrator: &str, attempt: u64) -> Request {
    let token = token_of(arbitrator, attempt);
    Request::Campaign { token, above: Term(0), session_ttl: Span::from_secs(2), only_as_first: false }
}

fn pause(sensor: &str, who: &str) -> Write {
    Write::Put(Key::Pause(SensorRef::new(sensor)), Value::Intent(Intent { who: who.to_owned(), at: 1 }))
}

fn transact(token: Token, writes: Vec<Write>) -> Request {
    Request::Transact(Transaction { token, checks: vec![], writes })
}

async fn leader(engine: &Etcd) -> Option<Option<LeaderSeen>> {
    match engine.ask(Request::Observe).await {
        Reply::Observed { leader } => Some(leader),
        _ => None,
    }
}

async fn paused(engine: &Etcd) -> Option<Vec<String>> {
    match engine.ask(Request::ReadAll).await {
        Reply::All(all) => Some(all.paused.values().map(|intent| intent.who.clone()).collect()),
        _ => None,
    }
}

/// A watcher, and what it hears.
fn hearing() -> (Watcher, UnboundedReceiver<Option<LeaderSeen>>) {
    let (heard, hear) = mpsc::unbounded_channel();
    let tell = move |leader| {
        // Nobody listens any more at the end of a test.
        let _ = heard.send(leader);
    };
    (Box::new(tell), hear)
}

/// Waits until a leader of at least this term was heard of.
async fn hears_of(heard: &mut UnboundedReceiver<Option<LeaderSeen>>, term: u64) {
    loop {
        let next = tokio::time::timeout(BOUND, heard.recv()).await.unwrap().unwrap();
        if next.is_some_and(|leader| leader.term >= Term(term)) {
            return;
        }
    }
}

fn yes() -> Still {
    Box::new(|| true)
}

fn set(name: &str, value: impl Into<String>) -> ValueWrite {
    ValueWrite::Set { name: name.to_owned(), value: value.into(), ttl: None }
}

/// One test a case of the suite.
macro_rules! conforms {
    ($($case:ident),*) => {$(
        #[tokio::test]
        async fn $case() {
            let shared = Shared::get();
            conformance::$case(&open(&shared.url, stringify!($case)).await).await;
        }
    )*};
}

conforms!(
    terms_rise,
    a_deposed_leadership_changes_nothing,
    transactions_are_whole,
    everything_is_read_back,
    journals_are_apart,
    values_are_kept,
    pages_end_when_they_are_full,
    versions_never_come_back
);

#[tokio::test]
async fn a_leadership_lasts_while_it_is_renewed_and_no_longer() {
    let shared = Shared::get();
    let (first, second) = (open(&shared.url, "lasts").await, open(&shared.url, "lasts").await);
    assert_eq!(first.leader_ttl(), Some(Span::from_secs(2)));
    let Reply::Won { term: Term(1), .. } = campaign(&first, 1, 0).await else { panic!("not won") };
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(3) {
        assert_eq!(first.ask(Request::Renew { token: token(1) }).await, Reply::Done);
        let seen = LeaderSeen { arbitrator: ArbitratorId::new("a"), term: Term(1) };
        assert_eq!(second.ask(campaign_of("b", 1)).await, Reply::NotWon { leader: Some(seen), elector: true });
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    let renewed = Instant::now();
    assert_eq!(first.ask(Request::Renew { token: token(1) }).await, Reply::Done);
    let won = eventually("the leadership ends", async || {
        let reply = second.ask(campaign_of("b", 2)).await;
        matches!(reply, Reply::Won { .. }).then_some(reply)
    })
    .await;
    assert_eq!(won, Reply::Won { term: Term(2), longest_ttl: Span::from_secs(2) });
    assert!(renewed.elapsed() >= Duration::from_secs(2), "{:?}", renewed.elapsed());
    assert_eq!(first.ask(Request::Renew { token: token(1) }).await, Reply::NotLeader);
    assert_eq!(first.ask(transact(token(1), vec![pause("p.X", "anne")])).await, Reply::NotLeader);
    let refused = first.apply(token(1), yes(), vec![set("a", "1")]).await;
    assert!(matches!(refused, Err(StoreError::NotLeader)), "{refused:?}");
    let retaken = first.ask(Request::Retake { token: token(1), term: Term(1) }).await;
    assert_eq!(retaken, Reply::NotLeader);
    // What one resigns that one does not hold stays.
    assert_eq!(first.ask(Request::Resign { token: token(1) }).await, Reply::Done);
    assert_eq!(second.ask(Request::Renew { token: token_of("b", 2) }).await, Reply::Done);
}

#[tokio::test]
async fn a_leadership_is_taken_again_in_its_term_if_no_other_began() {
    let shared = Shared::get();
    let (first, second) = (open(&shared.url, "again").await, open(&shared.url, "again").await);
    campaign(&first, 1, 0).await;
    let retake = |term| Request::Retake { token: token(1), term: Term(term) };
    assert_eq!(first.ask(retake(1)).await, Reply::Done);
    assert_eq!(first.ask(retake(2)).await, Reply::NotLeader);
    first.ask(Request::Resign { token: token(1) }).await;
    assert_eq!(first.ask(Request::Renew { token: token(1) }).await, Reply::NotLeader);
    assert_eq!(first.ask(retake(1)).await, Reply::Done);
    assert_eq!(first.ask(Request::Renew { token: token(1) }).await, Reply::Done);
    first.ask(Request::Resign { token: token(1) }).await;
    let Reply::Won { term: Term(2), .. } = second.ask(campaign_of("b", 1)).await else { panic!("not won") };
    assert_eq!(first.ask(retake(1)).await, Reply::NotLeader);
    second.ask(Request::Resign { token: token_of("b", 1) }).await;
    assert_eq!(first.ask(retake(1)).await, Reply::NotLeader);
}

#[tokio::test]
async fn only_electors_win() {
    let shared = Shared::get();
    let engine = open(&shared.url, "electors").await;
    let only_as_first = |arbitrator, attempt| {
        let token = token_of(arbitrator, attempt);
        Request::Campaign { token, above: Term(0), session_ttl: Span::from_secs(2), only_as_first: true }
    };
    let Reply::Won { .. } = engine.ask(only_as_first("a", 1)).await else { panic!("not won") };
    let electors = Electors { members: [ArbitratorId::new("a")].into(), fail_safe: false };
    let put = Write::Put(Key::Electors, Value::Electors(electors));
    let Reply::Applied { .. } = engine.ask(transact(token_of("a", 1), vec![put])).await else { panic!("refused") };
    engine.ask(Request::Resign { token: token_of("a", 1) }).await;
    assert_eq!(engine.ask(campaign_of("b", 1)).await, Reply::NotWon { leader: None, elector: false });
    assert_eq!(engine.ask(only_as_first("a", 2)).await, Reply::NotWon { leader: None, elector: true });
    assert!(matches!(engine.ask(campaign_of("a", 3)).await, Reply::Won { .. }));
    engine.ask(Request::Resign { token: token_of("a", 3) }).await;
    // One that comes after a later one is too late.
    assert_eq!(engine.ask(campaign_of("a", 2)).await, Reply::NotWon { leader: None, elector: true });
}

#[tokio::test]
async fn of_several_that_campaign_at_once_one_wins() {
    let shared = Shared::get();
    let mut campaigns = tokio::task::JoinSet::new();
    for number in 0..8 {
        let engine = open(&shared.url, "at once").await;
        campaigns.spawn(async move { engine.ask(campaign_of(&format!("a{number}"), 1)).await });
    }
    let replies = campaigns.join_all().await;
    let won = replies.iter().filter(|reply| matches!(reply, Reply::Won { term: Term(1), .. })).count();
    let lost = replies.iter().filter(|reply| matches!(reply, Reply::NotWon { .. })).count();
    assert_eq!((won, lost), (1, 7), "{replies:?}");
}

#[tokio::test]
async fn what_takes_several_pages_is_read_whole() {
    let shared = Shared::get();
    let engine = open(&shared.url, "pages").await;
    campaign(&engine, 1, 0).await;
    let sensor = SensorRef::new("p.X");
    let code = |number| Write::Put(Key::Code(SensorRef::new(format!("p.X{number}"))), Value::Digest(Digest(number)));
    let entry = |sequence: u64| Entry {
        id: EntryId(sequence.into()),
        follows: None,
        sequence,
        fence: Fence { term: Term(1), n: 1 },
        values: Body::default(),
        effects: Body::default(),
        part_of: None,
    };
    for hundred in 0..21 {
        let writes = (hundred * 100..hundred * 100 + 100).map(code).collect();
        assert!(matches!(engine.ask(transact(token(1), writes)).await, Reply::Applied { .. }));
    }
    let mut writes: Vec<Write> =
        (1..=70).map(|number| Write::Put(Key::Entry(sensor.clone(), number), Value::Entry(entry(number)))).collect();
    writes.push(Write::Put(Key::Record(sensor.clone()), Value::Record(Record { sequence: 70, ..Record::default() })));
    let Reply::Applied { version } = engine.ask(transact(token(1), writes)).await else { panic!("refused") };
    let Reply::All(all) = engine.ask(Request::ReadAll).await else { panic!("not read") };
    assert_eq!(all.code.len(), 2_100);
    let Reply::Journal(journal) = engine.ask(Request::ReadJournal { sensor }).await else { panic!("not read") };
    assert_eq!((journal.record.sequence, journal.version), (70, version));
    assert_eq!(journal.unapplied, (1..=70).map(entry).collect::<Vec<_>>());
}

#[tokio::test]
async fn of_several_writes_of_a_key_the_last_counts() {
    let shared = Shared::get();
    let engine = open(&shared.url, "several").await;
    campaign(&engine, 1, 0).await;
    let key = Key::Pause(SensorRef::new("p.Y"));
    let writes = vec![pause("p.X", "anne"), pause("p.Y", "anne"), pause("p.X", "bob"), Write::Delete(key)];
    assert!(matches!(engine.ask(transact(token(1), writes)).await, Reply::Applied { .. }));
    assert_eq!(paused(&engine).await.unwrap(), ["bob"]);
    engine.apply(token(1), yes(), vec![set("n", "1"), set("n", "2")]).await.unwrap();
    assert_eq!(engine.get("n".to_owned()).await.unwrap().as_deref(), Some("2"));
}

/// etcd itself removes what is over; values of about the same time hang on one lease.
#[tokio::test]
async fn values_with_a_ttl_hang_on_few_leases() {
    let shared = Shared::get();
    let engine = open(&shared.url, "leases").await;
    campaign(&engine, 1, 0).await;
    let lasts = |name: &str, ttl| ValueWrite::Set { name: name.to_owned(), value: "1".to_owned(), ttl: Some(ttl) };
    let leases = || {
        let found = etcdctl(&shared.url, &["get", "--prefix", "st2sa/leases/values/", "--write-out=json"]);
        let found: serde_json::Value = serde_json::from_str(&found).unwrap();
        let pairs = found["kvs"].as_array().unwrap().clone();
        pairs.iter().map(|pair| pair["lease"].as_i64().unwrap_or_default()).collect::<Vec<_>>()
    };
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..4 {
        let writes = vec![lasts("a", Span::from_secs(600)), lasts("b", Span::from_secs(601))];
        engine.apply(token(1), yes(), writes).await.unwrap();
        seen.extend(leases());
    }
    engine.apply(token(1), yes(), vec![lasts("c", Span::from_secs(6_000)), set("d", "1")]).await.unwrap();
    let found = leases();
    assert!(seen.len() == 1 && found[0] == found[1] && found[2] != found[0] && found[2] != 0, "{seen:?} {found:?}");
    assert_eq!(found[3], 0);
    let lives = etcdctl(&shared.url, &["lease", "timetolive", &format!("{:x}", found[0]), "--write-out=json"]);
    let lives: serde_json::Value = serde_json::from_str(&lives).unwrap();
    assert!((600..=680).contains(&lives["ttl"].as_i64().unwrap()), "{lives}");
}

#[tokio::test]
async fn a_watcher_hears_who_leads_and_ends_with_the_engine() {
    let shared = Shared::get();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let engine = open(&shared.url, "watch").await;
    let (tell, mut heard) = hearing();
    engine.watch(tell);
    let mut next = async || {
        let next = tokio::time::timeout(BOUND, heard.recv()).await.unwrap();
        next.map(|leader| leader.map(|leader| leader.term))
    };
    assert_eq!(next().await, Some(None));
    campaign(&engine, 1, 0).await;
    assert_eq!(next().await, Some(Some(Term(1))));
    engine.ask(Request::Resign { token: token(1) }).await;
    assert_eq!(next().await, Some(None));
    // One that just ends.
    campaign(&engine, 2, 0).await;
    assert_eq!(next().await, Some(Some(Term(2))));
    assert_eq!(next().await, Some(None));
    drop(engine);
    assert_eq!(next().await, None);
    eventually("every task has ended", async || (tasks() <= before).then_some(())).await;
}

#[tokio::test]
async fn what_a_later_release_has_written_is_refused() {
    let shared = Shared::get();
    etcdctl(&shared.url, &["put", "st2sa/newer/format", "2"]);
    let error = Etcd::open(&store(&shared.url, "newer"), lengths()).await.err().unwrap();
    assert!(matches!(error, OpenError::Newer { found: 2, known: 1, .. }), "{error}");
}

#[tokio::test]
async fn it_says_what_it_is() {
    let shared = Shared::get();
    let engine = open(&shared.url, "describe").await;
    assert_eq!(engine.describe(), format!("etcd at {}", shared.address));
    assert!(!engine.forgetful() && !engine.exclusive());
}
