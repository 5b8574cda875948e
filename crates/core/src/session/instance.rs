//! One instance: its process, its grant, and what it is doing.

use super::effects::{Direct, Log};
use super::{Command, Outcome};
use crate::message::{Activation, Claim, Kind, Offer, State, StopCause};
use crate::names::{EntryId, Fence, ProcessId, SensorRef};
use crate::time::{Span, Time};

/// A standby whose process died is started again after so long, doubled at each death, up to the longest.
const RESPAWN_FIRST: Span = Span::from_secs(1);
const RESPAWN_LONGEST: Span = Span::from_secs(300);
/// What is left to commit or to publish when an instance is asked to stop may take so long; the rest
/// stays in the journal for the next holder.
const FINISH_WITHIN: Span = Span::from_secs(10);
/// So many good polls forget a failure.
const GOOD_POLLS: u32 = 10;
/// Overdue polls after a thaw begin within this, so that a source is not asked by all at once.
const OVERDUE_WITHIN: Span = Span::from_secs(2);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Instance {
    pub(super) offer: Offer,
    pub(super) process: Option<Process>,
    pub(super) grant: Option<Grant>,
    /// The packs offer it (still).
    pub(super) offered: bool,
    pub(super) failed_at: Option<Time>,
    pub(super) respawn_at: Time,
    deaths: u32,
    errors: u32,
    good: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) id: ProcessId,
    pub(super) doing: Doing,
    /// Since when it does that, frozen time and time in which it waits for a sink not counted.
    since: Time,
    /// The interval that it set itself.
    pace: Option<Span>,
    /// It remembers what was discarded, or runs old code: it is to be replaced.
    pub(super) discarded: bool,
    /// SIGKILL was sent, or it is known to die: its end is no death of the sensor.
    pub(super) killed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Doing {
    /// Loading.
    Starting,
    /// Loaded: warm.
    Ready,
    /// Being set up.
    Activating,
    /// Between polls, or a passive sensor at its work.
    Idle,
    /// In a poll.
    Polling,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Grant {
    /// The newest fence given.
    pub(super) fence: Fence,
    given_at: Time,
    /// When loading it, setting it up or a poll counts as hung.
    timeout: Span,
    /// So many raising polls in a row are a failure.
    max_errors: u32,
    /// The next poll.
    due: Time,
    polled_at: Option<Time>,
    untold: bool,
    /// What was left unapplied before this activation has been applied, and the process has been set up.
    started: bool,
    /// The journal of a journaled sensor.
    log: Option<Log>,
    /// The effects of a direct one that are not confirmed.
    direct: Direct,
    stop: Option<Stop>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Stop {
    cause: StopCause,
    /// What runs may finish until then.
    until: Time,
    /// Whatever runs is ended at once.
    now: bool,
}

/// What a poll's return says of the sensor's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Failing,
    Recovered,
}

/// What is said when everything has stopped.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) fence: Fence,
    pub(super) cause: StopCause,
    pub(super) polled_ago: Option<Span>,
    /// Entries that are applied, and not marked yet.
    pub(super) marks: Vec<EntryId>,
}

impl Process {
    pub(super) fn starting(id: ProcessId, now: Time) -> Self {
        Self { id, doing: Doing::Starting, since: now, pace: None, discarded: false, killed: false }
    }

    fn begin(&mut self, doing: Doing, now: Time) {
        self.doing = doing;
        self.since = now;
    }

    fn has_acted(&self) -> bool {
        !matches!(self.doing, Doing::Starting | Doing::Ready)
    }
}

impl Instance {
    pub(super) fn new(offer: Offer) -> Self {
        Self {
            offer,
            process: None,
            grant: None,
            offered: true,
            failed_at: None,
            respawn_at: Time::default(),
            deaths: 0,
            errors: 0,
            good: 0,
        }
    }

    pub(super) fn state(&self, frozen: bool) -> State {
        match (&self.grant, &self.process) {
            (Some(grant), _) if grant.stop.is_some() => State::Draining,
            (Some(_), Some(_)) if frozen => State::Frozen,
            (Some(_), Some(process)) => match process.doing {
                Doing::Idle | Doing::Polling => State::Running,
                Doing::Starting | Doing::Ready | Doing::Activating => State::Starting,
            },
            (Some(_), None) => State::Backoff,
            (None, Some(process)) if process.doing == Doing::Ready => State::Ready,
            (None, Some(_)) => State::Starting,
            (None, None) => State::Stopped,
        }
    }

    /// Whether something of a grant still runs, and is not being ended already.
    pub(super) fn runs_on(&self) -> bool {
        self.grant.as_ref().is_some_and(|grant| !grant.stop.as_ref().is_some_and(|stop| stop.now))
    }

    /// Whether it is ACTIVE with a journal.
    pub(super) fn is_journaled(&self) -> bool {
        self.grant.as_ref().is_some_and(|grant| grant.log.is_some())
    }

    /// Whether there is a grant that nothing has begun to end.
    pub(super) fn goes_on(&self) -> bool {
        self.grant.as_ref().is_some_and(|grant| grant.stop.is_none())
    }

    pub(super) fn claim(&self, now: Time, sensor: &SensorRef) -> Option<Claim> {
        let grant = self.grant.as_ref()?;
        let polled_ago = grant.polled_at.map(|at| now.since(at));
        Some(Claim { sensor: sensor.clone(), fence: grant.fence, polled_ago })
    }

    /// When a poll began that the leader has not been told of.
    pub(super) fn begun_untold(&mut self) -> Option<Time> {
        let grant = self.grant.as_mut()?;
        std::mem::take(&mut grant.untold).then_some(grant.polled_at?)
    }

    /// Acts under this fence from now on.
    pub(super) fn activate(&mut self, now: Time, fence: Fence, activation: Activation) {
        let due = match (self.interval(), activation.polled_ago) {
            (Some(interval), Some(ago)) => now + interval.saturating_sub(ago),
            (Some(_) | None, _) => now,
        };
        self.errors = 0;
        self.good = 0;
        // Given all the same: the next leader is not to move it for what this one has passed over.
        self.failed_at = None;
        self.grant = Some(Grant {
            fence,
            given_at: now,
            timeout: activation.timeout,
            max_errors: activation.max_errors.max(1),
            due,
            polled_at: activation.polled_ago.map(|ago| now - ago),
            untold: false,
            started: false,
            log: activation.journal.map(Log::from_journal),
            direct: Direct::default(),
            stop: None,
        });
    }

    /// A newer fence for what is held; `false` where the fence is no newer.
    pub(super) fn refence(&mut self, fence: Fence) -> bool {
        match &mut self.grant {
            Some(grant) if fence > grant.fence => {
                grant.fence = fence;
                true
            }
            Some(grant) => fence == grant.fence,
            None => false,
        }
    }

    /// Asked to stop everything under `fence`; `false` where nothing is left of it already.
    pub(super) fn ask_to_stop(&mut self, now: Time, fence: Fence, lapsed: bool) -> bool {
        let Some(grant) = &mut self.grant else {
            return false;
        };
        if fence < grant.fence {
            return true;
        }
        grant.fence = fence;
        if lapsed {
            self.stop_now(StopCause::Asked);
        } else if grant.stop.is_none() {
            grant.stop = Some(Stop { cause: StopCause::Asked, until: now + FINISH_WITHIN, now: false });
        }
        true
    }

    /// Stops without having been asked, once; what runs may finish.
    pub(super) fn stop_by_itself(&mut self, now: Time) {
        if let Some(grant) = &mut self.grant
            && grant.stop.is_none()
        {
            grant.stop = Some(Stop { cause: StopCause::Asked, until: now + FINISH_WITHIN, now: false });
        }
    }

    /// Ends whatever runs under the grant; its uncommitted effects are discarded.
    pub(super) fn stop_now(&mut self, cause: StopCause) {
        let Some(grant) = &mut self.grant else { return };
        let cause = grant.stop.as_ref().filter(|stop| stop.now).map_or(cause, |stop| stop.cause);
        grant.stop = Some(Stop { cause, until: Time::default(), now: true });
        grant.log = grant.log.take().map(Log::discarded);
        grant.direct = Direct::default();
    }

    /// A standby's process is replaced by one with the new code; an active one is left to the leader.
    pub(super) fn renew_standby(&mut self) {
        self.respawn_at = Time::default();
        let untouched = self.grant.as_ref().is_none_or(|grant| !grant.started);
        if let Some(process) = self.process.as_mut().filter(|process| untouched && !process.has_acted()) {
            process.discarded = true;
        }
    }

    pub(super) fn ready(&mut self) {
        self.deaths = 0;
        if let Some(process) = &mut self.process
            && process.doing == Doing::Starting
        {
            process.doing = Doing::Ready;
        }
    }

    pub(super) fn activated(&mut self, now: Time) {
        let (Some(process), Some(grant)) = (&mut self.process, &mut self.grant) else { return };
        if process.doing == Doing::Activating {
            process.doing = Doing::Idle;
            grant.started = true;
            grant.due = grant.due.max(now);
        }
    }

    /// The interval changes; the next poll is due one interval after the last one began.
    pub(super) fn paced(&mut self, interval: Span) {
        let before = self.interval();
        let Some(process) = &mut self.process else { return };
        process.pace = Some(interval);
        if let (Some(before), Some(grant)) = (before, &mut self.grant)
            && let Some(polled_at) = grant.polled_at
            && grant.due == polled_at + before
        {
            grant.due = polled_at + interval;
        }
    }

    /// The next poll is due at once, or as soon as the one that runs has returned.
    pub(super) fn poll_now(&mut self, now: Time, fence: Fence) {
        if let Some(grant) = self.grant.as_mut().filter(|grant| grant.fence == fence) {
            grant.due = grant.due.min(now);
        }
    }

    /// The poll did not begin after all: it is due as before.
    pub(super) fn not_polled(&mut self, now: Time) {
        if let (Some(process), Some(grant)) = (&mut self.process, &mut self.grant)
            && process.doing == Doing::Polling
        {
            process.doing = Doing::Idle;
            grant.due = now;
        }
    }

    /// From the beginning of one poll to the next; none of a passive sensor.
    fn interval(&self) -> Option<Span> {
        let Kind::Polling { interval } = self.offer.kind else { return None };
        Some(self.process.as_ref().and_then(|process| process.pace).unwrap_or(interval))
    }

    pub(super) fn poll_returned(&mut self, now: Time, outcome: Outcome, part_bytes: usize) -> Option<Told> {
        let (Some(process), Some(grant)) = (&mut self.process, &mut self.grant) else { return None };
        if !matches!(process.doing, Doing::Polling) || grant.stop.as_ref().is_some_and(|stop| stop.now) {
            return None;
        }
        process.doing = Doing::Idle;
        match outcome {
            Outcome::Good(work) => {
                if let (Some(work), Some(log)) = (work, &mut grant.log) {
                    log.push(work, grant.fence, part_bytes);
                }
                self.errors = 0;
                self.good = self.good.saturating_add(1);
                let recovered = self.good == GOOD_POLLS;
                if recovered {
                    self.failed_at = None;
                }
                recovered.then_some(Told::Recovered)
            }
            Outcome::Raised { effects } => {
                self.errors = self.errors.saturating_add(1);
                self.good = 0;
                // What was discarded is remembered by the process: it goes with it.
                if effects && crate::guard!(DiscardedEffectsDiscardProcess, true, else false) {
                    process.discarded = true;
                }
                let failing = self.errors.is_multiple_of(grant.max_errors);
                if failing {
                    self.failed_at = Some(now);
                }
                failing.then_some(Told::Failing)
            }
        }
    }

    /// A process has ended, by our hand or by itself.
    pub(super) fn gone(&mut self, now: Time) {
        let Some(process) = self.process.take() else { return };
        if process.killed {
            self.respawn_at = now;
            if let Some(grant) = &mut self.grant {
                grant.started = false;
                grant.direct = Direct::default();
            }
            return;
        }
        if self.grant.is_some() {
            self.failed_at = Some(now);
            self.respawn_at = now;
            self.stop_now(StopCause::Died);
            return;
        }
        let wait = RESPAWN_FIRST * (1_u64 << self.deaths.min(16));
        self.deaths = self.deaths.saturating_add(1);
        self.respawn_at = now + wait.min(RESPAWN_LONGEST);
    }

    /// The process has ended, and the sensor is not to blame.
    pub(super) fn lost(&mut self, now: Time) {
        if let Some(process) = &mut self.process {
            process.killed = true;
        }
        self.gone(now);
    }

    /// Takes the next step of an active instance: sets it up, or lets it poll.
    pub(super) fn act(&mut self, now: Time, may_act: bool, outbox: &mut Vec<Command>) {
        let interval = self.interval();
        let (Some(process), Some(grant)) = (&mut self.process, &mut self.grant) else { return };
        if grant.stop.is_some() || process.killed || process.discarded || !may_act {
            return;
        }
        match process.doing {
            Doing::Ready if grant.started || grant.log.as_ref().is_none_or(Log::is_applied) => {
                process.begin(Doing::Activating, now);
                let values = grant.log.as_ref().map(|log| log.values().clone());
                outbox.push(Command::Activate { process: process.id, values });
            }
            Doing::Idle => {
                let Some(interval) = interval else { return };
                let full = grant.log.as_ref().is_some_and(Log::is_full);
                if now < grant.due || full {
                    return;
                }
                process.begin(Doing::Polling, now);
                // One interval after this one began; ticks missed meanwhile became this one.
                grant.due = now + interval;
                grant.polled_at = Some(now);
                grant.untold = true;
                outbox.push(Command::Poll { process: process.id, fence: grant.fence });
            }
            Doing::Starting | Doing::Ready | Doing::Activating | Doing::Polling => {}
        }
    }

    /// The process that must be killed now, if any.
    pub(super) fn process_to_kill(&mut self, now: Time) -> Option<ProcessId> {
        let busy = self.is_busy();
        let mut stops = false;
        if let Some(grant) = &mut self.grant
            && let Some(stop) = &mut grant.stop
        {
            // A sink that is away may be so for long: what waits for it has as much time as what runs no more.
            if busy && !stop.now {
                stop.until = stop.until.max(grant.direct.waits_since().unwrap_or(now) + FINISH_WITHIN);
            }
            if now >= stop.until && !stop.now {
                stop.now = true;
                grant.log = grant.log.take().map(Log::discarded);
                grant.direct = Direct::default();
            }
            let open = grant.log.as_ref().is_some_and(|log| !log.is_empty()) || grant.direct.is_open();
            stops = stop.now || !busy && !open;
        }
        let process = self.process.as_mut().filter(|process| !process.killed)?;
        // A warm standby that never began to act is as good as before.
        let kill = process.discarded || stops && process.has_acted();
        process.killed = kill;
        kill.then_some(process.id)
    }

    /// The word, when nothing under the grant acts any more (rule 6).
    pub(super) fn word(&mut self, now: Time) -> Option<Word> {
        let grant = self.grant.as_ref()?;
        let stop = grant.stop.as_ref()?;
        let untouched = self.process.as_ref().is_none_or(|process| !process.has_acted() && !process.killed);
        let applied = stop.now || grant.log.as_ref().is_none_or(Log::is_empty) && !grant.direct.is_open();
        if !untouched || !applied {
            return None;
        }
        let (fence, cause) = (grant.fence, stop.cause);
        let polled_ago = grant.polled_at.map(|at| now.since(at));
        let marks = grant.log.as_ref().map(Log::unmarked).unwrap_or_default();
        self.grant = None;
        Some(Word { fence, cause, polled_ago, marks })
    }

    /// Loading, setting up or a poll that does not end.
    pub(super) fn hung(&self, now: Time, frozen: bool) -> bool {
        !frozen && self.hangs_at().is_some_and(|at| now >= at)
    }

    /// Gives up on what does not end, whatever it is doing.
    pub(super) fn hangs(&mut self, now: Time) {
        self.failed_at = Some(now);
        if let Some(process) = &mut self.process {
            process.discarded = true;
        }
        self.stop_now(StopCause::Hung);
    }

    fn hangs_at(&self) -> Option<Time> {
        let takes_time = |doing| matches!(doing, Doing::Starting | Doing::Activating | Doing::Polling);
        let process = self.process.as_ref().filter(|process| !process.killed && takes_time(process.doing))?;
        let grant = self.grant.as_ref().filter(|_| self.runs_on())?;
        // A sink that is away is no failure of the sensor.
        if grant.direct.is_open() {
            return None;
        }
        Some(process.since.max(grant.given_at) + grant.timeout)
    }

    /// Its effects have waited for the sink since then: what it does is as much younger.
    pub(super) fn has_waited(&mut self, now: Time, since: Time) {
        if let Some(process) = &mut self.process {
            let waited = now.since(since.max(process.since));
            // What was frozen meanwhile does not count twice.
            process.since = now.min(process.since + waited);
        }
    }

    /// Since when what it runs is frozen, in a lapse that began then.
    pub(super) fn frozen_since(&self, lapse: Time) -> Option<Time> {
        let grant = self.grant.as_ref().filter(|_| self.runs_on())?;
        Some(lapse.max(grant.given_at))
    }

    /// Goes on after a freeze: frozen time counts towards no timeout; an overdue poll begins soon.
    pub(super) fn thaw(&mut self, now: Time, frozen_at: Time, spread: u64) {
        if let Some(process) = &mut self.process {
            process.since += now.since(frozen_at.max(process.since));
        }
        let Some(interval) = self.interval() else { return };
        if let Some(grant) = &mut self.grant
            && grant.due <= now
        {
            let within = interval.min(OVERDUE_WITHIN).0.max(1);
            grant.due = now + Span(spread % within);
        }
    }

    pub(super) fn next_deadline(&self, frozen: bool, leaving: bool) -> Option<(Time, &'static str)> {
        let respawn = (self.process.is_none() && !leaving).then_some((self.respawn_at, "start the process again"));
        let Some(grant) = &self.grant else { return respawn };
        let busy = self.is_busy() && !grant.direct.is_open();
        let stop = grant.stop.as_ref().filter(|stop| !stop.now && !busy);
        let stop = stop.map(|stop| (stop.until, "stopping takes too long"));
        let hangs = self.hangs_at().filter(|_| !frozen).map(|at| (at, "it counts as hung"));
        let idle = self.process.as_ref().is_some_and(|process| process.doing == Doing::Idle && !process.killed);
        let polls = matches!(self.offer.kind, Kind::Polling { .. }) && grant.stop.is_none() && !self.log_is_full();
        let due = (idle && polls && !frozen).then_some((grant.due, "the next poll is due"));
        respawn.into_iter().chain(stop).chain(hangs).chain(due).min()
    }

    fn is_busy(&self) -> bool {
        let busy = |process: &Process| matches!(process.doing, Doing::Polling | Doing::Activating) && !process.killed;
        self.process.as_ref().is_some_and(busy)
    }

    pub(super) fn each_time(&mut self, f: &mut impl FnMut(&mut Time)) {
        f(&mut self.respawn_at);
        self.failed_at.iter_mut().for_each(&mut *f);
        if let Some(process) = &mut self.process {
            f(&mut process.since);
        }
        if let Some(grant) = &mut self.grant {
            f(&mut grant.due);
            f(&mut grant.given_at);
            grant.polled_at.iter_mut().for_each(&mut *f);
            grant.stop.iter_mut().for_each(|stop| f(&mut stop.until));
            grant.direct.each_time(f);
        }
    }

    fn log_is_full(&self) -> bool {
        self.grant.as_ref().and_then(|grant| grant.log.as_ref()).is_some_and(Log::is_full)
    }

    /// The open journal or direct effects, for `effects.rs`.
    pub(super) fn parts(&mut self) -> Option<Parts<'_>> {
        let grant = self.grant.as_mut()?;
        let ended = grant.stop.as_ref().is_some_and(|stop| stop.now);
        Some(Parts { fence: grant.fence, ended, log: grant.log.as_mut(), direct: &mut grant.direct })
    }
}

/// What of a grant the effects need.
pub(super) struct Parts<'a> {
    pub(super) fence: Fence,
    /// Whatever ran under it has been ended.
    pub(super) ended: bool,
    pub(super) log: Option<&'a mut Log>,
    pub(super) direct: &'a mut Direct,
}
