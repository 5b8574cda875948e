//! A thin client of etcd: deadlines, users, and what an error says about whether something was done.

use std::error::Error;
use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Response, Status, Streaming};

use super::api::auth_client::AuthClient;
use super::api::kv_client::KvClient;
use super::api::lease_client::LeaseClient;
use super::api::maintenance_client::MaintenanceClient;
use super::api::watch_client::WatchClient;
use super::api::watch_request::RequestUnion;
use super::api::{
    AuthenticateRequest, CompactionRequest, KeyValue, LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest,
    LeaseKeepAliveResponse, LeaseRevokeRequest, RangeRequest, RangeResponse, StatusRequest, TxnRequest, TxnResponse,
    WatchCreateRequest, WatchRequest, WatchResponse,
};
use super::line::Line;
use super::locked;
use crate::store::{OpenError, Secret, Store, Tls};

/// An answer, in bytes, at the most: a page of values or entries of the largest size (see `reads`).
const ANSWER_BYTES_AT_MOST: usize = 64 << 20;
/// What etcd's own client says to be refused at once by a member that has lost the others.
const NEEDS_LEADER: &str = "hasleader";

/// Whether a request may be sent again after its first try may have been carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// A read, or what changes nothing the second time.
    Freely,
    /// Only where the first try was surely not carried out.
    IfUndone,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// None came in time; what was heard until then.
    #[error("{0}")]
    Silent(String),
    /// The request was not sent, or not looked at.
    #[error("{0}")]
    Unreached(String),
    /// The connection or the server failed under it: it may have been carried out.
    #[error("{0}")]
    Lost(String),
    /// The server has no room; it may say so after having done it all the same.
    #[error("{0}")]
    Exhausted(String),
    /// The token is not known, or no longer.
    #[error("{0}")]
    Token(String),
    /// It was refused, and not carried out.
    #[error("{message}")]
    Refused {
        /// The kind.
        code: Code,
        /// Why.
        message: String,
    },
    /// Whoever asked for it no longer wants it; it was not sent.
    #[error("it is no longer wanted")]
    Unwanted,
}

/// A client.
pub(super) struct Client {
    line: Line,
    deadline: Duration,
    user: Option<(String, Secret)>,
    pass: Mutex<Pass>,
}

/// A watch: over when dropped.
pub(super) struct Watching {
    answers: Streaming<WatchResponse>,
    /// The stream of our requests lasts as long as it does.
    _asking: mpsc::Sender<WatchRequest>,
}

impl Watching {
    /// The next answer.
    pub(super) async fn next(&mut self) -> Result<Option<WatchResponse>, Status> {
        self.answers.message().await
    }
}

/// What is shown with each request.
#[derive(Clone)]
enum Pass {
    /// To be had by user and password.
    Wanted,
    /// A token.
    Token(MetadataValue<Ascii>),
    /// We are nobody in particular, and need not be.
    None,
}

impl Client {
    /// A client of this store; nothing is sent yet.
    pub(super) fn new(store: &Store, deadline: Duration) -> Result<Self, OpenError> {
        let unusable = |problem: String| OpenError::Unusable { at: store.servers.join(","), problem };
        let tls = store.tls.as_ref().map(tls).transpose().map_err(unusable)?;
        let endpoint = |server: &String| {
            let scheme = if tls.is_some() { "https" } else { "http" };
            let endpoint = Endpoint::from_shared(format!("{scheme}://{server}"))
                .map_err(|_| format!("`{server}` is not `host:port`"))?
                .connect_timeout(deadline);
            let endpoint = match &tls {
                Some(tls) => endpoint.tls_config(tls.clone().timeout(deadline)).map_err(|error| chain(&error))?,
                None => endpoint,
            };
            Ok((server.clone(), endpoint))
        };
        let servers: Vec<_> = store.servers.iter().map(endpoint).collect::<Result<_, _>>().map_err(unusable)?;
        if servers.is_empty() {
            return Err(unusable("no server is named".to_owned()));
        }
        let user = store.user.clone().zip(store.password.clone());
        let pass = if user.is_some() { Pass::Wanted } else { Pass::None };
        Ok(Self { line: Line::new(servers, deadline), deadline, user, pass: Mutex::new(pass) })
    }

    /// The line to the servers.
    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    /// Reads keys.
    pub(super) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Failure> {
        self.call(Repeat::Freely, request, |channel, request| async move { kv(channel).range(request).await }).await
    }

    /// Reads one key.
    pub(super) async fn get(&self, key: Vec<u8>) -> Result<(Option<KeyValue>, RangeResponse), Failure> {
        let mut answer = self.range(RangeRequest { key, ..RangeRequest::default() }).await?;
        Ok((answer.kvs.pop(), answer))
    }

    /// A transaction.
    pub(super) async fn transaction(&self, repeat: Repeat, request: TxnRequest) -> Result<TxnResponse, Failure> {
        self.call(repeat, request, |channel, request| async move { kv(channel).txn(request).await }).await
    }

    /// A transaction that is sent once at the most, and only if `still` says so right before.
    pub(super) async fn transaction_if(
        &self,
        still: Box<dyn FnOnce() -> bool + Send>,
        request: TxnRequest,
    ) -> Result<TxnResponse, Failure> {
        let send = |channel, request| async move { kv(channel).txn(request).await };
        let heard = Mutex::default();
        let work = async {
            let pass = self.pass(&heard).await?;
            self.once(&pass, request, Some(still), &send).await
        };
        self.bounded(&heard, work).await
    }

    /// Forgets what was before a revision.
    pub(super) async fn compact(&self, revision: i64) -> Result<(), Failure> {
        let send = |channel, request| async move { kv(channel).compact(request).await };
        self.call(Repeat::Freely, CompactionRequest { revision }, send).await.map(drop)
    }

    /// How large the database of the server in use is, in bytes.
    pub(super) async fn database_bytes(&self) -> Result<u64, Failure> {
        let send = |channel: Channel, request| async move { MaintenanceClient::new(channel).status(request).await };
        let answer = self.call(Repeat::Freely, StatusRequest {}, send).await?;
        Ok(u64::try_from(answer.db_size).unwrap_or_default())
    }

    /// Begins a lease of so many seconds.
    pub(super) async fn grant(&self, seconds: i64) -> Result<LeaseGrantResponse, Failure> {
        let send = |channel, request| async move { LeaseClient::new(channel).lease_grant(request).await };
        // One granted twice ends by itself.
        self.call(Repeat::Freely, LeaseGrantRequest { ttl: seconds, id: 0 }, send).await
    }

    /// Ends a lease, and deletes its keys.
    pub(super) async fn revoke(&self, lease: i64) -> Result<(), Failure> {
        let send = |channel, request| async move { LeaseClient::new(channel).lease_revoke(request).await };
        self.call(Repeat::Freely, LeaseRevokeRequest { id: lease }, send).await.map(drop)
    }

    /// Keeps a lease alive.
    pub(super) async fn keep_alive(&self, lease: i64) -> Result<LeaseKeepAliveResponse, Failure> {
        let send = |channel, request: tonic::Request<LeaseKeepAliveRequest>| async move {
            let request = request.map(tokio_stream::once);
            let mut answers = LeaseClient::new(channel).lease_keep_alive(request).await?.into_inner();
            let answer = answers.message().await?;
            answer.map(Response::new).ok_or_else(|| Status::unavailable("the stream ended without an answer"))
        };
        self.call(Repeat::Freely, LeaseKeepAliveRequest { id: lease }, send).await
    }

    /// Begins to hear of a key's changes.
    pub(super) async fn watch(&self, key: Vec<u8>, from: i64) -> Result<Watching, Failure> {
        let create = WatchCreateRequest { key, start_revision: from, ..WatchCreateRequest::default() };
        let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let send = |channel, request: tonic::Request<WatchRequest>| async move {
            let (asking, requests) = mpsc::channel(1);
            let request = request.map(|create| tokio_stream::once(create).chain(ReceiverStream::new(requests)));
            let answers = WatchClient::new(channel).watch(request).await?;
            Ok(answers.map(|answers| Watching { answers, _asking: asking }))
        };
        self.call(Repeat::Freely, create, send).await
    }

    /// Sends a request, to one server after the other until there is an answer or no more time.
    async fn call<Q, A, F, S>(&self, repeat: Repeat, request: Q, send: S) -> Result<A, Failure>
    where
        Q: Clone + Send,
        F: Future<Output = Result<Response<A>, Status>> + Send,
        S: Fn(Channel, tonic::Request<Q>) -> F,
    {
        let heard = Mutex::default();
        let work = async {
            let mut shown_anew = false;
            loop {
                let pass = self.pass(&heard).await?;
                let once = self.once(&pass, request.clone(), None, &send);
                let answer = match repeat {
                    Repeat::Freely if self.line.servers() > 1 => {
                        // One that is silent is left in time to ask another one.
                        let half = self.deadline / 2;
                        let silent = |_| Err(Failure::Lost(format!("no answer within {} ms", half.as_millis())));
                        tokio::time::timeout(half, once).await.unwrap_or_else(silent)
                    }
                    Repeat::Freely | Repeat::IfUndone => once.await,
                };
                match answer {
                    Err(Failure::Token(_)) if !shown_anew => shown_anew = true,
                    Err(Failure::Unreached(why)) => note(&heard, why),
                    Err(Failure::Lost(why)) if repeat == Repeat::Freely => note(&heard, why),
                    done => return done,
                }
            }
        };
        self.bounded(&heard, work).await
    }

    /// Sends a request once.
    async fn once<Q, A, F, S>(
        &self,
        pass: &Pass,
        request: Q,
        still: Option<Box<dyn FnOnce() -> bool + Send>>,
        send: &S,
    ) -> Result<A, Failure>
    where
        F: Future<Output = Result<Response<A>, Status>> + Send,
        S: Fn(Channel, tonic::Request<Q>) -> F,
    {
        let connection = self.line.connection().await;
        let mut request = tonic::Request::new(request);
        request.metadata_mut().insert(NEEDS_LEADER, MetadataValue::from_static("true"));
        if let Pass::Token(token) = pass {
            request.metadata_mut().insert("token", token.clone());
        }
        if still.is_some_and(|still| !still()) {
            return Err(Failure::Unwanted);
        }
        match send(connection.channel.clone(), request).await {
            Ok(answer) => {
                connection.answered();
                Ok(answer.into_inner())
            }
            Err(status) => {
                let failure = Failure::of(&status);
                match &failure {
                    Failure::Unreached(_) | Failure::Lost(_) => connection.failed(&failure),
                    _ => connection.answered(),
                }
                if matches!(failure, Failure::Token(_)) {
                    self.discard(pass);
                }
                Err(failure)
            }
        }
    }

    async fn bounded<A>(&self, heard: &Heard, work: impl Future<Output = Result<A, Failure>>) -> Result<A, Failure> {
        let silent = |_| {
            let heard = std::mem::take(&mut *locked(heard));
            Err(Failure::Silent(heard.unwrap_or_else(|| format!("no answer within {} ms", self.deadline.as_millis()))))
        };
        tokio::time::timeout(self.deadline, work).await.unwrap_or_else(silent)
    }

    /// What to show: a token is fetched where one is wanted.
    async fn pass(&self, heard: &Heard) -> Result<Pass, Failure> {
        let pass = locked(&self.pass).clone();
        let (Pass::Wanted, Some((name, password))) = (&pass, &self.user) else { return Ok(pass) };
        let request = || AuthenticateRequest { name: name.clone(), password: password.expose().to_owned() };
        let send = |channel, request| async move { AuthClient::new(channel).authenticate(request).await };
        let pass = loop {
            match self.once(&Pass::None, request(), None, &send).await {
                Ok(answer) => {
                    let token = MetadataValue::try_from(answer.token);
                    let mut token = token.map_err(|_| Failure::Lost("the token is unreadable".to_owned()))?;
                    token.set_sensitive(true);
                    break Pass::Token(token);
                }
                Err(Failure::Refused { message, .. }) if message.contains("authentication is not enabled") => {
                    tracing::warn!("etcd knows no users: its url need not name one");
                    break Pass::None;
                }
                Err(Failure::Unreached(why) | Failure::Lost(why)) => note(heard, why),
                Err(failure) => return Err(failure),
            }
        };
        *locked(&self.pass) = pass.clone();
        Ok(pass)
    }

    /// Forgets what was shown in vain.
    fn discard(&self, shown: &Pass) {
        let mut known = locked(&self.pass);
        let same = match (&*known, shown) {
            (Pass::Token(known), Pass::Token(shown)) => known == shown,
            (Pass::None, Pass::None) => true,
            _ => false,
        };
        if same && self.user.is_some() {
            *known = Pass::Wanted;
        }
    }
}

impl Failure {
    /// Whether it was surely not carried out, and never will be.
    pub(super) fn is_undone(&self) -> bool {
        match self {
            Self::Unreached(_) | Self::Token(_) | Self::Refused { .. } | Self::Unwanted => true,
            Self::Silent(_) | Self::Lost(_) | Self::Exhausted(_) => false,
        }
    }

    /// What etcd's error says.
    fn of(status: &Status) -> Self {
        let message = explain(status);
        // Said before a request is looked at, or where it is refused at the end.
        const TOKENS: [&str; 3] = ["invalid auth token", "user name is empty", "revision of auth store is old"];
        if TOKENS.iter().any(|text| message.contains(text)) {
            return Self::Token(message);
        }
        match status.code() {
            Code::Unavailable if is_unreached(status) => Self::Unreached(message),
            // A member that has lost the others says so before it looks at a request.
            Code::Unavailable if message.contains("etcdserver: no leader") => Self::Unreached(message),
            // No room: said before, or after all was done.
            Code::ResourceExhausted => Self::Exhausted(message),
            code @ (Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated) => Self::Refused { code, message },
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => Self::Lost(message),
        }
    }
}

/// What was heard before there was no more time.
type Heard = Mutex<Option<String>>;

fn note(heard: &Heard, why: String) {
    *locked(heard) = Some(why);
}

/// No connection could be made: nothing was sent.
fn is_unreached(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// A status in one line: its message, and what is behind it.
fn explain(status: &Status) -> String {
    let mut text = status.message().to_owned();
    if let Some(source) = status.source() {
        append(&mut text, source);
    }
    if text.is_empty() { status.code().to_string() } else { text }
}

fn chain(error: &dyn Error) -> String {
    let mut text = String::new();
    append(&mut text, error);
    text
}

/// Each error of a chain that says something new.
fn append(text: &mut String, error: &dyn Error) {
    let mut next = Some(error);
    while let Some(error) = next {
        let said = error.to_string();
        if !text.contains(&said) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&said);
        }
        next = error.source();
    }
}

fn kv(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel).max_decoding_message_size(ANSWER_BYTES_AT_MOST)
}

fn tls(tls: &Tls) -> Result<ClientTlsConfig, String> {
    let read = |path: &std::path::Path| {
        std::fs::read(path).map_err(|error| format!("`{}` cannot be read: {error}", path.display()))
    };
    let config = ClientTlsConfig::new();
    let config = match &tls.ca {
        Some(path) => {
            let text = read(path)?;
            if !String::from_utf8_lossy(&text).contains("-----BEGIN CERTIFICATE-----") {
                return Err(format!("`{}` holds no certificate", path.display()));
            }
            config.ca_certificate(Certificate::from_pem(text))
        }
        None => config.with_native_roots(),
    };
    match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => Ok(config.identity(Identity::from_pem(read(certificate)?, read(key)?))),
        (None, None) => Ok(config),
        _ => Err("a certificate of our own needs its key, and a key its certificate".to_owned()),
    }
}
