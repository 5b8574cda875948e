//! The list of scenarios, by the hazard that each plays.

use rand::Rng;
use st2sa_core::arbiter::Verb;
use st2sa_core::message::Effects;
use st2sa_core::time::Span;

use super::{Scenario, Script};
use crate::clock::{MILLI, SECOND};
use crate::plan::{End, Fate, Fault, Kind, MachineSetup, Mood, Who};
use crate::windows::Window;

/// All of them.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "stale-membership",
        what: "A container joins the old leader and is given a sensor, which the next leader's table does not know (S1)",
        windows: &[Window::UnboundActs],
        share: 1,
        script: |s| {
            s.setup.machines.push(MachineSetup {
                name: "container-4".to_owned(),
                starts: false,
                ..s.setup.machines[0].clone()
            });
            s.at(3_000, Fault::Start(3));
            s.then_move(1_500, 3);
            s.then_cut(600, End::Leader, End::Engine, 6_000);
            s.then_cut(0, End::Machine(3), End::Followers, 7_000);
        },
    },
    Scenario {
        name: "resigned-and-acting",
        what: "A leader releases its leadership while it still serves (S2)",
        windows: &[Window::Resigned],
        share: 3,
        script: |s| {
            s.cut(4_000, End::Holder(0), End::Followers, 8_000);
            s.then(200, Fault::Operator(Verb::Resign));
            s.then_cut(6, End::Leader, End::Engine, 6_000);
        },
    },
    Scenario {
        name: "lapsed-claim",
        what: "A container frozen in mid-poll claims what was given away under the former leader (S3)",
        windows: &[Window::StruckAlive, Window::KilledWhileFrozenInPoll],
        share: 1,
        script: |s| {
            s.setup.sensors[0].poll = (1_500 * MILLI, 4_000 * MILLI);
            s.cut(4_000, End::Holder(0), End::Leader, 3_400);
            s.then_cut(0, End::Holder(0), End::Followers, 3_400);
            s.then(3_200, Fault::Operator(Verb::Resign));
        },
    },
    Scenario {
        name: "late-greeting",
        what: "A greeting is read long after it was sent, by a leader elected since (S4)",
        windows: &[Window::OldStreamDelivered],
        share: 1,
        script: |s| {
            let late = s.span(3_000);
            s.at(4_000, Fault::Intercept(Kind::Hello, Fate::Late(late)));
            s.then(1, Fault::Break(0));
            s.then_move(1_300, 0);
            s.then_cut(100, End::Leader, End::Engine, 5_000);
        },
    },
    Scenario {
        name: "grant-of-the-deposed",
        what: "A grant of a deposed leader arrives on the old stream, after the container bound itself anew (S5a)",
        windows: &[Window::OldStreamDelivered],
        share: 1,
        script: |s| {
            let late = s.span(3_500);
            let to = s.rng.random_range(0..3);
            s.at(4_900, Fault::Intercept(Kind::Grant, Fate::Late(late)));
            s.then_move(10, to);
            s.then_cut(60, End::Leader, End::Engine, 6_000);
        },
    },
    Scenario {
        name: "grant-on-an-old-stream",
        what: "A grant arrives on an older stream to the same leader, which gave the sensor away since (S5b)",
        windows: &[Window::OldStreamDelivered],
        share: 1,
        script: |s| {
            let late = s.span(2_600);
            let to = s.rng.random_range(0..3);
            s.at(4_900, Fault::Intercept(Kind::Grant, Fate::Late(late)));
            s.then_move(10, to);
        },
    },
    Scenario {
        name: "registered-again",
        what: "A container comes back to the leader that gave its sensor away, before it hears of that (S6)",
        windows: &[Window::StruckAlive, Window::KilledWhileFrozenInPoll],
        share: 1,
        script: |s| {
            s.setup.sensors[0].poll = (1_500 * MILLI, 4_000 * MILLI);
            s.cut(4_000, End::Holder(0), End::Leader, 4_500);
            s.then_cut(0, End::Holder(0), End::Followers, 4_500);
        },
    },
    Scenario {
        name: "word-of-an-older-fence",
        what: "The word for an older grant arrives when the container holds a newer one (S7a)",
        windows: &[Window::WordForOlderFence],
        share: 4,
        script: |s| {
            let (by, first) = (s.span(330), s.first());
            s.setup.sensors[0].poll = (MILLI, 1_500 * MILLI);
            s.at(4_000, Fault::Lag(End::Holder(0), End::Leader, by, 8 * SECOND));
            s.then(0, Fault::Lag(End::Leader, End::Holder(0), by, 8 * SECOND));
            for round in 0..4 {
                s.then(if round == 0 { 300 } else { 700 }, Fault::Operator(Verb::Pause(first.clone())));
                let wait = s.rng.random_range(1_100..2_200);
                s.then(wait, Fault::Operator(Verb::Resume(first.clone())));
                let (wait, to) = (s.rng.random_range(100..900), s.rng.random_range(0..3));
                s.then_move(wait, to);
            }
        },
    },
    Scenario {
        name: "same-grant-again",
        what: "A grant that was told twice arrives again after the instance stopped for good (S7b)",
        windows: &[Window::GrantAfterStop],
        share: 4,
        script: |s| {
            s.setup.sensors[0].poll = (MILLI, 300 * MILLI);
            for to in 0..3 {
                let (up, down) = (s.span(480), s.span(220));
                s.at(3_500, Fault::Lag(End::Machine(to), End::Leader, up, 9 * SECOND));
                s.then(0, Fault::Lag(End::Leader, End::Machine(to), down, 9 * SECOND));
            }
            for to in [1, 2, 0, 1] {
                s.then_move(1_900, to);
                let span = s.rng.random_range(700..1_600) * MILLI;
                s.then(300, Fault::Mood(0, None, Mood::Dies, span));
            }
        },
    },
    Scenario {
        name: "slow-leader",
        what: "The leader's clock is the slowest, the engine's the fastest, and the store is cut off (S8)",
        windows: &[Window::LeaseAcrossTerms],
        share: 1,
        script: |s| {
            s.rates(false, true, false);
            s.setup.arbitrators[1] = 1_095_400;
            s.cut(4_000, End::Leader, End::Engine, 7_000);
            s.then_cut(0, End::Holder(0), End::Followers, 8_000);
        },
    },
    Scenario {
        name: "shorter-ttl",
        what: "Arbitrators are replaced by ones with a shorter session ttl while a long lease runs (S9)",
        windows: &[Window::LeaseAcrossTerms],
        share: 1,
        script: |s| {
            let short = s.setup.timing.clone();
            s.setup.timing.session_ttl = Span::from_secs(7);
            s.cut(4_000, End::Holder(0), End::Leader, 9_000);
            s.then_cut(0, End::Holder(0), End::Followers, 9_000);
            for index in 0..3 {
                s.then(50, Fault::Retime(index, short.clone()));
            }
        },
    },
    Scenario {
        name: "bound-to-a-shorter-ttl",
        what: "A container with a long lease binds itself to a leader with a shorter ttl and is cut off at once",
        windows: &[Window::LeaseLongerThanTtl],
        share: 3,
        script: |s| {
            let short = s.setup.timing.clone();
            s.setup.timing.session_ttl = Span::from_secs(8);
            s.setup.timing.leader_ttl = Span::from_secs(2);
            s.at(4_000, Fault::Retime(0, short.clone()));
            s.then(0, Fault::Retime(1, short.clone()));
            s.then(0, Fault::Retime(2, short));
            // Elected when they have kept still, 2.4 to 2.9 s after their restart.
            let after = s.rng.random_range(2_500..3_800);
            s.then_cut(after, End::Holder(0), End::Leader, 8_000);
            s.then_cut(0, End::Holder(0), End::Followers, 8_000);
        },
    },
    Scenario {
        name: "drifting-clocks",
        what: "The container's clock is the slowest, the leader's the fastest, and the container is cut off (S10)",
        windows: &[Window::StruckAlive],
        share: 1,
        script: |s| {
            s.rates(true, true, false);
            s.cut(4_000, End::Holder(0), End::Leader, 6_000);
            s.then_cut(0, End::Holder(0), End::Followers, 6_000);
        },
    },
    Scenario {
        name: "hidden-leader",
        what: "A hypervisor holds the leader; it wakes and would thaw what its successor gave away (S11)",
        windows: &[Window::HiddenPause, Window::GivenAwayWhileLeaderHidden],
        share: 4,
        script: |s| {
            s.setup.sensors[0].poll = (1_500 * MILLI, 4_000 * MILLI);
            let span = s.span(5_500);
            s.cut(4_000, End::Holder(0), End::Followers, 9_000);
            s.then(50, Fault::Hidden(Who::Leader, span));
        },
    },
    Scenario {
        name: "stopped-container",
        what: "The container is stopped in mid-poll, and only its guardian can freeze (S12)",
        windows: &[Window::GuardianFrozeAlone, Window::FrozenInPoll],
        share: 1,
        script: |s| {
            s.setup.sensors[0].poll = (1_500 * MILLI, 4_000 * MILLI);
            let span = s.span(6_000);
            s.at(4_000, Fault::Pause(Who::Holder(0), span));
        },
    },
    Scenario {
        name: "stopped-at-the-gate",
        what: "The container is stopped between deciding to hand an effect on and the act (rule 4)",
        windows: &[Window::StoppedAtTheGate, Window::DecidedThenPaused],
        share: 3,
        script: |s| {
            s.setup.sensors.truncate(1);
            s.setup.sensors[0].effects = Effects::Direct;
            s.setup.sensors[0].interval = Some(30 * MILLI);
            s.setup.sensors[0].poll = (MILLI, 4 * MILLI);
            for at in [3_500, 6_800, 10_100] {
                let span = s.span(2_700);
                s.at(at, Fault::Gap(Who::Holder(0), span));
            }
        },
    },
    Scenario {
        name: "stopped-guardian",
        what: "The guardian is stopped, the container is cut off: only the container can freeze (S12)",
        windows: &[Window::ContainerFrozeAlone],
        share: 1,
        script: |s| {
            s.setup.sensors[0].poll = (1_500 * MILLI, 4_000 * MILLI);
            let span = s.span(6_000);
            for node in 0..3 {
                s.at(3_800, Fault::Pause(Who::Guardian(node), span));
            }
            s.cut(4_000, End::Holder(0), End::Leader, 6_000);
            s.then_cut(0, End::Holder(0), End::Followers, 6_000);
        },
    },
    Scenario {
        name: "container-killed",
        what: "The container is killed; its guardian must kill what it ran (S12)",
        windows: &[Window::GuardianKilled],
        share: 1,
        script: |s| {
            s.setup.sensors[0].poll = (1_500 * MILLI, 4_000 * MILLI);
            let again = s.span(300);
            s.at(4_000, Fault::Crash(Who::Holder(0), Some(again)));
            s.at(9_000, Fault::Crash(Who::Holder(0), None));
        },
    },
    Scenario {
        name: "one-name-twice",
        what: "Two nodes are given one name (S13)",
        windows: &[Window::NameHeldTwice],
        share: 1,
        script: |s| {
            s.setup.machines.push(MachineSetup { starts: false, ..s.setup.machines[0].clone() });
            s.then_move(3_000, 0);
            s.at(4_000, Fault::Start(3));
            let again = s.span(2_000);
            s.at(8_000, Fault::Crash(Who::Container(0), Some(again)));
        },
    },
    Scenario {
        name: "one-term-twice",
        what: "The engine forgets an election, and the term is given again (S14a)",
        windows: &[Window::DataLost, Window::HigherTermShown],
        share: 1,
        script: |s| term_again(s, 1),
    },
    Scenario {
        name: "lower-term",
        what: "The engine forgets two elections, and a lower term than containers have seen is given (S14a)",
        windows: &[Window::DataLost, Window::HigherTermShown],
        share: 1,
        script: |s| term_again(s, 2),
    },
    Scenario {
        name: "wiped-store",
        what: "Store and disk of a single arbitrator are lost, and terms begin again at one (S14a)",
        windows: &[Window::DataLost, Window::HigherTermShown],
        share: 1,
        script: |s| {
            s.setup.forgetful = true;
            s.setup.arbitrators.truncate(1);
            s.setup.heal_at = 18 * SECOND;
            for at in [3_000, 6_000] {
                s.at(at, Fault::Operator(Verb::Resign));
            }
            s.at(9_500, Fault::Forget(60 * SECOND));
            s.then(0, Fault::Wipe(0));
            s.then(0, Fault::Crash(Who::Arbitrator(0), Some(SECOND)));
        },
    },
    Scenario {
        name: "forgotten-registration",
        what: "The engine forgets a container's registration while it holds a sensor (rule 9)",
        windows: &[Window::DataLost, Window::UnregisteredActs],
        share: 4,
        script: |s| {
            s.setup.forgetful = true;
            s.setup.sensors[0].poll = (MILLI, 150 * MILLI);
            s.setup.machines.push(MachineSetup {
                name: "container-4".to_owned(),
                starts: false,
                ..s.setup.machines[0].clone()
            });
            s.at(3_600, Fault::Start(3));
            s.then_move(600, 3);
            s.then_cut(350, End::Machine(3), End::Followers, 8_000);
            s.then_cut(0, End::Leader, End::Engine, 7_000);
            let back = s.span(1_300);
            s.then(100, Fault::Forget(back));
        },
    },
    Scenario {
        name: "unlisted-arbitrator",
        what: "Fail-safe: an arbitrator that no leader listed reaches the store that the others do not (S15a)",
        windows: &[Window::LedWithoutStore, Window::UnlistedCampaign],
        share: 1,
        script: |s| {
            fail_safe(s);
            s.at(250, Fault::Crash(Who::Arbitrator(2), Some(5_500 * MILLI)));
            s.faults[0].0 = 1;
            for index in 0..2 {
                s.cut(5_000, End::Arbitrator(index), End::Engine, 9_000);
                s.then_cut(0, End::Arbitrator(index), End::Arbitrator(2), 9_000);
                for node in 0..2 {
                    s.then_cut(0, End::Arbitrator(index), End::Machine(node), 9_000);
                }
            }
            s.faults.retain(|(_, fault)| {
                !matches!(
                    fault,
                    Fault::Cut(End::Arbitrator(_), End::Machine(1), _)
                        | Fault::Cut(End::Machine(1), End::Arbitrator(_), _)
                )
            });
            s.then_move(0, 1);
            s.faults.iter_mut().for_each(|(at, fault)| {
                if matches!(fault, Fault::Operator(_)) {
                    *at = 3 * SECOND;
                }
            });
        },
    },
    Scenario {
        name: "forgotten-promise",
        what: "Fail-safe: an elector restarts and reaches the store within its promise (S15c)",
        windows: &[Window::LedWithoutStore, Window::RestartedWithinPromise],
        share: 4,
        script: |s| {
            fail_safe(s);
            s.setup.arbitrators.truncate(2);
            s.setup.machines.truncate(2);
            s.cut(4_000, End::Leader, End::Engine, 9_000);
            s.then_cut(0, End::Followers, End::Engine, 3_000);
            s.then_cut(0, End::Holder(0), End::Followers, 9_000);
            let again = s.span(80);
            s.then(2_850, Fault::Crash(Who::Followers, Some(again)));
            s.then_cut(100, End::Leader, End::Followers, 8_000);
        },
    },
    Scenario {
        name: "promise-and-campaign",
        what: "Fail-safe: an elector that promised sees the store again before its promise is over (S15)",
        windows: &[Window::LedWithoutStore, Window::PromiseKept],
        share: 4,
        script: |s| {
            fail_safe(s);
            s.setup.arbitrators.truncate(2);
            s.setup.machines.truncate(2);
            s.setup.machines[0].rate = 912_900;
            s.setup.machines[1].rate = 912_900;
            s.setup.engine_rate = 1_095_400;
            s.cut(4_000, End::Leader, End::Engine, 9_000);
            s.then(0, Fault::Cut(End::Followers, End::Engine, 3_000 * MILLI));
            s.then(0, Fault::Cut(End::Engine, End::Followers, 3_000 * MILLI));
            s.then_cut(0, End::Holder(0), End::Followers, 9_000);
            let parted = s.rng.random_range(2_900..3_400);
            s.then_cut(parted, End::Leader, End::Followers, 8_000);
        },
    },
    Scenario {
        name: "one-elector-disagrees",
        what: "Fail-safe: one elector reaches the store, the other promises (S15)",
        windows: &[Window::LeaseAcrossTerms],
        share: 1,
        script: |s| {
            fail_safe(s);
            s.setup.machines.truncate(2);
            s.cut(4_500, End::Arbitrator(0), End::Engine, 9_000);
            s.then_cut(0, End::Arbitrator(1), End::Engine, 9_000);
            s.then_cut(0, End::Arbitrator(0), End::Arbitrator(2), 9_000);
            s.then_cut(0, End::Arbitrator(1), End::Arbitrator(2), 9_000);
            s.then_cut(0, End::Machine(0), End::Arbitrator(2), 9_000);
            for index in 0..2 {
                s.then_cut(0, End::Machine(1), End::Arbitrator(index), 9_000);
            }
            s.then_move(0, 0);
            s.faults.iter_mut().for_each(|(at, fault)| {
                if matches!(fault, Fault::Operator(_)) {
                    *at = 3 * SECOND;
                }
            });
        },
    },
    Scenario {
        name: "store-away-and-back",
        what: "Fail-safe: the store is away for longer than any lease, and comes back (S15g)",
        windows: &[Window::LedWithoutStore, Window::Retaken],
        share: 1,
        script: |s| {
            fail_safe(s);
            let span = s.span(6_000);
            s.at(4_500, Fault::Outage(span));
            s.then(0, Fault::Crash(Who::Holder(0), Some(span / 2)));
        },
    },
    Scenario {
        name: "late-commit",
        what: "A commit lands after its sensor was given to another (E3)",
        windows: &[Window::Sealed],
        share: 1,
        script: |s| {
            // One item, which its source does not list for long; nothing comes after it.
            s.setup.sensors.truncate(1);
            s.setup.sensors[0].poll = (MILLI, 100 * MILLI);
            s.setup.sensors[0].item_every = 3 * SECOND;
            s.setup.sensors[0].listed_for = Some(SECOND);
            s.setup.heal_at = 5_900 * MILLI;
            for _ in 0..12 {
                let late = s.rng.random_range(2_000..4_500) * MILLI;
                s.faults.push((2 * SECOND, Fault::Intercept(Kind::Commit, Fate::Late(late))));
            }
            s.at(3_600, Fault::Crash(Who::HoldersMachine(0), None));
        },
    },
    Scenario {
        name: "commit-without-answer",
        what: "A commit takes effect and nobody is told; then its container, or the leader, dies (E3)",
        windows: &[Window::AppliedWithoutAnswer, Window::LeftUnapplied],
        share: 1,
        script: |s| {
            s.setup.sensors[0].poll = (MILLI, 150 * MILLI);
            s.at(4_000, Fault::Intercept(Kind::Commit, Fate::AnswerLost));
            let who = if s.rng.random_bool(0.5) { Who::HoldersMachine(0) } else { Who::Leader };
            s.then(150, Fault::Crash(who, Some(3 * SECOND)));
        },
    },
    Scenario {
        name: "unmarked-entries",
        what: "Entries are published and not marked, or committed and not published, when their container dies (E5)",
        windows: &[Window::LeftUnapplied, Window::PublishedAgain],
        share: 1,
        script: |s| {
            s.setup.sensors[0].poll = (MILLI, 8 * MILLI);
            s.setup.sensors[0].interval = Some(20 * MILLI);
            s.setup.sensors[0].item_every = 12 * MILLI;
            let by = s.rng.random_range(20..120) * MILLI;
            s.at(3_000, Fault::Lag(End::Holder(0), End::Leader, by, 2 * SECOND));
            s.then(1_000, Fault::Crash(Who::HoldersMachine(0), None));
            s.setup.heal_at = 7 * SECOND;
        },
    },
    Scenario {
        name: "poll-that-remembers",
        what: "A poll raises after the sensor has remembered what it did (E1)",
        windows: &[],
        share: 1,
        script: |s| {
            let span = s.span(2_500);
            s.at(4_000, Fault::Mood(0, None, Mood::Raises, span));
        },
    },
    Scenario {
        name: "stranded-leader",
        what: "The leader reaches the store, and no container reaches the leader (W1)",
        windows: &[Window::Resigned],
        share: 1,
        script: |s| {
            for node in 0..3 {
                s.cut(4_000, End::Machine(node), End::Leader, 9_500);
            }
        },
    },
    Scenario {
        name: "leader-alone-with-store",
        what: "The leader reaches the store; neither containers nor other arbitrators reach the leader (W4)",
        windows: &[Window::Resigned],
        share: 1,
        script: |s| {
            for node in 0..3 {
                s.cut(4_000, End::Machine(node), End::Leader, 12_500);
            }
            s.then_cut(0, End::Followers, End::Leader, 12_500);
        },
    },
    Scenario {
        name: "stalled-leader",
        what: "The leader's loop stands still for longer than any lease, within its leadership (W2)",
        windows: &[Window::LeaderStalled],
        share: 3,
        script: |s| {
            s.setup.timing.leader_ttl = Span::from_secs(8);
            let span = s.span(3_900);
            s.at(4_000, Fault::Pause(Who::Leader, span));
        },
    },
    Scenario {
        name: "frozen-for-long",
        what: "A frozen instance in a partition holds what its successor needs (W3)",
        windows: &[Window::KilledWhileFrozenInPoll],
        share: 1,
        script: |s| {
            s.setup.sensors[0].poll = (1_500 * MILLI, 4_000 * MILLI);
            s.cut(3_000, End::Holder(0), End::Leader, 10_500);
            s.then_cut(0, End::Holder(0), End::Followers, 10_500);
        },
    },
    Scenario {
        name: "join-without-answer",
        what: "A container's entry in the register is written and nobody is told, or it is written late",
        windows: &[Window::AppliedWithoutAnswer],
        share: 3,
        script: |s| {
            s.setup.machines.push(MachineSetup {
                name: "container-4".to_owned(),
                starts: false,
                ..s.setup.machines[0].clone()
            });
            s.setup.sensors[0].effects = Effects::Direct;
            s.setup.sensors[0].poll = (MILLI, 100 * MILLI);
            let late = s.span(6_000);
            let fate = if s.rng.random_bool(0.3) { Fate::AnswerLost } else { Fate::Late(late) };
            s.at(3_000, Fault::Intercept(Kind::Join, fate));
            s.then_cut(1, End::Machine(3), End::Followers, 8_000);
            s.then(1, Fault::Start(3));
            s.then_move(200, 3);
            s.then_cut(150, End::Leader, End::Engine, 7_000);
        },
    },
    Scenario {
        name: "late-strike",
        what: "A strike is confirmed late, or never, and the leader changes meanwhile",
        windows: &[Window::StruckAlive],
        share: 4,
        script: |s| {
            let late = s.span(3_000);
            let fate = if s.rng.random_bool(0.5) { Fate::AnswerLost } else { Fate::Late(late) };
            s.at(3_000, Fault::Intercept(Kind::Strike, fate));
            s.setup.sensors[0].effects = Effects::Direct;
            s.setup.sensors[0].poll = (300 * MILLI, 1_500 * MILLI);
            let away = s.rng.random_range(4_800..6_200);
            s.at(3_500, Fault::Cut(End::Holder(0), End::Leader, away * MILLI));
            s.then(0, Fault::Cut(End::Leader, End::Holder(0), away * MILLI));
            s.then(0, Fault::Cut(End::Holder(0), End::Followers, away * MILLI));
            s.then(0, Fault::Cut(End::Followers, End::Holder(0), away * MILLI));
            s.then_cut(3_000, End::Leader, End::Engine, 7_000);
            // Whoever holds it by then stays with the old leader.
            s.then_cut(0, End::Holder(0), End::Followers, 7_000);
        },
    },
];

/// Fail-safe, and direct sensors: they poll on when nothing can be committed.
fn fail_safe(s: &mut Script<'_>) {
    s.setup.fail_safe = true;
    for sensor in &mut s.setup.sensors {
        sensor.effects = Effects::Direct;
        sensor.poll = (50 * MILLI, 400 * MILLI);
    }
}

/// An arbitrator that heard nothing of the last elections leads a store that forgot them.
fn term_again(s: &mut Script<'_>, elections: u64) {
    // Who resigns keeps still for a leader's ttl; the next resignation comes after that.
    const BETWEEN: u64 = 2_900;
    let lasts = 1_900 + BETWEEN * (elections - 1);
    s.setup.forgetful = true;
    s.setup.heal_at = 18 * SECOND;
    for end in [End::Engine, End::Arbitrator(0), End::Arbitrator(1)] {
        for (from, to) in [(End::Arbitrator(2), end), (end, End::Arbitrator(2))] {
            s.faults.push((5 * SECOND, Fault::Cut(from, to, lasts * MILLI)));
        }
    }
    for election in 0..elections {
        s.then(if election == 0 { 700 } else { BETWEEN }, Fault::Operator(Verb::Resign));
    }
    s.then(600, Fault::Forget((900 + BETWEEN * (elections - 1)) * MILLI));
    s.then(0, Fault::Crash(Who::Arbitrator(0), Some(7 * SECOND)));
    s.then(0, Fault::Crash(Who::Arbitrator(1), Some(7 * SECOND)));
}
