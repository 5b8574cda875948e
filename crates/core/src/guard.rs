//! The guards: every deadline, fence comparison, compare-and-set, wait and check that safety rests on, by name.
//!
//! A build with `--cfg st2sa_broken` (never a cargo feature: those add up across a build) can disable
//! any one of them, so that the simulator proves that each is needed. In every other build
//! [`guard!`](crate::guard!) is the honest expression and nothing else.

/// Declares the guards with what they are for.
macro_rules! guards {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, rule $rule:literal;)+) => {
        /// A guard.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Guard {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Guard {
            /// All of them, in the order of the rules.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name, as `--broken` takes it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// The number of the safety rule that it serves.
            pub fn rule(self) -> u8 {
                match self { $(Self::$name => $rule),+ }
            }

            /// What it does.
            pub fn purpose(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+)),+ }
            }
        }
    };
}

guards! {
    /// A lease is counted from the sending of the heartbeat, not from its acknowledgement.
    LeaseCountsFromSending = "lease-counts-from-sending", rule 1;
    /// Binding to a leader with a shorter `session_ttl` shortens the lease at once.
    BindingCapsLease = "binding-caps-lease", rule 1;
    /// A container is struck only when its lease has ended by any clock, drift and margin included.
    StrikeOutlastsLease = "strike-outlasts-lease", rule 2;
    /// Nothing that a container held is given away before its strike is confirmed.
    StrikeBeforeGiving = "strike-before-giving", rule 2;
    /// Another incarnation of a name frees nothing.
    IncarnationFreesNothing = "incarnation-frees-nothing", rule 2;
    /// A container is welcomed only when its entry in the register is confirmed.
    JoinBeforeWelcome = "join-before-welcome", rule 2;
    /// A container refuses a term lower than the highest it has seen, and so does a leader that is shown one.
    LowerTermRefused = "lower-term-refused", rule 3;
    /// A container refuses a second leader of one term, and so does a leader that is shown another.
    SameTermOneLeader = "same-term-one-leader", rule 3;
    /// Nothing from an older stream is obeyed.
    OlderStreamsIgnored = "older-streams-ignored", rule 3;
    /// A new registration voids everything held under the old one.
    NewRegistrationKills = "new-registration-kills", rule 3;
    /// A container counts as registered only by the list that binds it.
    BindingRegisters = "binding-registers", rule 3;
    /// An effect goes out only while the lease holds.
    GateChecksLease = "gate-checks-lease", rule 4;
    /// The container freezes what it runs when its lease ends.
    ContainerFreezes = "container-freezes", rule 5;
    /// The guardian freezes what its container runs when the lease ends.
    GuardianFreezes = "guardian-freezes", rule 5;
    /// The guardian kills everything when its container dies.
    GuardianKills = "guardian-kills", rule 5;
    /// A word frees a sensor only if it names the newest fence given there.
    WordNamesNewestFence = "word-names-newest-fence", rule 6;
    /// After the word only a higher fence activates again.
    OnlyHigherFenceActivates = "only-higher-fence-activates", rule 6;
    /// The word is given only when nothing acts any more.
    WordAfterStop = "word-after-stop", rule 6;
    /// A connection that breaks frees nothing.
    SilenceFreesNothing = "silence-frees-nothing", rule 6;
    /// A leader acts only while its leadership is surely in force.
    LeaderActsInForce = "leader-acts-in-force", rule 7;
    /// A lapsed lease is revived only after a renewal that began after the heartbeat came.
    RevivalNeedsRenewal = "revival-needs-renewal", rule 7;
    /// Time in which the leader's loop stood still is added to every deadline.
    StallAddsTime = "stall-adds-time", rule 7;
    /// A leader that resigns stops acting first.
    ResignStopsFirst = "resign-stops-first", rule 7;
    /// A new leader waits until no unregistered container can act.
    UnclaimedWait = "unclaimed-wait", rule 8;
    /// The wait ends early only when every registered container has bound itself or was struck.
    EarlyEndNeedsAll = "early-end-needs-all", rule 8;
    /// The wait is for the longest `session_ttl` still running, not for the leader's own.
    LongestTtlCounts = "longest-ttl-counts", rule 8;
    /// A leader that is shown a higher term, or its own in another's hands, takes one above it.
    TermAboveShown = "term-above-shown", rule 8;
    /// On an engine that may forget, the wait never ends early.
    ForgetfulWaitsFull = "forgetful-waits-full", rule 9;
    /// A commit must follow the sensor's last entry.
    CommitFollowsLast = "commit-follows-last", rule 10;
    /// A record with an unanswered commit is sealed before anyone is activated.
    SealBeforeActivation = "seal-before-activation", rule 10;
    /// Entries left unapplied are applied before the sensor is activated.
    UnappliedFirst = "unapplied-first", rule 10;
    /// A mark names its entry.
    MarkNamesEntry = "mark-names-entry", rule 10;
    /// Discarded effects discard the process that remembers them.
    DiscardedEffectsDiscardProcess = "discarded-effects-discard-process", rule 10;
    /// Only an arbitrator in the electors' list may win a campaign.
    ElectorsOnly = "electors-only", rule 11;
    /// A leadership is extended by the word of every other elector.
    EveryElectorExtends = "every-elector-extends", rule 11;
    /// An elector that promised does not campaign until its promise is over.
    PromiseHolds = "promise-holds", rule 11;
    /// An arbitrator that starts keeps still until no promise of its former life can be running.
    StartKeepsStill = "start-keeps-still", rule 11;
}

#[cfg(st2sa_broken)]
static BROKEN: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(usize::MAX);

/// Disables one guard in this process (or none).
#[cfg(st2sa_broken)]
pub fn break_one(guard: Option<Guard>) {
    let index = guard.map_or(usize::MAX, |guard| guard as usize);
    BROKEN.store(index, std::sync::atomic::Ordering::SeqCst);
}

/// Whether this guard is the disabled one.
#[cfg(st2sa_broken)]
pub fn is_broken(guard: Guard) -> bool {
    BROKEN.load(std::sync::atomic::Ordering::Relaxed) == guard as usize
}

/// `guard!(Name, honest, else broken)`: `honest`, unless a broken build disabled the guard `Name`.
#[macro_export]
macro_rules! guard {
    ($name:ident, $honest:expr, else $broken:expr) => {{
        #[cfg(st2sa_broken)]
        let value = if $crate::guard::is_broken($crate::guard::Guard::$name) { $broken } else { $honest };
        #[cfg(not(st2sa_broken))]
        let value = {
            const _: $crate::guard::Guard = $crate::guard::Guard::$name;
            $honest
        };
        value
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_rule_has_a_guard() {
        let names: std::collections::BTreeSet<_> = Guard::ALL.iter().map(|guard| guard.name()).collect();
        assert_eq!(names.len(), Guard::ALL.len());
        let rules: std::collections::BTreeSet<_> = Guard::ALL.iter().map(|guard| guard.rule()).collect();
        assert_eq!(rules, (1..=11).collect());
    }
}
