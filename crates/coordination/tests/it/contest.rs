//! The contest, a part of the conformance suite: three contenders in processes of their own, and a store that is frozen,
//! killed, cut off and wiped. All clocks are one here, so that who acted when can be compared exactly.

mod contender;

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use st2sa_coordination::store::{Lengths, Store};
use st2sa_core::time::Span;
use st2sa_testbed::Signal;

use self::contender::{Contender, Line, until};
use crate::proxy::Proxy;

/// One test a case of the contest, each on a store of its own.
macro_rules! contests {
    ($start:expr) => {
        crate::contest::contests!($start; terms_rise_under_contention, a_leader_that_slept_is_refused,
            a_deposed_leader_writes_nothing_under_fire, terms_outlive_a_killed_store, one_acts_while_the_store_freezes,
            a_cut_write_is_neither_done_nor_refused, terms_are_above_what_a_wiped_store_is_shown);
    };
    ($start:expr; $($case:ident),*) => {$(
        #[test]
        fn $case() {
            crate::contest::$case(&mut $start);
        }
    )*};
}
pub(crate) use contests;

/// A store, and what may happen to it.
pub(crate) trait Contest {
    /// How it is reached; its namespace is this contest's own.
    fn store(&self) -> Store;
    /// The shortest leadership that it grants, or a second.
    fn leader_ttl(&self) -> Span {
        Span::from_secs(1)
    }
    /// All of it stops, and nothing is lost.
    fn freeze(&self);
    /// It goes on.
    fn thaw(&self);
    /// All of it dies.
    fn kill(&mut self);
    /// It is started again with the data that it has kept, and answers.
    fn start_again(&mut self);
    /// It loses everything, however that is done.
    fn wipe(&mut self);
    /// How often it can be killed.
    fn kills(&self) -> usize {
        3
    }
    /// Whether [`Contest::kill`] loses what was confirmed.
    fn forgets(&self) -> bool;
}

/// As long as an arbitrator waits for an answer; more than a machine that is swamped needs for most.
const DEADLINE: Span = Span::from_millis(300);

fn three(contest: &impl Contest, store: &Store) -> [Contender; 3] {
    let lengths = Lengths { leader_ttl: contest.leader_ttl(), deadline: DEADLINE };
    ["a", "b", "c"].map(|arbitrator| Contender::start(arbitrator, store, lengths))
}

/// Each term is won once, and later ones are higher.
pub(crate) fn terms_rise_under_contention(contest: &mut impl Contest) {
    const TERMS: usize = 60;
    let mut all = three(contest, &contest.store());
    contend(&mut all, "contend 0s");
    until("enough terms", || (wins(&mut all) >= TERMS).then_some(()));
    stop(&mut all);
    let leaderships = leaderships(&all);
    assert!(leaderships.iter().map(|one| one.term).collect::<BTreeSet<_>>().len() >= TERMS);
    assert_terms_rise(&leaderships);
    assert_one_at_a_time(&leaderships);
}

/// A leader that sleeps through three of its ttls has stopped by its own clock before another wins, and is refused.
pub(crate) fn a_leader_that_slept_is_refused(contest: &mut impl Contest) {
    let [mut sleeper, mut other, mut third] = three(contest, &contest.store());
    until("it leads", || Some(sleeper.ask("campaign 1 0")).filter(|line| line.word == "won"));
    let renewed = until("it is kept", || Some(sleeper.ask("renew 1")).filter(|line| line.word == "done"));
    sleeper.signal(Signal::STOP);
    let since = Instant::now();
    // What it had in mind to do next.
    sleeper.tell("transact 1 p.Late sleeper");
    sleeper.tell("renew 1");
    let mut others = [&mut other, &mut third];
    for contender in &mut others {
        contender.tell("contend 1h");
    }
    let won = until("another leads", || {
        others.iter_mut().find_map(|contender| {
            contender.listen();
            contender.said("won").next().cloned()
        })
    });
    assert!(renewed.number("until") <= won.number("at"), "{renewed:?} {won:?}");
    sleep((sleeper.ttl * 3).saturating_sub(since.elapsed()));
    sleeper.signal(Signal::CONT);
    for _ in ["transact", "renew"] {
        let late = sleeper.hear();
        assert!(["not-leader", "unknown"].contains(&late.word.as_str()), "{late:?}");
    }
    assert_eq!(sleeper.ask_for_certain("renew 1").word, "not-leader");
    assert_eq!(sleeper.ask_for_certain("transact 1 p.Late sleeper").word, "not-leader");
    let pauses = sleeper.ask_for_certain("pauses");
    assert!(!pauses.pairs.contains_key("p.Late"), "{pauses:?}");
}

/// A deposed leader that goes on writing, while its successor writes, changes nothing.
pub(crate) fn a_deposed_leader_writes_nothing_under_fire(contest: &mut impl Contest) {
    const ROUNDS: usize = 4;
    let mut all = three(contest, &contest.store());
    let names = ["p.A", "p.B", "p.C"];
    let campaign = |contender: &mut Contender, round: usize| {
        let ask = format!("campaign {round} 0");
        until("it leads", || Some(contender.ask(&ask)).filter(|line| line.word == "won"))
    };
    campaign(&mut all[0], 0);
    all[0].tell(&format!("fire 0 {}", names[0]));
    for round in 0..ROUNDS {
        let (old, new) = (round % 3, (round + 1) % 3);
        let before = all[old].said("applied").count();
        until("the old one writes", || {
            all[old].listen();
            (all[old].said("applied").count() > before + 10).then_some(())
        });
        // In the first round it runs out, in the others it is given up while writes are on their way.
        if round > 0 {
            all[old].tell(&format!("resign {round}"));
        }
        campaign(&mut all[new], round + 1);
        let found = all[new].ask_for_certain("pauses").number(names[old]);
        all[new].tell(&format!("fire {} {}", round + 1, names[new]));
        all[old].listen();
        let refused = all[old].said("not-leader").count();
        until("the old one is refused", || {
            all[old].listen();
            (all[old].said("not-leader").count() > refused + 20).then_some(())
        });
        all[old].stop();
        assert_eq!(all[old].ask_for_certain("pauses").number(names[old]), found, "round {round}");
        let last = all[old].said("applied").map(|line| line.number("number")).max();
        assert!(last <= Some(found), "told that {last:?} was applied, but {found} was found");
    }
}

/// A store that is killed and started again gives no term twice, and none that is lower.
pub(crate) fn terms_outlive_a_killed_store(contest: &mut impl Contest) {
    assert!(!contest.forgets(), "not for a store that forgets");
    let mut all = three(contest, &contest.store());
    contend(&mut all, "contend 200ms");
    for _ in 0..contest.kills() {
        let more = wins(&mut all) + 3;
        until("leaderships come and go", || (wins(&mut all) >= more).then_some(()));
        contest.kill();
        contest.start_again();
    }
    let more = wins(&mut all) + 3;
    until("they come again", || (wins(&mut all) >= more).then_some(()));
    stop(&mut all);
    let leaderships = leaderships(&all);
    assert_terms_rise(&leaderships);
    assert_one_at_a_time(&leaderships);
}

/// Whoever leads when the store freezes, and whoever leads when it thaws: never two at once.
pub(crate) fn one_acts_while_the_store_freezes(contest: &mut impl Contest) {
    let mut all = three(contest, &contest.store());
    contend(&mut all, "contend 5s");
    // So long that the leadership goes on, that it ends meanwhile, and that it is long over.
    for halves in [1, 2, 4] {
        let more = renewals(&mut all) + 2;
        until("a leader renews", || (renewals(&mut all) >= more).then_some(()));
        contest.freeze();
        sleep(all[0].ttl / 2 * halves);
        contest.thaw();
    }
    let more = wins(&mut all) + 1;
    until("another leads", || (wins(&mut all) >= more).then_some(()));
    stop(&mut all);
    let leaderships = leaderships(&all);
    assert_terms_rise(&leaderships);
    assert_one_at_a_time(&leaderships);
}

/// Connections that are cut in the middle of writes: what was said to be written is, what was refused is not.
pub(crate) fn a_cut_write_is_neither_done_nor_refused(contest: &mut impl Contest) {
    let store = contest.store();
    let proxy = Proxy::before(&store.servers[0]);
    let mut all = three(contest, &Store { servers: vec![proxy.address().to_owned()], ..store.clone() });
    contend(&mut all, "contend 2s writes");
    let mut cuts = 0;
    until("enough was written, refused and cut", || {
        match cuts % 4 {
            0 | 2 => proxy.cut_next_answer(),
            1 => proxy.cut_next_request_after(1 + cuts * 7 % 200),
            _ => proxy.cut_next_request_after(0),
        }
        cuts += 1;
        sleep(Duration::from_millis(100));
        let mut said = |word: &str| all.iter_mut().map(|contender| named(contender, word)).sum::<usize>();
        let enough = said("applied") >= 60 && said("check-failed") >= 15 && said("unknown") >= 10;
        enough.then_some(())
    });
    proxy.pass();
    stop(&mut all);
    let lengths = Lengths { leader_ttl: contest.leader_ttl(), deadline: DEADLINE };
    let stored = Contender::start("reader", &store, lengths).ask_for_certain("pauses");
    for line in all.iter().flat_map(|contender| &contender.heard) {
        let Some(name) = line.pairs.get("name") else { continue };
        match line.word.as_str() {
            "applied" => assert!(stored.pairs.contains_key(name), "{name} is lost"),
            "check-failed" | "not-leader" => assert!(!stored.pairs.contains_key(name), "{name} is there"),
            _ => {}
        }
    }
    assert_terms_rise(&leaderships(&all));
}

/// A store that loses everything gives terms above those that are shown to it.
pub(crate) fn terms_are_above_what_a_wiped_store_is_shown(contest: &mut impl Contest) {
    let mut all = three(contest, &contest.store());
    contend(&mut all, "contend 100ms");
    for _ in 0..3 {
        let more = wins(&mut all) + 4;
        until("leaderships come and go", || (wins(&mut all) >= more).then_some(()));
        contest.wipe();
    }
    // All three: each of them has terms to show.
    let before = all.each_ref().map(|contender| contender.said("won").count());
    until("each leads again", || {
        all.iter_mut().for_each(Contender::listen);
        all.iter().zip(before).all(|(contender, before)| contender.said("won").count() > before).then_some(())
    });
    stop(&mut all);
    for contender in &all {
        let mut known = 0;
        for won in contender.said("won") {
            let term = won.number("term");
            assert!(term > won.number("above") && term > known, "{won:?} after {known}");
            known = term;
        }
    }
}

/// A leadership, from when it was won to when its holder would not act under it any more by its own clock.
#[derive(Debug)]
struct Leadership {
    term: u64,
    from: u64,
    until: u64,
}

fn leaderships(all: &[Contender]) -> Vec<Leadership> {
    let mut found: Vec<Leadership> = all.iter().flat_map(|contender| held(&contender.heard)).collect();
    found.sort_by_key(|one| one.from);
    found
}

fn held(heard: &[Line]) -> Vec<Leadership> {
    let mut found: Vec<Leadership> = Vec::new();
    for line in heard {
        match (line.word.as_str(), found.last_mut()) {
            ("won", _) => found.push(Leadership {
                term: line.number("term"),
                from: line.number("at"),
                until: line.number("until"),
            }),
            ("renewed", Some(last)) => last.until = last.until.max(line.number("until")),
            ("over", Some(last)) => last.until = last.until.min(line.number("at")),
            _ => {}
        }
    }
    found
}

#[track_caller]
fn assert_terms_rise(leaderships: &[Leadership]) {
    for pair in leaderships.windows(2) {
        assert!(pair[0].term < pair[1].term, "{pair:?}");
    }
}

#[track_caller]
fn assert_one_at_a_time(leaderships: &[Leadership]) {
    // One that was won too late to act under it harms nobody.
    let acted: Vec<_> = leaderships.iter().filter(|one| one.from < one.until).collect();
    for pair in acted.windows(2) {
        assert!(pair[0].until <= pair[1].from, "{pair:?}");
    }
}

fn contend(all: &mut [Contender], how: &str) {
    for contender in all {
        contender.tell(how);
    }
}

fn stop(all: &mut [Contender]) {
    all.iter_mut().for_each(Contender::stop);
}

fn wins(all: &mut [Contender]) -> usize {
    all.iter_mut().map(|contender| count(contender, "won")).sum()
}

fn renewals(all: &mut [Contender]) -> usize {
    all.iter_mut().map(|contender| count(contender, "renewed")).sum()
}

fn count(contender: &mut Contender, word: &str) -> usize {
    contender.listen();
    contender.said(word).count()
}

/// How many writes of a name of its own ended so.
fn named(contender: &mut Contender, word: &str) -> usize {
    contender.listen();
    contender.said(word).filter(|line| line.pairs.contains_key("name")).count()
}
