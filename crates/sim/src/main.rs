//! Runs simulated clusters.
use st2sa_sim::{random, trace::Trace, world::World};
fn main() {
    let args: Vec<u64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    if args.len() == 1 {
        let run = random::run(args[0]);
        println!("{run:#?}");
        let outcome = World::new(run, Trace::printing()).finish();
        println!("{outcome:?}");
        return;
    }
    let mut by = std::collections::BTreeMap::<&str, Vec<u64>>::new();
    let start = std::time::Instant::now();
    let mut windows = std::collections::BTreeMap::new();
    let (mut events, mut sim) = (0, 0);
    for seed in args[0]..args[1] {
        let outcome = World::new(random::run(seed), Trace::silent()).finish();
        events += outcome.events; sim += outcome.simulated;
        for (w, c) in outcome.windows { *windows.entry(w).or_insert(0) += c; }
        if let Some(v) = outcome.violation { by.entry(v.invariant).or_default().push(seed); if by[v.invariant].len() <= 3 { println!("{seed}: {v}"); } }
    }
    println!("{windows:?}");
    for (k, v) in by { println!("{k}: {} {:?}", v.len(), &v[..v.len().min(10)]); }
    println!("{:?} events {events} sim {}s", start.elapsed(), sim / 1_000_000_000);
}
