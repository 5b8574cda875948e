//! What containers reach over gRPC: their sessions, and the sensors' datastore.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

use st2sa_coordination::{Datastore, StoreError, StoredValue, ValueWrite};
use st2sa_core::message::ToArbitrator;
use st2sa_core::names::{Fence, SensorRef, StreamId, Term};
use st2sa_core::time::Span;
use st2sa_doors::{Door, Identity};
use st2sa_machine::crash::{self, Point};
use st2sa_proto::v1::datastore_server::Datastore as DatastoreService;
use st2sa_proto::v1::peers_server::Peers as PeersService;
use st2sa_proto::v1::sessions_server::Sessions;
use st2sa_proto::{FromArbitrator, FromContainer, v1};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use crate::grants::Grants;
use crate::input::Input;
use crate::peers::understood;

/// Messages that wait for one container: every status of a thousand sensors, twice. One that reads less is
/// cut off, and greets again.
const WAITING_AT_MOST: usize = 4_096;
/// Messages of one container that the loop has not heard yet.
const UNHEARD_AT_MOST: usize = 256;
/// A name, in bytes, at the most.
pub(crate) const NAME_BYTES_AT_MOST: usize = 512;
/// A value, in bytes, at the most.
pub(crate) const VALUE_BYTES_AT_MOST: usize = 16 * 1024 * 1024;
/// Values in one answer, and their bytes: an answer is one message.
const LISTED_AT_MOST: usize = 10_000;
const LISTED_BYTES_AT_MOST: usize = 64 << 20;
/// Writes in one request.
const WRITES_AT_MOST: usize = 1_000;

/// The sessions' service.
#[derive(Clone)]
pub(crate) struct SessionsDoor {
    pub(crate) inputs: Sender<Input>,
    pub(crate) streams: Arc<AtomicU64>,
    pub(crate) door: Arc<Door>,
}

#[tonic::async_trait]
impl Sessions for SessionsDoor {
    type OpenStream = Pin<Box<dyn Stream<Item = Result<v1::FromArbitrator, Status>> + Send>>;

    async fn open(&self, request: Request<Streaming<v1::FromContainer>>) -> Result<Response<Self::OpenStream>, Status> {
        let stream = StreamId(self.streams.fetch_add(1, Ordering::Relaxed) + 1);
        let (sender, waiting) = mpsc::channel(WAITING_AT_MOST);
        self.inputs.send(Input::Opened(stream, sender)).map_err(|_| stopping())?;
        let visitor = Visitor::of(&request, &self.door);
        let (mut messages, inputs) = (request.into_inner(), self.inputs.clone());
        let (refuse, refused) = oneshot::channel();
        // Dropped with the answers: when the loop ends them, and when the container is gone.
        let (answering, ended) = oneshot::channel::<()>();
        tokio::spawn(async move {
            tokio::select! {
                heard = hear(stream, &mut messages, &inputs, &visitor) => {
                    if let Err(status) = heard {
                        tracing::warn!(%stream, who = %visitor.identity, why = status.message(), "a container is refused");
                        // Whoever has hung up is told nothing.
                        let _ = refuse.send(status);
                    }
                }
                _ = ended => {}
            }
            // Nobody listens any more when the arbitrator stops.
            let _ = inputs.send(Input::Closed(stream));
        });
        let answers = Answers { waiting, refused: Some(refused), _answering: answering };
        Ok(Response::new(Box::pin(futures_util::stream::unfold(Some(answers), Answers::next))))
    }
}

/// The other arbitrators' service.
#[derive(Clone)]
pub(crate) struct PeersDoor {
    pub(crate) inputs: Sender<Input>,
}

#[tonic::async_trait]
impl PeersService for PeersDoor {
    async fn tell(&self, request: Request<v1::FromPeer>) -> Result<Response<v1::Heard>, Status> {
        if let Some(said) = understood(request.get_ref())? {
            self.inputs.send(Input::Peer(said)).map_err(|_| stopping())?;
        }
        Ok(Response::new(v1::Heard {}))
    }
}

/// What a container is answered, until the loop ends it or the container is refused.
struct Answers {
    waiting: mpsc::Receiver<FromArbitrator>,
    refused: Option<oneshot::Receiver<Status>>,
    /// Dropped with this: nobody reads any more.
    _answering: oneshot::Sender<()>,
}

impl Answers {
    async fn next(answers: Option<Self>) -> Option<(Result<v1::FromArbitrator, Status>, Option<Self>)> {
        let mut answers = answers?;
        loop {
            let refusal = async {
                match &mut answers.refused {
                    Some(refused) => refused.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // A refusal comes before the end that follows from it.
                biased;
                refusal = refusal => match refusal {
                    Ok(status) => return Some((Err(status), None)),
                    Err(_) => answers.refused = None,
                },
                message = answers.waiting.recv() => return Some((Ok(message?.encode()), Some(answers))),
            }
        }
    }
}

/// A container at the door, and what it may say.
struct Visitor {
    identity: Identity,
    door: Arc<Door>,
}

impl Visitor {
    fn of<T>(request: &Request<T>, door: &Arc<Door>) -> Self {
        Self { identity: identity(request), door: Arc::clone(door) }
    }

    /// Takes out of a message what is not this container's to say; whether anything is left of it.
    ///
    /// # Errors
    /// When it is not this container's to be here.
    fn check(&self, message: &mut FromContainer) -> Result<bool, Status> {
        if !self.door.still_knows(&self.identity) {
            return Err(Status::unauthenticated("the certificate or token has expired, or was revoked"));
        }
        let mine = |sensor: &SensorRef| self.identity.may_offer(sensor.as_str());
        match message {
            FromContainer::Hello(hello, _) if !self.identity.may_be(hello.name.as_str()) => {
                let problem = format!("{} may not be the container `{}`", self.identity, hello.name);
                return Err(Status::permission_denied(problem));
            }
            FromContainer::Message(ToArbitrator::Offers(offers)) => {
                let offered = offers.len();
                offers.retain(|offer| mine(&offer.sensor));
                if offers.len() < offered {
                    let (who, not_taken) = (&self.identity, offered - offers.len());
                    tracing::warn!(%who, not_taken, "a container offers sensors that it may not");
                }
            }
            FromContainer::Message(ToArbitrator::Heartbeat(heartbeat)) => {
                if let Some(binding) = &mut heartbeat.binds {
                    binding.holds.retain(|claim| mine(&claim.sensor));
                    binding.failed.retain(|(sensor, _)| mine(sensor));
                }
                heartbeat.polled.retain(|(sensor, _)| mine(sensor));
            }
            FromContainer::Message(
                ToArbitrator::Applied { sensor, .. }
                | ToArbitrator::Stopped { sensor, .. }
                | ToArbitrator::Commit { sensor, .. }
                | ToArbitrator::Mark { sensor, .. },
            ) => return Ok(mine(sensor)),
            _ => {}
        }
        Ok(true)
    }
}

/// Hands on what a container says until its stream ends. It is read no faster than the loop hears.
///
/// # Errors
/// When it says what nobody understands, or what is not its to say.
async fn hear(
    stream: StreamId,
    messages: &mut Streaming<v1::FromContainer>,
    inputs: &Sender<Input>,
    visitor: &Visitor,
) -> Result<(), Status> {
    let unheard = Arc::new(Semaphore::new(UNHEARD_AT_MOST));
    loop {
        let Ok(place) = Arc::clone(&unheard).acquire_owned().await else { return Ok(()) };
        let Ok(Some(message)) = messages.message().await else { return Ok(()) };
        match FromContainer::decode(message) {
            Ok(Some(mut message)) => {
                if !visitor.check(&mut message)? {
                    continue;
                }
                match &message {
                    FromContainer::Message(ToArbitrator::Commit { .. }) => crash::point(Point::CommitHeard),
                    FromContainer::Message(ToArbitrator::Mark { .. }) => crash::point(Point::MarkHeard),
                    _ => {}
                }
                drop(inputs.send(Input::Said(stream, message, place)));
            }
            Ok(None) => {}
            Err(error) => return Err(Status::invalid_argument(format!("what is sent is not understood: {error}"))),
        }
    }
}

/// The datastore's service.
#[derive(Clone)]
pub(crate) struct Values {
    pub(crate) inputs: Sender<Input>,
    pub(crate) datastore: Arc<dyn Datastore>,
    pub(crate) grants: Grants,
}

#[tonic::async_trait]
impl DatastoreService for Values {
    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetReply>, Status> {
        self.may_read().await?;
        let identity = identity(&request);
        let name = own(&identity, checked(request.into_inner().name)?)?;
        let value = self.datastore.get(name).await.map_err(|error| failed(&error))?;
        Ok(Response::new(v1::GetReply { value }))
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListReply>, Status> {
        self.may_read().await?;
        let identity = identity(&request);
        let v1::ListRequest { prefix, limit } = request.into_inner();
        let limit = if limit == 0 { LISTED_AT_MOST } else { LISTED_AT_MOST.min(limit as usize) };
        let prefix = checked(prefix)?;
        let (mut pairs, mut bytes) = (Vec::new(), 0);
        let mut after = None;
        while pairs.len() < limit {
            let wanted = limit - pairs.len();
            let page = self.datastore.list(prefix.clone(), after.take(), wanted);
            let page = page.await.map_err(|error| failed(&error))?;
            if page.is_empty() {
                break;
            }
            bytes += page.iter().map(|stored| stored.name.len() + stored.value.len()).sum::<usize>();
            if bytes > LISTED_BYTES_AT_MOST {
                let problem =
                    format!("the values that begin with `{prefix}` are more than {LISTED_BYTES_AT_MOST} bytes");
                return Err(Status::out_of_range(problem));
            }
            let pair = |stored: StoredValue| v1::Pair {
                name: stored.name,
                value: stored.value,
                ttl_ms: stored.ttl.map(Span::as_millis),
            };
            let (last, length) = (page.last().map(|stored| stored.name.clone()), page.len());
            pairs.extend(page.into_iter().filter(|stored| is_own(&identity, &stored.name)).map(pair));
            if length < wanted {
                break;
            }
            after = last;
        }
        Ok(Response::new(v1::ListReply { pairs }))
    }

    async fn apply(&self, request: Request<v1::ApplyRequest>) -> Result<Response<v1::ApplyReply>, Status> {
        let identity = identity(&request);
        let v1::ApplyRequest { sensor, fence, writes } = request.into_inner();
        let sensor = SensorRef::new(checked(sensor)?);
        if !identity.may_offer(sensor.as_str()) {
            return Err(Status::permission_denied(format!("{identity} may not write for {sensor}")));
        }
        let fence = fence.ok_or_else(|| Status::invalid_argument("`fence` is missing"))?;
        let fence = Fence { term: Term(fence.term), n: fence.n };
        if writes.len() > WRITES_AT_MOST {
            return Err(Status::invalid_argument(format!("more than {WRITES_AT_MOST} writes")));
        }
        let writes = writes.into_iter().map(|asked| write(&identity, asked)).collect::<Result<_, _>>()?;
        let (answer, answered) = oneshot::channel();
        self.inputs.send(Input::MayStore(answer)).map_err(|_| stopping())?;
        let token = answered.await.map_err(|_| stopping())?;
        let token = token.ok_or_else(|| Status::failed_precondition("this arbitrator does not lead"))?;
        let grants = self.grants.clone();
        let still = Box::new(move || grants.allow(&sensor, fence, |holder| identity.may_be(holder.as_str())));
        crash::point(Point::ValueUnstored);
        let applied = self.datastore.apply(token, still, writes).await;
        crash::point(Point::ValueStored);
        applied.map_err(|error| failed(&error))?;
        Ok(Response::new(v1::ApplyReply {}))
    }
}

impl Values {
    async fn may_read(&self) -> Result<(), Status> {
        let (answer, answered) = oneshot::channel();
        self.inputs.send(Input::MayRead(answer)).map_err(|_| stopping())?;
        match answered.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Status::failed_precondition("this arbitrator does not lead")),
            Err(_) => Err(stopping()),
        }
    }
}

/// Who asks: the door has put it there.
fn identity<T>(request: &Request<T>) -> Identity {
    request.extensions().get::<Identity>().cloned().unwrap_or_else(Identity::of_this_machine)
}

/// Whether a name is for this container to read and write: shared ones are, and those of the sensors that it may offer.
fn is_own(identity: &Identity, name: &str) -> bool {
    match name.split_once(':') {
        Some((sensor, _)) if sensor.contains('.') => identity.may_offer(sensor),
        _ => true,
    }
}

fn own(identity: &Identity, name: String) -> Result<String, Status> {
    if is_own(identity, &name) {
        return Ok(name);
    }
    Err(Status::permission_denied(format!("{identity} may not read or write what another sensor keeps")))
}

fn write(identity: &Identity, write: v1::Write) -> Result<ValueWrite, Status> {
    let name = own(identity, checked(write.name)?)?;
    Ok(match write.value {
        Some(value) if value.len() > VALUE_BYTES_AT_MOST => {
            return Err(Status::invalid_argument(format!("a value is longer than {VALUE_BYTES_AT_MOST} bytes")));
        }
        Some(value) => ValueWrite::Set { name, value, ttl: write.ttl_ms.map(Span::from_millis) },
        None => ValueWrite::Delete { name },
    })
}

fn checked(name: String) -> Result<String, Status> {
    if name.len() > NAME_BYTES_AT_MOST {
        return Err(Status::invalid_argument(format!("a name is longer than {NAME_BYTES_AT_MOST} bytes")));
    }
    Ok(name)
}

fn failed(error: &StoreError) -> Status {
    match error {
        StoreError::NotLeader => Status::failed_precondition(error.to_string()),
        StoreError::TooLarge { .. } => Status::invalid_argument(error.to_string()),
        StoreError::Failed { source, .. } => {
            tracing::error!(%error, cause = %source, "the datastore failed");
            Status::unavailable(format!("{error}: {source}"))
        }
    }
}

fn stopping() -> Status {
    Status::unavailable("the arbitrator stops")
}
