//! The dangerous windows: how often runs really entered them, told from true time, not from core.

use std::collections::BTreeMap;
use std::fmt;

macro_rules! windows {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal;)+) => {
        /// A situation in which a guard is all that stands between a cluster and a broken invariant.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Window {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Window {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// What it is.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+)),+ }
            }
        }

        impl fmt::Display for Window {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $text),+ })
            }
        }
    };
}

windows! {
    /// A process decided, was paused, and acted on the decision afterwards.
    DecidedThenPaused = "decided-then-paused";
    /// An effect was handed on under a lease, and stopped at the gate: the lease had ended before the act.
    StoppedAtTheGate = "stopped-at-the-gate";
    /// A lease ended in the middle of a poll.
    FrozenInPoll = "frozen-in-poll";
    /// A frozen poll was let go on.
    ThawedInPoll = "thawed-in-poll";
    /// A frozen poll was killed: its grant was void.
    KilledWhileFrozenInPoll = "killed-while-frozen-in-poll";
    /// The guardian froze while its container could not.
    GuardianFrozeAlone = "guardian-froze-alone";
    /// The container froze while its guardian could not.
    ContainerFrozeAlone = "container-froze-alone";
    /// A container died and its guardian killed what it ran.
    GuardianKilled = "guardian-killed";
    /// A container was struck while its process was alive.
    StruckAlive = "struck-alive";
    /// A message came on a stream after its container had bound itself on a newer one.
    OldStreamDelivered = "old-stream-delivered";
    /// The engine applied a write, and nobody was told.
    AppliedWithoutAnswer = "applied-without-answer";
    /// The engine refused a write of an arbitrator that led no more.
    DeposedWriteRefused = "deposed-write-refused";
    /// An arbitrator still took itself for the leader when another had won.
    TwoBelieve = "two-believe-they-lead";
    /// A frozen instance was adopted by a new term.
    AdoptedFrozen = "adopted-frozen";
    /// An instance was activated with entries that another had left unapplied.
    LeftUnapplied = "left-unapplied";
    /// An entry was published a second time under its id.
    PublishedAgain = "published-again";
    /// A journal record was sealed.
    Sealed = "sealed";
    /// A leader was shown a term above its own, or its own in another's hands.
    HigherTermShown = "higher-term-shown";
    /// A greeting came under a name that another incarnation holds.
    NameHeldTwice = "name-held-twice";
    /// A container bound itself to a leader whose session ttl is shorter than its lease was counted with.
    LeaseLongerThanTtl = "lease-longer-than-ttl";
    /// A leadership outlived its key in the engine by its electors' word.
    LedWithoutStore = "led-without-store";
    /// An elector's promise kept it from campaigning for a free leadership.
    PromiseKept = "promise-kept";
    /// A leader took its key again in the same term.
    Retaken = "retaken";
    /// The engine lost what it had confirmed.
    DataLost = "data-lost";
    /// A leader's loop stood still for longer than a heartbeat, and it went on leading.
    LeaderStalled = "leader-stalled";
    /// A whole node stood still across its lease's end, so that nobody could freeze it in time.
    FrozenLate = "frozen-late";
    /// A hypervisor held a machine without its clock noticing.
    HiddenPause = "hidden-pause";
    /// A sensor was moved because it failed on its node.
    MovedForFailure = "moved-for-failure";
    /// A sensor was moved for balance or newer code.
    MovedVoluntarily = "moved-voluntarily";
    /// A leader resigned.
    Resigned = "resigned";
    /// A term began while a registered container that has not bound itself to it acted on a lease.
    UnboundActs = "unbound-acts";
    /// A term began while a container that the register does not list acted on a lease.
    UnregisteredActs = "unregistered-acts";
    /// A lease of an earlier term still ran when a later leader wondered whom to wait for.
    LeaseAcrossTerms = "lease-across-terms";
    /// A word came for an older fence than the container holds.
    WordForOlderFence = "word-for-older-fence";
    /// A grant came again after the instance had stopped under it.
    GrantAfterStop = "grant-after-stop";
    /// A sensor was given away while a hypervisor held an arbitrator that believes it leads.
    GivenAwayWhileLeaderHidden = "given-away-while-leader-hidden";
    /// An arbitrator that is no elector tried for a free leadership.
    UnlistedCampaign = "unlisted-campaign";
    /// An elector started again while its promise would still have bound it.
    RestartedWithinPromise = "restarted-within-promise";
}

/// How often each was entered.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    /// The counts.
    pub counts: BTreeMap<Window, u64>,
}

impl Windows {
    pub(crate) fn enter(&mut self, window: Window) {
        *self.counts.entry(window).or_default() += 1;
    }
}
