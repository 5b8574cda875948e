//! The sensor arbitrator: the shell around core's arbiter.
//!
//! Threads and tasks, and what passes between them:
//!
//! | who | does | is told by | tells |
//! |---|---|---|---|
//! | the loop ([`run`]'s own thread) | feeds the arbiter and carries out what it decides | one channel of inputs | everybody below |
//! | tasks: the engine | one a request, with a bound on the wait | the loop | the loop: the answer |
//! | tasks: containers' streams | gRPC, one task a stream | a bounded channel each | the loop: what is said |
//! | tasks: REST and datastore | one a request | the loop: a view, a permission | whoever asks |
//! | a task: the service registry | keeps this arbitrator a member, where that is asked for | the loop: how it stands | the store |
//! | signals | SIGTERM and SIGINT | the kernel | the loop |

mod chronicle;
mod follow;
mod grants;
mod grpc;
mod input;
mod peers;
mod policies;
pub mod policy;
mod registry;
mod rest;
mod roster;
mod shell;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::Method;
use st2sa_coordination::embedded::{Embedded, OpenError};
use st2sa_coordination::registry::Membership;
use st2sa_coordination::store::{self, Lengths, Store};
use st2sa_coordination::{Datastore, Shared};
use st2sa_core::arbiter::{Arbiter, Config};
use st2sa_core::names::{ArbitratorId, Incarnation, Term};
use st2sa_core::policy::Policy;
use st2sa_core::timing::{Misfit, Timing};
use st2sa_doors::{Caller, Door, DoorError, DoorFiles, Keys, Role};
use st2sa_machine::files::{self, FileError, Lock};
use st2sa_machine::{clock, identity, signals};
use st2sa_proto::MESSAGE_BYTES_AT_MOST;
use st2sa_proto::v1::datastore_server::DatastoreServer;
use st2sa_proto::v1::peers_server::PeersServer;
use st2sa_proto::v1::sessions_server::SessionsServer;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use input::Input;
use policy::PolicyError;

/// Of the small files in the data folder.
const SMALL_FILE_BYTES_AT_MOST: u64 = 256;
/// A shared store that cannot be reached at the start is tried again after this.
const STORE_TRIED_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// Answers under way may end within this once the arbitrator stops.
const ANSWERS_END_WITHIN: Duration = Duration::from_millis(500);

/// What one arbitrator is told at its start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where containers and people reach it.
    pub listen: SocketAddr,
    /// Whom it lets in there.
    pub door: DoorFiles,
    /// What it shows to other arbitrators and to containers.
    pub keys: Keys,
    /// Its own folder: the engine's files, its id, the highest term seen, the history.
    pub data_folder: PathBuf,
    /// The store that it shares with others; without one, its own folder is the store.
    pub store: Option<Store>,
    /// The store with the service registry that it stands in, if it is to.
    pub registry: Option<Store>,
    /// Where others reach it, `host:port`; where it listens, if not given.
    pub advertise: Option<String>,
    /// Lengths of time.
    pub timing: Timing,
    /// The policy file; read again at SIGHUP.
    pub policy: Option<PathBuf>,
    /// There is one container, and nobody is to take over from it.
    pub alone: bool,
}

/// Why an arbitrator could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Lengths of time that do not fit together.
    #[error(transparent)]
    Timing(#[from] Misfit),
    /// A file of the data folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// The policy file.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The engine's files.
    #[error(transparent)]
    Engine(#[from] OpenError),
    /// The shared store.
    #[error(transparent)]
    Store(#[from] store::OpenError),
    /// Certificates and tokens.
    #[error(transparent)]
    Door(#[from] DoorError),
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

/// An arbitrator that is ready to run.
pub struct Arbitrator {
    address: SocketAddr,
    inputs: Sender<Input>,
    received: Receiver<Input>,
    shell: shell::Shell,
    runtime: Runtime,
    server: JoinHandle<()>,
    stop: oneshot::Sender<()>,
    registry: Option<Membership>,
    /// Nobody else opens the folder while this runs.
    lock: Lock,
}

/// Runs an arbitrator until it has stopped as asked: by SIGTERM or SIGINT. SIGHUP has it read its policy again.
///
/// # Errors
/// When it cannot start; what goes wrong later is in its log.
pub fn run(options: Options) -> Result<(), StartError> {
    let arbitrator = Arbitrator::open(options)?;
    {
        let _entered = arbitrator.runtime.enter();
        signals::on_stop(arbitrator.stopper()).map_err(failed("listen to signals"))?;
        signals::on_reload(arbitrator.reloader()).map_err(failed("listen to signals"))?;
    }
    arbitrator.run();
    Ok(())
}

impl Arbitrator {
    /// Takes its folder and its port.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn open(options: Options) -> Result<Self, StartError> {
        options.timing.check()?;
        let policies = policies::Policies::open(options.policy)?;
        let door = Arc::new(Door::open(options.door, options.listen)?);
        let caller = Caller::new(options.keys)?;
        identity::allow_open_files();
        let folder = &options.data_folder;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(FileError::io("create", folder))?;
        let lock = Lock::take(folder, &format!("arbitrator, process {}", std::process::id()))?;
        let id = own_id(&folder.join("id"))?;
        let term_file = folder.join("highest_term");
        let highest = highest_term(&term_file)?;
        let chronicle = chronicle::Chronicle::open(folder)?;
        let (inputs, received) = channel();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(failed("start the runtime"))?;
        let mut timing = options.timing;
        let (engine, datastore) = engine(options.store.as_ref(), folder, &timing, &runtime)?;
        if let Some(granted) = engine.leader_ttl() {
            timing.leader_ttl = granted;
            timing.check()?;
        }
        let listener = runtime.block_on(tokio::net::TcpListener::bind(options.listen));
        let listener =
            listener.map_err(failed(format!("listen at {} (--listen gives another address)", options.listen)))?;
        let address = listener.local_addr().map_err(failed("learn its own address"))?;
        let reached = options.advertise.unwrap_or_else(|| identity::reached_at(address));
        let me = match options.store {
            None => id,
            Some(_) => id.reached_at(&reached),
        };
        let answers = rest::Answers {
            inputs: inputs.clone(),
            chronicle: chronicle.clone(),
            datastore: Arc::clone(&datastore),
            caller: caller.clone(),
            door: Arc::clone(&door),
            me: me.clone(),
            since: Instant::now(),
        };
        let grants = grants::Grants::default();
        let (stop, stopped) = oneshot::channel();
        let router = router(inputs.clone(), datastore, grants.clone(), answers, Arc::clone(&door));
        let stopped = async { drop(stopped.await) };
        let server = runtime.spawn(st2sa_doors::serve(listener, Arc::clone(&door), router, needs, stopped));
        if !engine.exclusive() {
            runtime.spawn(follow::follow(inputs.clone(), chronicle.clone(), caller.clone(), me.clone()));
        }
        let watched = inputs.clone();
        let entered = runtime.enter();
        // Nobody listens any more when the arbitrator stops.
        engine.watch(Box::new(move |leader| drop(watched.send(Input::LeaderSeen(leader)))));
        let registry = options.registry.map(|store| registry::join(&store, address, &reached));
        drop(entered);
        tracing::info!(
            id = %me, pid = std::process::id(), listen = %address, engine = engine.describe(),
            leader_ttl = %timing.leader_ttl, "the arbitrator runs"
        );
        let answer_within = timing.heartbeat;
        let config = Config {
            me: me.clone(),
            peers: Vec::new(),
            timing,
            policy: Policy::default(),
            forgetful: engine.forgetful(),
            fail_safe: false,
            exclusive: engine.exclusive(),
        };
        let shell = shell::Shell {
            arbiter: Arbiter::new(config, Incarnation(identity::random()), highest, clock::now()),
            engine,
            registry: registry.as_ref().map(Membership::teller),
            runtime: runtime.handle().clone(),
            inputs: inputs.clone(),
            chronicle,
            grants,
            store_silent: None,
            term_file,
            answer_within,
            streams: BTreeMap::new(),
            roster: roster::Roster::default(),
            alarms: VecDeque::new(),
            policies,
            peers: peers::Peers::new(me, caller, runtime.handle().clone(), clock::duration(answer_within)),
            alone: options.alone,
            orders: 0,
            waiting: BTreeMap::new(),
            stopping_since: None,
            stands: shell::Stands::By(None),
        };
        Ok(Self { address, inputs, received, shell, runtime, server, stop, registry, lock })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks it to stop; a second time, at once. It says `false` once there is nobody to be asked.
    pub fn stopper(&self) -> impl Fn() -> bool + Clone + Send + use<> {
        let inputs = self.inputs.clone();
        move || inputs.send(Input::Terminate).is_ok()
    }

    /// Asks it to read its policy again.
    pub fn reloader(&self) -> impl Fn() -> bool + Send + use<> {
        let inputs = self.inputs.clone();
        move || inputs.send(Input::Reload).is_ok()
    }

    /// Runs until it has stopped as asked.
    pub fn run(self) {
        let Self { received, shell, runtime, server, stop, registry, lock: _lock, .. } = self;
        shell.run(&received);
        if let Some(membership) = registry {
            runtime.block_on(membership.leave());
        }
        // What was decided last is sent; whoever still follows something is cut off.
        let _ = stop.send(());
        let ended = runtime.block_on(async { tokio::time::timeout(ANSWERS_END_WITHIN, server).await });
        tracing::info!(orderly = ended.is_ok(), "the arbitrator has stopped");
        runtime.shutdown_background();
    }
}

/// The store that is shared, or the folder's own. A shared one that cannot be reached is waited for: what needs it can do
/// nothing without.
fn engine(store: Option<&Store>, folder: &Path, timing: &Timing, runtime: &Runtime) -> Result<Shared, StartError> {
    let Some(store) = store else {
        let embedded = Embedded::open(folder)?;
        return Ok((Arc::new(embedded.clone()), Arc::new(embedded)));
    };
    let lengths = Lengths { leader_ttl: timing.leader_ttl, deadline: timing.heartbeat };
    loop {
        match runtime.block_on(st2sa_coordination::open(store, lengths)) {
            Ok(shared) => return Ok(shared),
            Err(error @ store::OpenError::Newer { .. }) => return Err(error.into()),
            Err(error) => tracing::warn!(%error, again_in = ?STORE_TRIED_AGAIN_AFTER, "waiting for the store"),
        }
        std::thread::sleep(STORE_TRIED_AGAIN_AFTER);
    }
}

fn router(
    inputs: Sender<Input>,
    datastore: Arc<dyn Datastore>,
    grants: grants::Grants,
    answers: rest::Answers,
    door: Arc<Door>,
) -> axum::Router {
    let sessions = grpc::SessionsDoor { inputs: inputs.clone(), streams: Arc::default(), door };
    let sessions = SessionsServer::new(sessions)
        .max_decoding_message_size(MESSAGE_BYTES_AT_MOST)
        .max_encoding_message_size(MESSAGE_BYTES_AT_MOST);
    let peers = PeersServer::new(grpc::PeersDoor { inputs: inputs.clone() });
    let values = DatastoreServer::new(grpc::Values { inputs, datastore, grants })
        .max_decoding_message_size(MESSAGE_BYTES_AT_MOST)
        .max_encoding_message_size(MESSAGE_BYTES_AT_MOST);
    let grpc = tonic::service::Routes::new(sessions).add_service(values).add_service(peers);
    grpc.prepare().into_axum_router().reset_fallback().merge(rest::routes(answers))
}

/// Who may ask for what.
fn needs(request: &Request) -> &'static [Role] {
    let path = request.uri().path();
    if path.starts_with("/st2sa.v1.Sessions/") || path.starts_with("/st2sa.v1.Datastore/") {
        return &[Role::Container];
    }
    if path.starts_with("/st2sa.v1.Peers/") {
        return &[Role::Arbitrator];
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    // What sensors keep may be anything.
    if reads && !path.starts_with(st2sa_proto::rest::DATASTORE) {
        return &[Role::Viewer, Role::Operator, Role::Arbitrator];
    }
    &[Role::Operator, Role::Arbitrator]
}

/// The arbitrator's lasting id: drawn once, and kept.
fn own_id(path: &Path) -> Result<ArbitratorId, FileError> {
    if let Some(text) = files::read_small(path, SMALL_FILE_BYTES_AT_MOST)? {
        let text = text.trim();
        if text.is_empty() {
            let problem = "it is empty; remove it, and a new id is drawn".to_owned();
            return Err(FileError::Damaged { path: path.to_owned(), problem });
        }
        return Ok(ArbitratorId::new(text));
    }
    let id = format!("{}-{:08x}", identity::host(), identity::random() >> 32);
    files::write_whole(path, format!("{id}\n").as_bytes())?;
    Ok(ArbitratorId::new(id))
}

fn highest_term(path: &Path) -> Result<Term, FileError> {
    let Some(text) = files::read_small(path, SMALL_FILE_BYTES_AT_MOST)? else { return Ok(Term(0)) };
    text.trim().parse().map(Term).map_err(|_| FileError::Damaged {
        path: path.to_owned(),
        problem: "it should hold a number; remove it: the engine has the term, too".to_owned(),
    })
}
