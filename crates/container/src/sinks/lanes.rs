//! Sinks over the network: a lane a sensor, so that what one sensor's triggers wait for holds up nobody else's.
//!
//! A lane hands its triggers on one after another, each until the sink has it, has refused it for good, or it may not go out
//! any more; so a sensor's triggers arrive in the order in which it dispatched them. Of each sensor process at most
//! `UNDER_WAY_AT_MOST` calls (`sockets`) wait for an answer, so no more than that wait in its lane.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use st2sa_core::names::{ContainerName, EntryId, SensorRef};
use st2sa_machine::crash::{self, Point};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, mpsc};

use super::dead::DeadLetters;
use super::line::Lines;
use super::{Item, RETRY_FIRST, RETRY_LONGEST, Record};
use crate::gate::Gate;
use crate::input::Input;

/// Triggers that are being handed on at the same time: as many as a container has sensors as a rule, so that those of slow
/// answers hold up no others; each has a connection or a channel of its own.
pub(super) const HANDED_ON_AT_ONCE: usize = 256;
/// Ids that a lane remembers: more than can wait for their confirmation.
const HANDED_REMEMBERED: usize = 256;
/// That a sink fails in the same way is logged again after this.
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// A sink that is reached over the network.
pub(super) trait Remote: Send + Sync + 'static {
    /// What one trigger is handed on with.
    type Way: Send;

    /// Does what may take time before anything can be handed on: the gate is asked after that.
    fn ready(&self) -> impl Future<Output = Result<Self::Way, Failure>> + Send;

    /// Hands a trigger on, and returns when it is safe there, or within a bound of its own.
    fn hand_on(&self, way: Self::Way, record: &Record) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Why a trigger was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody answered.
    Away(String),
    /// The sink answered, and does not take it now.
    NotNow(String),
    /// The sink never takes it.
    Never(String),
}

/// Hands triggers to the lanes of their sensors.
#[derive(Clone)]
pub(crate) struct Lanes {
    open: Arc<dyn Fn(SensorRef) -> mpsc::UnboundedSender<Item> + Send + Sync>,
    /// One of each sensor that has dispatched anything: as many as there are in the packs.
    of: Arc<Mutex<BTreeMap<SensorRef, mpsc::UnboundedSender<Item>>>>,
    lines: Lines,
}

/// What every lane needs.
pub(super) struct Shared<R> {
    pub(super) remote: R,
    /// For people.
    pub(super) name: String,
    pub(super) container: ContainerName,
    pub(super) gate: Gate,
    pub(super) inputs: Sender<Input>,
    pub(super) dead_letters: DeadLetters,
    pub(super) places: Semaphore,
    /// Told when a sink that was away is there again.
    pub(super) back: Notify,
    pub(super) trouble: Mutex<Trouble>,
}

/// Which lanes cannot go on, and what was logged of that.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    lanes: BTreeSet<SensorRef>,
    said: Option<(String, Instant)>,
}

impl Lanes {
    pub(super) fn new<R: Remote>(shared: Shared<R>, lines: Lines, runtime: Handle) -> Self {
        let shared = Arc::new(shared);
        let open = move |sensor| {
            let (items, received) = mpsc::unbounded_channel();
            let lane = Lane { shared: Arc::clone(&shared), sensor, waiting: VecDeque::new(), handed: VecDeque::new() };
            runtime.spawn(lane.run(received));
            items
        };
        Self { open: Arc::new(open), of: Arc::default(), lines }
    }

    /// Hands a trigger on.
    pub(super) fn put(&self, item: Item) {
        let mut lanes = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.entry(item.sensor.clone()).or_insert_with_key(|sensor| (self.open)(sensor.clone()));
        // A lane ends with the container.
        let _ = lane.send(item);
    }

    /// The lease has ended: connections are reset, and what was under way on them is not handed on.
    pub(super) fn reset(&self) {
        self.lines.reset();
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lanes")
    }
}

struct Lane<R> {
    shared: Arc<Shared<R>>,
    sensor: SensorRef,
    waiting: VecDeque<Item>,
    /// What was handed on last: it is not handed on twice though its confirmation crossed a lapse of the lease.
    handed: VecDeque<EntryId>,
}

impl<R: Remote> Lane<R> {
    async fn run(mut self, mut items: mpsc::UnboundedReceiver<Item>) {
        let shared = Arc::clone(&self.shared);
        let mut retry = RETRY_FIRST;
        loop {
            if self.waiting.is_empty() {
                let Some(item) = items.recv().await else { return };
                self.queue(item);
            }
            while let Ok(item) = items.try_recv() {
                self.queue(item);
            }
            let Some(first) = self.waiting.front() else { continue };
            // Registered before the try: what comes back meanwhile is not missed.
            let back = shared.back.notified();
            match self.hand_on(first).await {
                Ok(handed) => {
                    if handed {
                        self.handed.extend(self.waiting.pop_front().map(|item| item.id));
                    } else {
                        self.withhold();
                    }
                    while self.handed.len() > HANDED_REMEMBERED {
                        self.handed.pop_front();
                    }
                    retry = RETRY_FIRST;
                }
                Err(failure) => {
                    tokio::time::sleep(RETRY_FIRST).await;
                    let again = tokio::time::sleep(retry.saturating_sub(RETRY_FIRST));
                    match &failure {
                        // Whoever gets through first wakes the others.
                        Failure::Away(_) => tokio::select! { () = again => {}, () = back => {} },
                        Failure::NotNow(_) | Failure::Never(_) => again.await,
                    }
                    retry = (retry * 2).min(RETRY_LONGEST);
                }
            }
        }
    }

    /// The session hands on again what it has had no word of: that is not to be there twice.
    fn queue(&mut self, item: Item) {
        if self.handed.contains(&item.id) {
            self.tell(Input::Published(item.sensor, item.id));
        } else if self.waiting.iter().all(|waiting| waiting.id != item.id) {
            self.waiting.push_back(item);
        }
    }

    /// One try. `Ok` when it is over: whether it was handed on, or may not be.
    async fn hand_on(&self, item: &Item) -> Result<bool, Failure> {
        let shared = &self.shared;
        let Ok(_place) = shared.places.acquire().await else { return Ok(false) };
        // What may not pass does not wait for a sink that is away.
        if shared.gate.pass(&item.sensor, item.id).is_none() {
            return Ok(false);
        }
        let ready = shared.remote.ready().await;
        let way = ready.inspect_err(|failure| self.is_unwell(failure))?;
        // The look right before the act (rule 4); the connection looks at the lease once more.
        let Some(pass) = shared.gate.pass(&item.sensor, item.id) else { return Ok(false) };
        let record = Record::of(item, &shared.container, pass.fence);
        crash::point(Point::TriggersUnsent);
        let handed = shared.remote.hand_on(way, &record).await;
        crash::point(Point::TriggersSent);
        match handed {
            Ok(()) => self.is_well(true),
            Err(Failure::Never(why)) => {
                self.is_well(true);
                self.bury(record, why).await;
            }
            Err(failure) => {
                self.is_unwell(&failure);
                return Err(failure);
            }
        }
        self.tell(Input::Published(item.sensor.clone(), item.id));
        Ok(true)
    }

    /// What waits may not go out. The session hands it on again if it is to, in its order: so nothing may stay here that would
    /// then be before what it follows.
    fn withhold(&mut self) {
        self.is_well(false);
        for item in std::mem::take(&mut self.waiting) {
            self.tell(Input::NotPublished(item.sensor, item.id));
        }
    }

    /// Keeps what was refused for good among the dead letters.
    async fn bury(&self, record: Record, why: String) {
        let letters = self.shared.dead_letters.clone();
        let (id, path) = (record.id.clone(), letters.path());
        tracing::error!(sensor = %self.sensor, id, why, "the sink refuses a trigger for good");
        let said = format!("the sink refused a trigger for good ({why}): it is kept in {}", path.display());
        let kept = tokio::task::spawn_blocking(move || letters.keep(&record, &why)).await;
        let said = match kept.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(()) => said,
            Err(error) => {
                tracing::error!(sensor = %self.sensor, id, path = %path.display(), %error, "the dead letter is lost");
                "the sink refused a trigger for good, and it could not be kept: see the container's log".to_owned()
            }
        };
        self.tell(Input::DeadLetter(self.sensor.clone(), said));
    }

    fn is_unwell(&self, failure: &Failure) {
        let (Failure::Away(why) | Failure::NotNow(why) | Failure::Never(why)) = failure;
        let mut trouble = self.trouble();
        trouble.lanes.insert(self.sensor.clone());
        let said = trouble.said.as_ref();
        if said.is_none_or(|(said, at)| said != why || at.elapsed() >= SAID_AGAIN_AFTER) {
            let (sink, sensors) = (&self.shared.name, trouble.lanes.len());
            tracing::warn!(sink, why, sensor = %self.sensor, sensors, "triggers wait: the sink fails");
            trouble.said = Some((why.clone(), Instant::now()));
        }
        drop(trouble);
        self.tell(Input::Sink(Some(self.sensor.clone()), Some(why.clone())));
    }

    /// This lane goes on; `through`: since the sink has answered.
    fn is_well(&self, through: bool) {
        let mut trouble = self.trouble();
        if trouble.lanes.remove(&self.sensor) {
            self.tell(Input::Sink(Some(self.sensor.clone()), None));
            if trouble.lanes.is_empty() {
                trouble.said = None;
                tracing::info!(sink = self.shared.name, "no trigger waits for the sink any more");
            }
        }
        if through && !trouble.lanes.is_empty() {
            self.shared.back.notify_waiters();
        }
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, input: Input) {
        // Nobody listens any more when the container stops.
        let _ = self.shared.inputs.send(input);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{Receiver, channel};

    use serde_json::{Value, json};
    use st2sa_core::time::{Span, Time};
    use st2sa_machine::clock;

    use super::*;
    use crate::effects::Dispatch;

    /// What a test waits for comes within this, also on a machine that is swamped.
    const WITHIN: Duration = Duration::from_secs(20);

    type Judge = dyn Fn(&Record, usize) -> Result<(), Failure> + Send + Sync;

    /// Answers what it is told to of each trigger, with how often that was tried before.
    struct Judged {
        judge: Box<Judge>,
        tries: Mutex<Vec<String>>,
    }

    impl Remote for Arc<Judged> {
        type Way = ();

        async fn ready(&self) -> Result<(), Failure> {
            Ok(())
        }

        async fn hand_on(&self, (): (), record: &Record) -> Result<(), Failure> {
            let mut tries = self.tries.lock().unwrap();
            let before = tries.iter().filter(|id| **id == record.id).count();
            tries.push(record.id.clone());
            (self.judge)(record, before)
        }
    }

    struct Rig {
        lanes: Lanes,
        remote: Arc<Judged>,
        told: Receiver<Input>,
        folder: tempfile::TempDir,
        _runtime: tokio::runtime::Runtime,
    }

    impl Rig {
        fn new(end: Time, judge: impl Fn(&Record, usize) -> Result<(), Failure> + Send + Sync + 'static) -> Self {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let folder = tempfile::tempdir().unwrap();
            let ids: Vec<EntryId> = (1..=9).map(EntryId).collect();
            let gate = Gate::for_test(end, &SensorRef::new("p.X"), &ids);
            gate.also_active(&SensorRef::new("p.Y"));
            let remote = Arc::new(Judged { judge: Box::new(judge), tries: Mutex::default() });
            let (inputs, told) = channel();
            let shared = Shared {
                remote: Arc::clone(&remote),
                name: "judged".to_owned(),
                container: ContainerName::new("a"),
                gate: gate.clone(),
                inputs,
                dead_letters: DeadLetters::new(folder.path()),
                places: Semaphore::new(HANDED_ON_AT_ONCE),
                back: Notify::new(),
                trouble: Mutex::default(),
            };
            let lines = Lines::new(gate, None).unwrap();
            let lanes = Lanes::new(shared, lines, runtime.handle().clone());
            Self { lanes, remote, told, folder, _runtime: runtime }
        }

        fn open(judge: impl Fn(&Record, usize) -> Result<(), Failure> + Send + Sync + 'static) -> Self {
            Self::new(clock::now() + Span::from_secs(600), judge)
        }

        fn put(&self, sensor: &str, id: u128) {
            let dispatch = Dispatch { trigger: json!("p.t"), payload: json!({}), trace_context: Value::Null };
            self.lanes.put(Item::new(SensorRef::new(sensor), EntryId(id), dispatch));
        }

        /// The next word that something is done, as a letter and the id; what is told for people is passed over.
        fn done(&self) -> (char, u128) {
            loop {
                match self.told.recv_timeout(WITHIN).unwrap() {
                    Input::Published(_, id) => return ('p', id.0),
                    Input::NotPublished(_, id) => return ('n', id.0),
                    _ => {}
                }
            }
        }

        fn tries(&self) -> Vec<u128> {
            let tries = self.remote.tries.lock().unwrap();
            tries.iter().map(|id| u128::from_str_radix(id, 16).unwrap()).collect()
        }
    }

    #[test]
    fn what_waits_holds_up_its_own_sensor_and_nobody_else() {
        let refuses = Arc::new(AtomicBool::new(true));
        let own = Arc::clone(&refuses);
        let rig = Rig::open(move |record, _| {
            let refuses = record.sensor == "p.X" && own.load(Ordering::SeqCst);
            if refuses { Err(Failure::NotNow("503".to_owned())) } else { Ok(()) }
        });
        for id in [1, 2] {
            rig.put("p.X", id);
        }
        for id in [3, 4, 5] {
            rig.put("p.Y", id);
        }
        assert_eq!([rig.done(), rig.done(), rig.done()], [('p', 3), ('p', 4), ('p', 5)]);
        refuses.store(false, Ordering::SeqCst);
        assert_eq!([rig.done(), rig.done()], [('p', 1), ('p', 2)]);
        let of_x: Vec<u128> = rig.tries().into_iter().filter(|id| *id < 3).collect();
        assert!(of_x.is_sorted(), "{of_x:?}");
    }

    #[test]
    fn what_is_refused_for_good_is_kept_and_the_next_goes_on() {
        let rig = Rig::open(
            |record, _| {
                if record.id.ends_with('1') { Err(Failure::Never("400".to_owned())) } else { Ok(()) }
            },
        );
        rig.put("p.X", 1);
        rig.put("p.X", 2);
        assert!(matches!(rig.told.recv_timeout(WITHIN), Ok(Input::DeadLetter(..))));
        assert_eq!([rig.done(), rig.done()], [('p', 1), ('p', 2)]);
        let letters = std::fs::read_to_string(rig.folder.path().join("dead-letters.jsonl")).unwrap();
        assert_eq!(letters.lines().count(), 1);
        assert_eq!(rig.tries(), [1, 2]);
    }

    #[test]
    fn after_the_leases_end_nothing_is_handed_on() {
        let rig = Rig::new(clock::now(), |_, _| Ok(()));
        rig.put("p.X", 1);
        rig.put("p.X", 2);
        assert_eq!(([rig.done(), rig.done()], rig.tries()), ([('n', 1), ('n', 2)], vec![]));
    }

    #[test]
    fn what_the_session_hands_on_again_is_there_once() {
        let rig = Rig::open(|_, before| if before == 0 { Err(Failure::Away("no".to_owned())) } else { Ok(()) });
        for _ in 0..3 {
            rig.put("p.X", 1);
        }
        assert_eq!(rig.done(), ('p', 1));
        rig.put("p.X", 1);
        assert_eq!((rig.done(), rig.tries()), (('p', 1), vec![1, 1]));
    }

    #[test]
    fn people_are_told_why_a_sensor_waits_and_when_it_does_no_more() {
        let rig = Rig::open(|_, before| if before == 0 { Err(Failure::Away("no".to_owned())) } else { Ok(()) });
        rig.put("p.X", 1);
        let said = |input| match input {
            Input::Sink(sensor, problem) => (sensor.map(|sensor| sensor.to_string()), problem),
            other => panic!("{other:?}"),
        };
        let sensor = Some("p.X".to_owned());
        let told = || said(rig.told.recv_timeout(WITHIN).unwrap());
        assert_eq!([told(), told()], [(sensor.clone(), Some("no".to_owned())), (sensor, None)]);
    }
}
