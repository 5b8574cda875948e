//! Clusters over network namespaces, run as `cargo xtask cluster`: links are cut, servers and machines are lost, and sensors go on.
//! Every scene says in a line what was done, how long polling paused, whether a sensor moved, and whether two ever acted at once.

mod cluster;
mod network;
mod private;
mod scenes;
mod servers;
mod verdict;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use cluster::Cluster;
use scenes::Scene;
use servers::Which;
use verdict::Seconds;

/// Play scenes on clusters over network namespaces: each machine is one, links are cut
///
/// Three arbitrators, two containers and three servers of the store, with TLS between arbitrators and containers; six sensors
/// poll every 200 ms. Needs root, iproute2 and nftables, and the stores' servers. Nothing outside of its own namespaces is touched, and
/// nothing is left, also after a Ctrl-C.
#[derive(Parser)]
#[command(name = "cargo xtask cluster", bin_name = "cargo xtask cluster")]
#[command(after_help = "Examples:\n  cargo xtask cluster --short\n  cargo xtask cluster --store zookeeper\n  \
                        cargo xtask cluster --store etcd leader-with-store-alone\n\nExit codes:\n  0  every scene passed\n  \
                        1  one failed, or could not be played; logs are kept, and where is said")]
struct Cli {
    /// The binary
    #[arg(long, value_name = "FILE", default_value = "target/debug/st2sa")]
    binary: PathBuf,
    /// The store; all of them, one after the other, if not given
    #[arg(long, value_enum)]
    store: Option<Which>,
    /// Only the scenes that are played in two minutes, on etcd unless another store is named
    #[arg(long)]
    short: bool,
    /// List the scenes, and play none
    #[arg(long)]
    list: bool,
    /// Only these scenes
    scenes: Vec<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.list {
        for scene in &scenes::ALL {
            println!("{}", scene.name);
        }
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = cli.scenes.iter().find(|name| !scenes::ALL.iter().any(|scene| scene.name == **name)) {
        eprintln!("error: there is no scene `{unknown}`; --list lists them");
        return ExitCode::FAILURE;
    }
    let ended = if private::is_inside() { private::enter().map(|()| play(&cli)) } else { private::run_again() };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Plays what is asked for; 1 if any of it failed.
fn play(cli: &Cli) -> u8 {
    let Some(binary) = std::path::absolute(&cli.binary).ok().filter(|binary| binary.is_file()) else {
        eprintln!("error: there is no binary `{}`; build it, or name another with --binary", cli.binary.display());
        return 1;
    };
    let all = [Which::Etcd, Which::Zookeeper, Which::Redis];
    let stores = match cli.store {
        Some(which) => vec![which],
        None if cli.short => vec![Which::Etcd],
        None => all.to_vec(),
    };
    let failed: usize = stores.into_iter().map(|which| play_on(which, &binary, cli)).sum();
    if failed > 0 {
        println!("\n{failed} scenes failed");
    }
    u8::from(failed > 0)
}

/// Plays it on one store; how many failed.
fn play_on(which: Which, binary: &Path, cli: &Cli) -> usize {
    println!("\non {which:?}");
    let is_wanted = |scene: &&Scene| {
        (cli.scenes.is_empty() || cli.scenes.iter().any(|name| name == scene.name))
            && (!cli.short || scene.short)
            && (!scene.fail_safe || which.has_fail_safe())
    };
    let mut standing: Option<Cluster> = None;
    let mut failed = 0;
    for scene in scenes::ALL.iter().filter(is_wanted) {
        let began = Instant::now();
        // A cluster goes on to the next scene unless one has failed: that one's logs are kept.
        let cluster = standing.take();
        let played = catch_unwind(AssertUnwindSafe(|| {
            let mut cluster = cluster.unwrap_or_else(|| Cluster::start(binary, which));
            let verdict = (scene.play)(&mut cluster);
            (cluster, verdict)
        }));
        if let Ok((cluster, verdict)) = played {
            println!("{verdict}");
            standing = Some(cluster);
        } else {
            println!("FAIL  {} (after {}; what is wrong is above)", scene.name, Seconds(began.elapsed()));
            failed += 1;
        }
    }
    failed
}
