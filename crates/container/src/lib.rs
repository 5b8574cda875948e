//! The sensor container: the shell around core's session.
//!
//! Threads and tasks, and what passes between them:
//!
//! | who | does | is told by | tells |
//! |---|---|---|---|
//! | the loop ([`run`]'s own thread) | feeds the session and carries out what it decides; owns hosts, sensor processes and the guardian's leash | one channel of inputs | everybody below |
//! | packs thread | reads the packs again when they have changed, or when asked | a channel | the loop: the packs |
//! | sink thread, of a sink on this machine | writes triggers in batches, behind the gate | a channel of triggers | the loop: what is confirmed |
//! | tasks: lanes, of a sink over the network | one a sensor: hands its triggers on in order, behind the gate | a channel of triggers each | the loop: what is confirmed |
//! | guardian-line thread | reads what the guardian says | a socket | the loop |
//! | tasks: streams to arbitrators | gRPC, one task a stream | a bounded channel each | the loop: what is heard |
//! | tasks: connections of processes | read lines, answer calls | their sockets | the loop: what is said, what is to be done |
//! | tasks: HTTP | `/active/REF`, logs | their sockets | nobody |
//! | a task: the service registry | keeps this container a member, where that is asked for | the loop: how many sensors are ACTIVE | the store |
//! | signals | SIGTERM and SIGINT; after a second one the process ends soon, whatever the loop does | the kernel | the loop |
//!
//! The guardian is a process of its own: [`guardian::run`].

mod applying;
mod calls;
mod check;
mod datastore;
mod effects;
mod finder;
mod gate;
pub mod guardian;
mod herd;
mod http;
mod input;
mod keeper;
mod lease;
mod link;
mod logbook;
mod notebook;
mod nursery;
mod python;
mod registry;
mod shell;
mod sinks;
mod sockets;
mod state;
mod watch;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use st2sa_coordination::registry::Membership;
use st2sa_coordination::store::Store;
use st2sa_core::names::{ArbitratorId, ContainerName};
use st2sa_core::session::{Config, Session};
use st2sa_core::time::{Span, Time};
use st2sa_core::timing::Timing;
use st2sa_doors::{Caller, Door, DoorError, DoorFiles, Keys};
use st2sa_machine::files::FileError;
use st2sa_machine::{clock, identity, processes, signals};
use st2sa_proto::{About, PROTOCOL};
use st2sa_stackstorm::packs::Packs;

pub use check::{Loaded, check};
use input::Input;
pub use shell::Ending;
pub use sinks::{AmqpTarget, Dispatching, HttpTarget, SinkError, TlsFiles};
pub use state::StateError;
pub use watch::Source;

/// The loop that is asked a second time to stop has killed and reaped everything within this.
const STOPPED_WITHIN: Duration = Duration::from_secs(3);
/// Bytes of a Unix socket's path at the most, by the kernel.
const SOCKET_PATH_BYTES_AT_MOST: usize = 107;

/// What one container is told at its start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name: one for each sensor node.
    pub name: ContainerName,
    /// Where arbitrators listen, `host:port`; where there are none, `store` names the leader.
    pub arbitrators: Vec<String>,
    /// The store that arbitrators share.
    pub store: Option<Store>,
    /// Labels, for the policy.
    pub labels: BTreeMap<String, String>,
    /// The packs, read already, and where from: they are read again when they change, and at SIGHUP.
    pub packs: Arc<Packs>,
    /// See `packs`.
    pub source: Source,
    /// Where it keeps its lock, its socket and the Python host; best on a tmpfs.
    pub state_folder: PathBuf,
    /// Where it answers over HTTP.
    pub listen: SocketAddr,
    /// Where others reach it there, `host:port`; where it listens, if not given.
    pub advertise: Option<String>,
    /// Whom it lets in there.
    pub door: DoorFiles,
    /// What it shows to arbitrators.
    pub keys: Keys,
    /// Where triggers go.
    pub dispatching: Dispatching,
    /// Payloads that do not fit their trigger type's schema are dropped, as StackStorm does.
    pub validate_payload: bool,
    /// What sensors find beside what their own packs bring.
    pub libraries: Libraries,
    /// An instance frozen for longer is killed.
    pub freeze_limit: Span,
    /// How long it hands over before it stops by itself.
    pub drain_timeout: Span,
    /// The store with the service registry that it stands in, if it is to.
    pub registry: Option<Store>,
    /// Told of each SIGHUP, beside the packs' being read again.
    pub on_reload: Option<Reload>,
    /// Added to the guardian's command line: how it logs.
    pub guardian_arguments: Vec<String>,
}

/// What sensors find beside what their own packs bring.
#[derive(Clone, Debug, Default)]
pub struct Libraries {
    /// A pack's `lib` folder is on its sensors' path.
    pub common: bool,
    /// StackStorm's own virtualenv: sensors see its packages, as they do in StackStorm.
    pub stackstorm: Option<PathBuf>,
}

/// Something else that is to be read again when the container is asked to.
#[derive(Clone)]
pub struct Reload(pub Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reload")
    }
}

/// Why a container could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Certificates and tokens.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// The sink cannot be opened.
    #[error("triggers cannot be dispatched")]
    Sink(#[from] SinkError),
    /// Something else of the machine.
    #[error("cannot {what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
    let what = what.into();
    move |source| StartError::Io { what, source }
}

/// Runs a container until it has stopped.
///
/// # Errors
/// When it cannot start; what goes wrong later is in its log, and in how it ends.
pub fn run(options: Options) -> Result<Ending, StartError> {
    identity::allow_open_files();
    let door = Arc::new(Door::open(options.door.clone(), options.listen)?);
    let caller = Caller::new(options.keys.clone())?;
    let state = state::State::open(&options.state_folder, &options.name)?;
    let python_path = python::write(&state.folder)?;
    let socket = state.folder.join("sensors.sock");
    if socket.as_os_str().len() > SOCKET_PATH_BYTES_AT_MOST {
        let what = format!("use the socket path `{}`: choose a shorter --state-dir", socket.display());
        return Err(failed(what)(io::ErrorKind::InvalidFilename.into()));
    }
    let lease = Arc::new(lease::Lease::create().map_err(failed("make the lease's memory"))?);
    lease.publish(Time::default(), 0);
    let (inputs, received) = channel();
    let lock = state.lock.file().try_clone().map_err(failed("share the lock"))?;
    let mark = state::mark(state.incarnation);
    let keeper = keeper::Keeper::start(&mark, &options.guardian_arguments, Arc::clone(&lease), lock, inputs.clone());
    let keeper = keeper.map_err(failed("start the guardian"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(failed("start the runtime"))?;
    let gate = gate::Gate::new(Arc::clone(&lease));
    let logbook = logbook::Logbook::new(options.name.clone());
    let datastore = datastore::Datastore::new(gate.clone(), caller.clone());
    let counters = calls::Counters::default();
    let notebooks = notebook::Notebooks::default();
    let tokens = sockets::Tokens::default();
    let start = sinks::Start {
        container: options.name.clone(),
        gate: gate.clone(),
        inputs: inputs.clone(),
        runtime: runtime.handle(),
        folder: &state.folder,
    };
    let sink = sinks::start(&options.dispatching, start)?;
    let shelf = calls::Shelf::new(Arc::clone(&options.packs));
    let asks = watch::start(options.source.clone(), &options.packs, inputs.clone());
    let asks = asks.map_err(failed("start watching the packs"))?;
    let calls = calls::Calls {
        packs: shelf.clone(),
        datastore: datastore.clone(),
        inputs: inputs.clone(),
        counters: counters.clone(),
        notebooks: notebooks.clone(),
        validate: options.validate_payload,
    };
    let sockets = sockets::Sockets {
        tokens: tokens.clone(),
        inputs: inputs.clone(),
        calls,
        gate: gate.clone(),
        logbook: logbook.clone(),
        numbers: Arc::default(),
    };
    let answers = http::Answers { gate: gate.clone(), logbook: logbook.clone() };
    let address = runtime.block_on(async {
        let listener = sockets::listen(&socket).map_err(failed(format!("listen at `{}`", socket.display())))?;
        tokio::spawn(sockets.serve(listener));
        let http = tokio::net::TcpListener::bind(options.listen).await;
        let http = http.map_err(failed(format!("listen at {} (--listen gives another address)", options.listen)))?;
        let address = http.local_addr().map_err(failed("learn its own address"))?;
        tokio::spawn(st2sa_doors::serve(http, door, http::routes(answers), http::needs, std::future::pending()));
        signals::on_stop(stops(inputs.clone())).map_err(failed("listen to signals"))?;
        let on_reload = options.on_reload.clone();
        let reload = move || {
            if let Some(reload) = &on_reload {
                (reload.0)();
            }
            asks.send(()).is_ok()
        };
        signals::on_reload(reload).map_err(failed("listen to signals"))?;
        Ok::<_, StartError>(address)
    })?;
    let about = About {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: identity::host(),
        pid: std::process::id(),
        address: options.advertise.clone().unwrap_or_else(|| identity::reached_at(address)),
    };
    tracing::info!(
        name = %options.name, pid = about.pid, http = %address, state = %state.folder.display(),
        arbitrators = options.arbitrators.join(","), "the container runs"
    );
    let registry = options.registry.as_ref().map(|store| {
        let _entered = runtime.enter();
        registry::join(store, address, &about.address, &options.name)
    });
    let home = nursery::Home {
        socket,
        python_path,
        incarnation: mark,
        libraries: options.libraries.clone(),
        offered: state.folder.join("offered.json"),
    };
    let now = clock::now();
    let shell = shell::Shell {
        session: Session::new(config(&options), state.incarnation, state.succeeds, now),
        nursery: nursery::Nursery::new(home, options.packs, tokens, logbook, notebooks.clone()),
        keeper,
        links: link::Links::new(about, inputs.clone(), runtime.handle().clone(), caller, options.store),
        lease,
        gate,
        publisher: effects::Publisher {
            sink,
            datastore: datastore.clone(),
            inputs: inputs.clone(),
            runtime: runtime.handle().clone(),
        },
        datastore,
        counters,
        packs: shelf,
        timers: shell::Timers::new(now),
        waiting: BTreeMap::new(),
        notebooks,
        applying: applying::Applying::default(),
        commits: BTreeMap::new(),
        held_words: Vec::new(),
        registry: registry.as_ref().map(Membership::teller),
    };
    let ending = shell.run(&received);
    if let Some(membership) = registry {
        runtime.block_on(membership.leave());
    }
    tracing::info!(?ending, "the container has stopped");
    runtime.shutdown_background();
    Ok(ending)
}

/// Bytes of effects in one entry of the journal. With 256 KiB of the sensor's own values it fits into the smallest transaction that
/// a store takes (ZooKeeper: just under 1 MiB), also where both are twice as long as text.
const PART_BYTES: usize = 128 * 1024;

/// What is done at each request to stop: the loop is told. It answers a second one at once; should it hang, in whatever
/// it may be, the process ends without it.
fn stops(inputs: Sender<Input>) -> impl Fn() -> bool + Clone + Send + 'static {
    let requests = Arc::new(AtomicU32::new(0));
    move || {
        if requests.fetch_add(1, Ordering::SeqCst) == 1 {
            // Without a thread there is still the loop.
            let _ = std::thread::Builder::new().name("end".to_owned()).spawn(end_without_the_loop);
        }
        inputs.send(Input::Terminate).is_ok()
    }
}

fn end_without_the_loop() {
    std::thread::sleep(STOPPED_WITHIN);
    // Nothing is said: a log that nobody reads may be what the loop hangs in.
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    processes::kill_trees(&processes::children(own));
    std::process::exit(i32::from(Ending::Stopped.code()));
}

fn config(options: &Options) -> Config {
    let timing = Timing::default();
    Config {
        name: options.name.clone(),
        machine: identity::machine(),
        labels: options.labels.clone(),
        capacity: None,
        arbitrators: if options.arbitrators.is_empty() {
            vec![finder::Finder::name()]
        } else {
            options.arbitrators.iter().map(ArbitratorId::new).collect()
        },
        margin: timing.margin,
        part_bytes: PART_BYTES,
        heartbeat: timing.heartbeat,
        freeze_limit: options.freeze_limit,
        drain_timeout: options.drain_timeout,
        failure_memory: timing.failure_memory,
    }
}
