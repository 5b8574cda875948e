//! Malformed, oversized, unauthenticated, expired and replayed requests at every door: each is refused, nothing changes, and
//! no memory is kept for them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use st2sa_doors::{Keys, Limits, Role};
use st2sa_proto::v1;
use st2sa_proto::v1::datastore_client::DatastoreClient;
use st2sa_proto::v1::from_container::Message;
use st2sa_proto::v1::peers_client::PeersClient;
use st2sa_proto::v1::sessions_client::SessionsClient;
use st2sa_testbed::{Pack, Program, Source, Testbed};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use super::visitor::Visitor;
use super::{Keyring, as_str};
use crate::scene::{SETTLES, testbed};

/// Requests at each door.
const REQUESTS: usize = 200;
/// What is not answered within this is closed.
const CLOSED_WITHIN: Duration = Duration::from_secs(12);
/// What a process may have grown by after all of them: pools and buffers of the first few, and nothing a request.
const GROWN_KIB_AT_MOST: u64 = 24 * 1024;

/// Everybody who comes.
struct Crowd {
    container: SocketAddr,
    anna: Visitor,
    bob: Visitor,
    impostor: Visitor,
    nobody: Visitor,
    stranger: Visitor,
    wrong: Visitor,
    expired: Visitor,
    revoked: Visitor,
    recorded: Vec<u8>,
}

type Visit = (&'static str, fn(&Crowd, SocketAddr) -> String, &'static [&'static str]);

/// At both doors. The last is what may come of it.
const EVERYWHERE: &[Visit] = &[
    ("random bytes", |_, at| raw(at, &[0x80; 4096]), &["this port speaks TLS"]),
    ("plain HTTP", |_, at| raw(at, b"GET /v1/status HTTP/1.1\r\nHost: a\r\n\r\n"), &["this port speaks TLS"]),
    ("a handshake that is none", |_, at| raw(at, &[&[22, 3, 1, 64, 0][..], &[0xff; 9000]].concat()), &["closed"]),
    ("a recorded conversation", |crowd, at| raw(at, &crowd.recorded), &["closed"]),
    ("nothing shown", |crowd, at| rest(&crowd.nobody, at), &["401"]),
    ("a wrong token", |crowd, at| rest(&crowd.wrong, at), &["401"]),
    ("an expired token", |crowd, at| rest(&crowd.expired, at), &["401"]),
    ("a revoked token", |crowd, at| rest(&crowd.revoked, at), &["401"]),
    ("a certificate of another authority", |crowd, at| rest(&crowd.stranger, at), &["0 "]),
    ("a container that would read", |crowd, at| rest(&crowd.impostor, at), &["403"]),
    ("a token of another kind", |crowd, at| with_header(crowd, at, "authorization", "Basic YTpi".to_owned()), &["401"]),
    ("a token that is long", |crowd, at| with_header(crowd, at, "authorization", "x".repeat(9_000)), &["401"]),
    ("a head without end", |crowd, at| with_header(crowd, at, "x-long", "x".repeat(200_000)), &["431", "0 "]),
    ("somebody else's word", |crowd, at| on_behalf(crowd, at), &["403"]),
];

/// At the arbitrator's alone.
const AT_THE_ARBITRATOR: &[Visit] = &[
    ("an order by a viewer", |crowd, at| said(crowd.bob.order(at, PAUSE)), &["403"]),
    ("an order that is no JSON", |crowd, at| body(crowd, at, "{\"who\": ".to_owned()), &["400"]),
    ("an order of nobody", |crowd, at| body(crowd, at, "{\"who\": \"\"}".to_owned()), &["400"]),
    (
        "an order of a long name",
        |crowd, at| body(crowd, at, format!("{{\"who\": \"{}\"}}", "x".repeat(3 << 20))),
        &["413", "0 "],
    ),
    ("an order that was done", |crowd, at| said(crowd.anna.order(at, RESUME)), &["200"]),
    ("a path that is none", |crowd, at| said(crowd.anna.get(at, "/v1/../../etc/passwd%00")), &["404"]),
    ("a viewer who reads values", |crowd, at| said(crowd.bob.get(at, "/v1/datastore")), &["403"]),
    ("a stream of nobody", |crowd, at| greets(&crowd.nobody, at, "a"), &["Unauthenticated"]),
    ("a stream of a viewer", |crowd, at| greets(&crowd.bob, at, "a"), &["PermissionDenied"]),
    ("another container's name", |crowd, at| greets(&crowd.impostor, at, "a"), &["PermissionDenied"]),
    ("a name that is long", |crowd, at| greets(&crowd.impostor, at, &"x".repeat(600)), &["InvalidArgument"]),
    ("a peer that is a container", |crowd, at| tells(&crowd.impostor, at), &["PermissionDenied"]),
    ("a value under no fence", |crowd, at| stores(crowd, at, "x"), &["FailedPrecondition"]),
    ("a value with a long name", |crowd, at| stores(crowd, at, &"x".repeat(3 << 20)), &["InvalidArgument"]),
];

const PAUSE: &str = "/v1/sensors/ticker.Ticker01/pause";
const RESUME: &str = "/v1/sensors/ticker.Ticker01/resume";

#[test]
fn two_hundred_bad_requests_at_every_door_change_nothing_and_leave_no_memory() {
    let (bed, source) = (testbed(), Source::start());
    bed.add_packs(&[Pack::Ticker(2)], &source);
    let keyring = Keyring::new(&bed);
    let expired = keyring.token("expired", Role::Operator, Limits::none(), Some(0));
    let revoked = keyring.token("revoked", Role::Operator, Limits::none(), None);
    let bob = keyring.token("bob", Role::Viewer, Limits::none(), None);
    st2sa_doors::tokens::revoke(&keyring.tokens(), "revoked").unwrap();
    let tokens = format!("--tokens-file={}", keyring.tokens().display());
    let flags = |name: &str, role: Role| [keyring.flags(name, role), vec![tokens.clone()]].concat();
    let arbitrator = bed.arbitrator(&as_str(&flags("node", Role::Arbitrator)));
    let a = bed.container_in("a", "a", &as_str(&flags("a", Role::Container)));
    let anna = keyring.visitor("anna", Role::Operator);
    bed.eventually(SETTLES, "every sensor is ACTIVE, and polls", || {
        let settled = state(&anna, &bed)?.matches("\"active\":\"a\"").count() == 2;
        (settled && source.polls().len() > 2).then_some(())
    });
    let log = a.log();
    let container = log.split_once("http=").and_then(|(_, rest)| rest.split(' ').next()).unwrap().parse().unwrap();
    let recorded = record(&keyring.visitor("carl", Role::Operator), bed.listen());
    let other = testbed();
    let crowd = Crowd {
        container,
        anna,
        bob: keyring.visitor_with(&bob),
        impostor: keyring.visitor("impostor", Role::Container),
        nobody: Visitor::new(Keys { tls: true, authority: Some(keyring.authority()), ..Keys::default() }),
        stranger: stranger(&keyring, &other),
        wrong: keyring.visitor_with(&format!("{bob}0")),
        expired: keyring.visitor_with(&expired),
        revoked: keyring.visitor_with(&revoked),
        recorded,
    };
    let before = state(&crowd.anna, &bed).unwrap();
    // The first ones may warm something up.
    visit(&crowd, &bed, EVERYWHERE.len() * 2);
    let sizes = || [&arbitrator, &a].map(resident_kib);
    let warm = sizes();
    visit(&crowd, &bed, REQUESTS);
    for (program, (warm, now)) in ["arbitrator", "container"].iter().zip(warm.into_iter().zip(sizes())) {
        assert!(now < warm + GROWN_KIB_AT_MOST, "the {program} has grown from {warm} to {now} KiB");
    }
    crowd.anna.to_containers.set(false);
    assert_eq!(state(&crowd.anna, &bed).unwrap(), before);
    let since = Instant::now();
    bed.eventually(SETTLES, "it polls on", || source.first_since("ticker.Ticker01", since));
    source.assert_no_overlap();
}

impl Crowd {
    fn all(&self) -> [&Visitor; 8] {
        let Self { anna, bob, impostor, nobody, stranger, wrong, expired, revoked, .. } = self;
        [anna, bob, impostor, nobody, stranger, wrong, expired, revoked]
    }
}

/// So many visits at each door, each with what should come of it.
fn visit(crowd: &Crowd, bed: &Testbed, count: usize) {
    let arbitrators: Vec<&Visit> = EVERYWHERE.iter().chain(AT_THE_ARBITRATOR).collect();
    let containers: Vec<&Visit> = EVERYWHERE.iter().collect();
    for (at, visits) in [(bed.listen(), arbitrators), (crowd.container, containers)] {
        for visitor in crowd.all() {
            visitor.to_containers.set(at == crowd.container);
        }
        for (what, visit, allowed) in visits.into_iter().cycle().take(count) {
            let outcome = visit(crowd, at);
            assert!(allowed.iter().any(|allowed| outcome.contains(allowed)), "{what} at {at}: {outcome:.300}");
        }
    }
}

/// What must not change: where everything is, under which fence, and what has happened.
fn state(anna: &Visitor, bed: &Testbed) -> Option<String> {
    let sensors = anna.json(bed.listen(), "/v1/sensors")?;
    let kept = ["ref", "status", "active", "fence", "paused"];
    let kept = sensors.as_array()?.iter().map(|sensor| kept.map(|key| format!("\"{key}\":{}", sensor[key])).join(","));
    let history = anna.json(bed.listen(), "/v1/history?limit=1000")?;
    let values = anna.json(bed.listen(), "/v1/datastore")?;
    Some(format!("{}; {} records; {values}", kept.collect::<Vec<_>>().join("; "), history.as_array()?.len()))
}

fn resident_kib(program: &Program) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// What comes back of bytes on a bare connection.
fn raw(at: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(CLOSED_WITHIN)).unwrap();
    // It may be closed before all of them are there.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return "left open".to_owned(),
            Err(_) => break,
        }
    }
    format!("{}closed", String::from_utf8_lossy(&answer))
}

fn said((status, text): (u16, String)) -> String {
    format!("{status} {text}")
}

fn rest(visitor: &Visitor, at: SocketAddr) -> String {
    // On a connection of its own each: those on which nobody was let in are closed after a while.
    said(visitor.ask(|http, scheme| {
        http.get(format!("{scheme}://{at}/v1/sensors/ticker.Ticker01/logs")).header("connection", "close")
    }))
}

fn with_header(crowd: &Crowd, at: SocketAddr, name: &str, value: String) -> String {
    said(crowd.nobody.ask(|http, scheme| {
        http.get(format!("{scheme}://{at}/v1/status")).header("connection", "close").header(name, value)
    }))
}

fn on_behalf(crowd: &Crowd, at: SocketAddr) -> String {
    let header = ("x-st2sa-on-behalf-of", "operator/anna");
    said(crowd.bob.ask(|http, scheme| http.get(format!("{scheme}://{at}/v1/status")).header(header.0, header.1)))
}

fn body(crowd: &Crowd, at: SocketAddr, body: String) -> String {
    said(crowd.anna.ask(|http, scheme| {
        http.post(format!("{scheme}://{at}{PAUSE}")).header("content-type", "application/json").body(body)
    }))
}

fn channel(visitor: &Visitor, at: SocketAddr) -> Channel {
    let _entered = visitor.runtime.enter();
    visitor.caller.connect_lazily(&at.to_string(), CLOSED_WITHIN).unwrap()
}

fn status<T>(answer: Result<T, tonic::Status>) -> String {
    answer.map_or_else(|status| format!("{:?}: {}", status.code(), status.message()), |_| "let in".to_owned())
}

fn greets(visitor: &Visitor, at: SocketAddr, name: &str) -> String {
    let about = v1::About { protocol: 1, version: "0".into(), host: "h".into(), pid: 1, address: "127.0.0.1:1".into() };
    let hello =
        v1::Hello { name: name.to_owned(), incarnation: 5, machine: 5, about: Some(about), ..v1::Hello::default() };
    let message = v1::FromContainer { message: Some(Message::Hello(hello)) };
    let mut client: SessionsClient<InterceptedService<Channel, _>> =
        SessionsClient::with_interceptor(channel(visitor, at), visitor.caller.bearer());
    visitor.runtime.block_on(async {
        // It stays open, so that the other side has to end it.
        let messages =
            futures_util::StreamExt::chain(futures_util::stream::iter([message]), futures_util::stream::pending());
        match client.open(messages).await {
            Ok(answers) => status(answers.into_inner().message().await),
            Err(refused) => status(Err::<(), _>(refused)),
        }
    })
}

fn tells(visitor: &Visitor, at: SocketAddr) -> String {
    let mut client = PeersClient::with_interceptor(channel(visitor, at), visitor.caller.bearer());
    visitor.runtime.block_on(async { status(client.tell(v1::FromPeer::default()).await) })
}

fn stores(crowd: &Crowd, at: SocketAddr, name: &str) -> String {
    let mut client = DatastoreClient::with_interceptor(channel(&crowd.impostor, at), crowd.impostor.caller.bearer());
    let write = v1::Write { name: name.to_owned(), value: Some("stolen".into()), ttl_ms: None };
    let fence = Some(v1::Fence { term: 1, n: 1_000 });
    let request = v1::ApplyRequest { sensor: "ticker.Ticker01".into(), fence, writes: vec![write] };
    crowd.impostor.runtime.block_on(async { status(client.apply(request).await) })
}

/// Somebody with a certificate of another authority.
fn stranger(keyring: &Keyring<'_>, other: &Testbed) -> Visitor {
    let st2sa_doors::authority::Written { certificate, key } = Keyring::new(other).issue("anna", Role::Operator, &[]);
    let (certificate, key) = (Some(certificate), Some(key));
    Visitor::new(Keys { tls: true, authority: Some(keyring.authority()), certificate, key, ..Keys::default() })
}

/// All that a client sends of an order that is carried out, as it goes over the wire.
fn record(visitor: &Visitor, at: SocketAddr) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let between = listener.local_addr().unwrap();
    let recorder = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut server = TcpStream::connect(at).unwrap();
        let (mut answers, mut answered) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut answers, &mut answered);
            let _ = answered.shutdown(std::net::Shutdown::Both);
        });
        let (mut recorded, mut piece) = (Vec::new(), [0; 4096]);
        while let Ok(read @ 1..) = client.read(&mut piece) {
            recorded.extend_from_slice(&piece[..read]);
            server.write_all(&piece[..read]).unwrap();
        }
        recorded
    });
    let answered = visitor.ask(|http, scheme| {
        let order = http.post(format!("{scheme}://{between}{RESUME}")).header("connection", "close");
        order.json(&serde_json::json!({ "who": "carl@desk" }))
    });
    assert_eq!(answered.0, 200, "{answered:?}");
    recorder.join().unwrap()
}
