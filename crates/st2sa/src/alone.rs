//! A container without high availability: it runs every sensor that it has, and needs no arbitrator but the one that it
//! carries within itself.
//!
//! So whatever an operator knows works as ever: `st2sa sensors`, `pause`, `logs`, the datastore, the policy. What dies is
//! started again with back-off, and never given up.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use clap::Args;
use st2sa_arbitrator::Arbitrator;
use st2sa_container::{Ending, Options, Reload, StartError};
use st2sa_core::time::Span;
use st2sa_core::timing::Timing;
use st2sa_doors::{DoorFiles, Keys};

use crate::arbitrator::Loopback;
use crate::settings::{ARBITRATOR, Settings};

/// Nobody waits to take over: a machine that is slow for a while is no reason to freeze anything.
const SESSION_TTL: Span = Span::from_secs(30);

/// What can be set of the arbitrator within.
#[derive(Args, Debug)]
pub(crate) struct AloneSettings {
    /// With --no-ha: where people reach it, as they do an arbitrator [default: 127.0.0.1:9110]
    #[arg(long, value_name = "ADDRESS:PORT")]
    arbitrator_listen: Option<String>,
    /// With --no-ha: the sensors' datastore, intents and history [default: /var/lib/st2sa/arbitrator]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
}

impl AloneSettings {
    /// What the arbitrator within is told; the options stand in `[sensorarbitrator]`.
    pub(crate) fn read(&self, settings: &Settings) -> st2sa_arbitrator::Options {
        let listen = settings.get::<Loopback>(self.arbitrator_listen.as_deref(), ARBITRATOR, "listen");
        let data_folder = settings.get::<PathBuf>(self.data_dir.as_deref(), ARBITRATOR, "data_dir");
        st2sa_arbitrator::Options {
            listen: listen.map_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9110)), |listen| listen.0),
            // The container's own door is the one that others come to.
            door: DoorFiles::default(),
            keys: Keys::default(),
            data_folder: data_folder.unwrap_or_default(),
            // Whoever runs alone shares nothing.
            store: None,
            // The container stands there: this is a part of it.
            registry: None,
            advertise: None,
            timing: Timing { session_ttl: SESSION_TTL, ..Timing::default() },
            policy: settings.get::<PathBuf>(None, ARBITRATOR, "policy"),
            alone: true,
        }
    }
}

/// Runs both until the container has stopped.
pub(crate) fn run(
    arbitrator: st2sa_arbitrator::Options,
    container: Options,
) -> anyhow::Result<Result<Ending, StartError>> {
    let arbitrator = Arbitrator::open(arbitrator).context(
        "the arbitrator within the container cannot start (--data-dir and --arbitrator-listen give it another folder and port)",
    )?;
    let (stop, reload) = (arbitrator.stopper(), arbitrator.reloader());
    let options = Options {
        arbitrators: vec![arbitrator.address().to_string()],
        store: None,
        // The arbitrator within has an open one.
        keys: Keys::default(),
        // There is nobody to hand anything over to.
        drain_timeout: Span::ZERO,
        on_reload: Some(Reload(Arc::new(move || {
            reload();
        }))),
        ..container
    };
    let within = thread::Builder::new().name("arbitrator".to_owned()).spawn(move || arbitrator.run());
    let within = within.context("the arbitrator within the container cannot start")?;
    let ending = st2sa_container::run(options);
    stop();
    if within.join().is_err() {
        tracing::error!("the arbitrator within the container has panicked");
    }
    Ok(ending)
}
