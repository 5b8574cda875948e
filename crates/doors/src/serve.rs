//! Serves a port through its door: every connection, handshake, head and answer is bounded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use st2sa_proto::rest::{NDJSON, Problem};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::door::{Connection, Door, Refused, holder};
use crate::identity::{Identity, Role};

/// Connections at once: a container has three, and hundreds of them are a large cluster. One more is closed at once.
const CONNECTIONS_AT_MOST: usize = 4_096;
/// A handshake takes milliseconds; on a bad network it has lost packets that are sent again after one and three seconds.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// A request's head is sent in one piece.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of it: a path, a token, a few headers.
const HEAD_BYTES_AT_MOST: u32 = 16 * 1024;
const HEAD_BUFFER_BYTES: usize = 64 * 1024;
/// Requests at once on one connection: a container's poll may read as many values.
const STREAMS_AT_MOST: u32 = 256;
/// Until somebody has been let in on a connection: strangers do not keep its place.
const ENTERED_WITHIN: Duration = Duration::from_secs(15);
/// A peer that answers no ping within this is gone.
const PING_EVERY: Duration = Duration::from_secs(10);
const PONG_WITHIN: Duration = Duration::from_secs(10);
/// Until an answer's head; the longest order waits five seconds. Streams of gRPC begin at once.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// What the kernel could not accept is tried again after this: it is out of descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// The first byte of every TLS connection: a handshake's record.
const TLS_HANDSHAKE: u8 = 22;

/// Which roles may send a request; none is one that everybody may send whom the door lets in.
pub type Needs = fn(&Request) -> &'static [Role];

/// Serves a port until it is told to stop; then what is being answered may end, and nothing new begins.
pub async fn serve(
    listener: TcpListener,
    door: Arc<Door>,
    router: Router,
    needs: Needs,
    stopped: impl Future<Output = ()>,
) {
    let guard = Guard { door: Arc::clone(&door), needs };
    let router = router.layer(from_fn_with_state(guard, look));
    let builder = builder();
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_AT_MOST));
    let upkeep = tokio::spawn(Arc::clone(&door).keep_up_to_date());
    tokio::pin!(stopped);
    loop {
        let (stream, from) = tokio::select! {
            () = &mut stopped => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            door.note_refusal(Some(from), "there are too many connections");
            continue;
        };
        // A heartbeat is not to wait for the next one.
        let _ = stream.set_nodelay(true);
        let (door, router, builder, watcher) = (Arc::clone(&door), router.clone(), builder.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _place = place;
            match enter(&door, stream, from).await {
                Ok((io, connection)) => {
                    let entered = Arc::clone(&connection.entered);
                    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
                        let mut request = request.map(Body::new);
                        request.extensions_mut().insert(connection.clone());
                        router.clone().oneshot(request)
                    });
                    let served = builder.serve_connection(TokioIo::new(io), service).into_owned();
                    let served = watcher.watch(served);
                    tokio::pin!(served);
                    // Whoever is gone, or speaks something else, is not answered.
                    let idle = tokio::time::timeout(ENTERED_WITHIN, &mut served).await.is_err();
                    if idle && entered.load(Ordering::Relaxed) {
                        let _ = served.await;
                    } else if idle {
                        door.note_refusal(Some(from), "nothing was asked that could be answered within 15 s");
                    }
                }
                Err(why) => door.note_refusal(Some(from), &why),
            }
        });
    }
    upkeep.abort();
    drop(listener);
    graceful.shutdown().await;
}

#[derive(Clone)]
struct Guard {
    door: Arc<Door>,
    needs: Needs,
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Lets a connection in, as far as that can be said before the first request.
async fn enter(door: &Door, mut stream: TcpStream, from: SocketAddr) -> Result<(Box<dyn Duplex>, Connection), String> {
    let entered = Arc::default();
    let Some(tls) = door.tls() else {
        return Ok((Box::new(stream), Connection { from, holder: None, entered }));
    };
    let handshake = async {
        let mut first = [0];
        if stream.peek(&mut first).await.map_err(|error| error.to_string())? == 1 && first[0] != TLS_HANDSHAKE {
            // Whoever forgot the `s` of https is told so, in their own protocol; what they sent is read, else they would
            // be told of a broken connection only.
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(PLAIN_HTTP).await;
            let _ = stream.shutdown().await;
            return Err("it speaks no TLS".to_owned());
        }
        TlsAcceptor::from(tls).accept(stream).await.map_err(|error| format!("the TLS handshake failed: {error}"))
    };
    let stream = tokio::time::timeout(HANDSHAKE_WITHIN, handshake).await;
    let stream = stream.map_err(|_| "no TLS handshake within 10 s".to_owned())??;
    let holder = holder(stream.get_ref().1);
    Ok((Box::new(stream), Connection { from, holder, entered }))
}

const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: application/json\r\n\r\n\
    {\"error\":\"this port speaks TLS\",\"hint\":\"write https:// before its address\"}";

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BUFFER_BYTES)
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN)
        .max_header_list_size(HEAD_BYTES_AT_MOST)
        .max_concurrent_streams(STREAMS_AT_MOST);
    builder
}

/// The look at each request.
async fn look(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let grpc = is_grpc(&request);
    let identity = match guard.identify(&request) {
        Ok(identity) => identity,
        Err(refused) => {
            let from = request.extensions().get::<Connection>().map(|connection| connection.from);
            guard.door.note_refusal(from, refused.why());
            return refused.answer(grpc);
        }
    };
    if let Some(connection) = request.extensions().get::<Connection>() {
        connection.entered.store(true, Ordering::Relaxed);
    }
    request.extensions_mut().insert(identity.clone());
    if grpc {
        return next.run(request).await;
    }
    let Ok(response) = tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await else {
        let problem = Problem { error: "no answer within 30 s".to_owned(), hint: None };
        return (StatusCode::GATEWAY_TIMEOUT, axum::Json(problem)).into_response();
    };
    if !guard.door.is_locked() || !is_followed(&response) {
        return response;
    }
    // What goes on for ever ends when its reader would not be let in any more; it has a line every few seconds.
    let (parts, body) = response.into_parts();
    let door = Arc::clone(&guard.door);
    let lines = body.into_data_stream().take_while(move |_| std::future::ready(door.still_knows(&identity)));
    Response::from_parts(parts, Body::from_stream(lines))
}

impl Guard {
    fn identify(&self, request: &Request) -> Result<Identity, Refused> {
        let identity = self.door.identify(request)?;
        let roles = (self.needs)(request);
        if roles.is_empty() || identity.is_one_of(roles) {
            return Ok(identity);
        }
        let roles: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
        Err(Refused::NotTheirs(format!("{identity} may not do this: the role {} may", roles.join(" or "))))
    }
}

impl Refused {
    fn why(&self) -> &str {
        match self {
            Self::Unknown(why) | Self::NotTheirs(why) => why,
        }
    }

    fn answer(&self, grpc: bool) -> Response {
        let why = self.why().to_owned();
        let (status, code, hint) = match self {
            Self::Unknown(_) => (StatusCode::UNAUTHORIZED, tonic::Code::Unauthenticated, SHOW),
            Self::NotTheirs(_) => (StatusCode::FORBIDDEN, tonic::Code::PermissionDenied, ANOTHER),
        };
        if grpc {
            return tonic::Status::new(code, why).into_http();
        }
        let mut answer = (status, axum::Json(Problem { error: why, hint: Some(hint.to_owned()) })).into_response();
        if status == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

/// Where the services of gRPC are.
const GRPC: &str = "/st2sa.v1.";
const SHOW: &str = "show a token (--token-file, ST2SA_TOKEN) or a certificate (--cert-file, --key-file)";
const ANOTHER: &str = "whoever keeps the certificates or tokens can give you another role";

/// By the path: what a request says of its kind is anybody's word.
fn is_grpc(request: &Request) -> bool {
    request.uri().path().starts_with(GRPC)
}

fn is_followed(response: &Response) -> bool {
    response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes() == NDJSON.as_bytes())
}
