//! Loads every sensor as a container would, and says what came of it; nothing is set up, polled or dispatched.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use st2sa_core::message::Kind;
use st2sa_core::names::{ContainerName, SensorRef};
use st2sa_core::time::Time;
use st2sa_machine::files::FileError;
use st2sa_machine::{clock, identity};
use st2sa_stackstorm::packs::Packs;

use crate::input::Input;
use crate::{
    Libraries, StartError, calls, datastore, failed, gate, keeper, lease, logbook, notebook, nursery, python, sockets,
    state,
};

/// The loop looks around at least this often.
const WAIT_AT_MOST: Duration = Duration::from_millis(200);

/// What came of loading one sensor: its kind, or what is wrong and what to do.
pub type Loaded = BTreeMap<SensorRef, Result<Kind, String>>;

/// Loads every enabled sensor of `packs`, each in a process of its own, and ends them. `progress` is told how many of how
/// many are done, now and then.
///
/// # Errors
/// When the machine does not allow it: no temporary folder, no processes.
pub fn check(
    packs: &Arc<Packs>,
    libraries: &Libraries,
    guardian_arguments: &[String],
    progress: impl FnMut(usize, usize),
) -> Result<Loaded, StartError> {
    let folder = std::env::temp_dir().join(format!("st2sa-check-{:016x}", identity::random()));
    std::fs::DirBuilder::new().mode(0o700).create(&folder).map_err(FileError::io("create", &folder))?;
    let loaded = check_in(&folder, packs, libraries, guardian_arguments, progress);
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        tracing::warn!(folder = %folder.display(), %error, "a temporary folder cannot be removed");
    }
    loaded
}

fn check_in(
    folder: &Path,
    packs: &Arc<Packs>,
    libraries: &Libraries,
    guardian_arguments: &[String],
    mut progress: impl FnMut(usize, usize),
) -> Result<Loaded, StartError> {
    let name = ContainerName::new("check");
    let state = state::State::open(folder, &name)?;
    let python_path = python::write(folder)?;
    let socket: PathBuf = folder.join("sensors.sock");
    let lease = Arc::new(lease::Lease::create().map_err(failed("make the lease's memory"))?);
    lease.publish(Time::default(), 0);
    let (inputs, received) = channel();
    let lock = state.lock.file().try_clone().map_err(failed("share the lock"))?;
    let mark = state::mark(state.incarnation);
    let mut keeper = keeper::Keeper::start(&mark, guardian_arguments, Arc::clone(&lease), lock, inputs.clone())
        .map_err(failed("start the guardian"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(failed("start the runtime"))?;
    let gate = gate::Gate::new(lease);
    let logbook = logbook::Logbook::new(name);
    let tokens = sockets::Tokens::default();
    let sockets = sockets::Sockets {
        tokens: tokens.clone(),
        inputs: inputs.clone(),
        calls: calls::Calls {
            packs: calls::Shelf::new(Arc::clone(packs)),
            datastore: datastore::Datastore::absent(gate.clone()),
            inputs,
            counters: calls::Counters::default(),
            notebooks: notebook::Notebooks::default(),
            validate: true,
        },
        gate,
        logbook: logbook.clone(),
        numbers: Arc::default(),
    };
    runtime.block_on(async {
        let listener = sockets::listen(&socket).map_err(failed(format!("listen at `{}`", socket.display())))?;
        tokio::spawn(sockets.serve(listener));
        Ok::<_, StartError>(())
    })?;
    let home = nursery::Home {
        socket,
        python_path,
        incarnation: mark,
        libraries: libraries.clone(),
        offered: folder.join("offered.json"),
    };
    let mut nursery = nursery::Nursery::new(home, Arc::clone(packs), tokens, logbook, notebook::Notebooks::default());
    nursery.raise_all(clock::now(), &mut keeper);
    while !nursery.has_seen_all() {
        progress(nursery.seen(), packs.sensors.values().filter(|sensor| sensor.enabled).count());
        if let Ok(input) = received.recv_timeout(WAIT_AT_MOST) {
            take(input, &mut nursery, &mut keeper);
        }
        keeper.watch(clock::now());
        nursery.on_time(clock::now(), &mut keeper);
        // Nobody asks for processes, or offers them.
        drop(nursery.take_events());
    }
    let loaded = nursery.known().filter_map(|(sensor, known, _)| {
        let outcome = match (&known.disabled, known.kind) {
            (Some(problem), _) => Err(problem.clone()),
            (None, kind) => Ok(kind?),
        };
        Some((sensor.clone(), outcome))
    });
    let loaded = loaded.collect();
    keeper.end();
    runtime.shutdown_background();
    Ok(loaded)
}

fn take(input: Input, nursery: &mut nursery::Nursery, keeper: &mut keeper::Keeper) {
    let now = clock::now();
    match input {
        Input::Connected { connection, whose, pid, sender } => {
            nursery.connected(now, connection, whose, pid, sender, keeper);
        }
        Input::Said { connection, whose, event, place } => {
            nursery.said(now, connection, whose, event, keeper);
            drop(place);
        }
        Input::Disconnected { connection, whose } => nursery.disconnected(connection, whose, keeper),
        // A constructor that dispatches: standbys may not, and this is one.
        Input::Effect { done, .. } => {
            let problem = "this copy of the sensor is on standby: dispatch and store in setup(), poll() or run()";
            drop(done.send(Err(problem.to_owned())));
        }
        Input::Guardian(generation, told) if keeper.is_current(generation) => nursery.told(now, told, keeper),
        _ => {}
    }
}
