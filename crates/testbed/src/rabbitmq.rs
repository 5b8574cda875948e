//! RabbitMQ for tests: one server, from Debian's package, with the queue of StackStorm's rules engine.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use lapin::options::{BasicAckOptions, BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use rustix::process::Signal;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::etcd::Certificates;
use crate::failure::OrFail;
use crate::server::{Recipe, Server};
use crate::testbed::free_port;

/// Where triggers are dispatched to.
const EXCHANGE: &str = "st2.trigger_instances_dispatch";
/// The queue of the rules engine: its names, flags and binding are StackStorm's own.
const QUEUE: &str = "st2.trigger_instances_dispatch.rules_engine";
/// How long a server that is greeted may take.
const GREETED_WITHIN: Duration = Duration::from_secs(1);
/// What is asked of it is answered within this.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// Python's own reading of pickles, a line of JSON each; each is preceded by its length.
const UNPICKLE: &str = "import json, pickle, sys
while size := sys.stdin.buffer.read(8):
    body = sys.stdin.buffer.read(int.from_bytes(size, 'little'))
    print(json.dumps(pickle.loads(body)))";

/// A RabbitMQ server on a free loopback port; killed when dropped.
#[derive(Debug)]
pub struct RabbitMqServer {
    server: Server,
    /// Erlang's list of names: one of its own, or what one finds there would outlive the test. Dropped last.
    _names: Server,
    port: u16,
    runtime: Runtime,
}

/// One message of the queue.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its properties.
    pub properties: BasicProperties,
    /// The key that it was published with.
    pub routing_key: String,
    /// The body as it is.
    pub body: Vec<u8>,
    /// The body as Python reads it.
    pub trigger: Value,
}

impl Message {
    /// `message_id`.
    pub fn id(&self) -> String {
        self.properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

impl RabbitMqServer {
    /// Starts one, and waits until it serves.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// Starts one with lines of the test's own in its configuration.
    #[track_caller]
    pub fn start_with(lines: &str) -> Self {
        let (port, names_port) = (free_port(), free_port());
        let recipe = Recipe {
            name: "epmd".to_owned(),
            program: "epmd".into(),
            arguments: ["-address", "127.0.0.1", "-port", &names_port.to_string()].map(str::to_owned).to_vec(),
            environment: Vec::new(),
            package: "erlang-base",
        };
        let listens = || TcpStream::connect(("127.0.0.1", names_port)).is_ok();
        let names = Server::start(recipe, Server::folder_for("epmd"), listens);
        let folder = Server::folder_for("rabbitmq");
        let at = |name: &str| folder.path().join(name);
        let configuration = format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\nlog.console = true\nlog.file = false\ndisk_free_limit.absolute = 1MB\n{lines}\n"
        );
        std::fs::write(at("rabbitmq.conf"), configuration).or_fail("write `rabbitmq.conf`");
        std::fs::write(at("plugins"), "[].\n").or_fail("write the list of plugins");
        let path = |name: &str| at(name).display().to_string();
        let environment = [
            ("HOME", folder.path().display().to_string()),
            ("ERL_EPMD_PORT", names_port.to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_NODENAME", format!("st2sa-{port}@localhost")),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_NODE_PORT", port.to_string()),
            ("RABBITMQ_DIST_PORT", free_port().to_string()),
            ("RABBITMQ_CONF_ENV_FILE", path("none")),
            ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins")),
            ("RABBITMQ_MNESIA_BASE", path("mnesia")),
            ("RABBITMQ_LOG_BASE", path("logs")),
            ("RABBITMQ_PID_FILE", path("pid")),
            // One scheduler that does not spin: whoever is tested needs the machine, too.
            (
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}".to_owned(),
            ),
            // Then the script becomes the server, and there is no shell between it and the test.
            ("RUNNING_UNDER_SYSTEMD", "1".to_owned()),
        ];
        let recipe = Recipe {
            name: "rabbitmq".to_owned(),
            // The one in PATH is for the service, and changes the user.
            program: PathBuf::from("/usr/lib/rabbitmq/bin/rabbitmq-server"),
            arguments: Vec::new(),
            environment: environment.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            package: "rabbitmq-server",
        };
        let server = Server::start(recipe, folder, || serves(port));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self { server, _names: names, port, runtime: runtime.or_fail("start a runtime") }
    }

    /// Starts one that also speaks TLS, with whoever has a certificate, and says on which port.
    #[track_caller]
    pub fn start_with_tls(certificates: &Certificates) -> (Self, u16) {
        let port = free_port();
        let server = Self::start_with(&format!(
            "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {}\nssl_options.certfile = {}\n\
             ssl_options.keyfile = {}\nssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true",
            certificates.ca.display(),
            certificates.certificate.display(),
            certificates.key.display(),
        ));
        (server, port)
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// As `[messaging] url` has it.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@{}//", self.address())
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again, with the same data, and waits until it serves.
    #[track_caller]
    pub fn start_again(&mut self) {
        let port = self.port;
        self.server.start_again(|| serves(port));
    }

    /// Sends it a signal: `STOP`, `CONT`.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        self.server.signal(signal);
    }

    /// Makes the rules engine's queue, and the exchange, as StackStorm does.
    #[track_caller]
    pub fn make_queue(&self) {
        self.asked("make the queue", async |channel| {
            let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            let none = FieldTable::default;
            channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, durable, none()).await?;
            let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(QUEUE.into(), durable, none()).await?;
            channel.queue_bind(QUEUE.into(), EXCHANGE.into(), "#".into(), QueueBindOptions::default(), none()).await
        });
    }

    /// Makes the exchange as StackStorm never would: whoever declares it as StackStorm does is refused.
    #[track_caller]
    pub fn make_exchange_otherwise(&self) {
        self.asked("make an odd exchange", async |channel| {
            let odd = ExchangeDeclareOptions { durable: false, ..ExchangeDeclareOptions::default() };
            channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, odd, FieldTable::default()).await
        });
    }

    /// Takes everything out of the queue, in its order.
    #[track_caller]
    pub fn take_all(&self) -> Vec<Message> {
        let taken = self.asked("empty the queue", async |channel| {
            let mut taken = Vec::new();
            while let Some(message) = channel.basic_get(QUEUE.into(), BasicGetOptions::default()).await? {
                message.delivery.acker.ack(BasicAckOptions::default()).await?;
                taken.push(message.delivery);
            }
            Ok(taken)
        });
        let bodies: Vec<Vec<u8>> = taken.iter().map(|message| message.data.clone()).collect();
        let triggers = unpickled(&bodies);
        let all = taken.into_iter().zip(bodies).zip(triggers);
        all.map(|((message, body), trigger)| Message {
            properties: message.properties,
            routing_key: message.routing_key.to_string(),
            body,
            trigger,
        })
        .collect()
    }

    #[track_caller]
    fn asked<T>(&self, what: &str, ask: impl AsyncFnOnce(&Channel) -> lapin::Result<T>) -> T {
        let asked = async {
            let connection = Connection::connect(&self.client_url(), ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            let answer = ask(&channel).await?;
            connection.close(200, "OK".into()).await?;
            Ok::<_, lapin::Error>(answer)
        };
        let asked = self.runtime.block_on(async { tokio::time::timeout(ANSWERED_WITHIN, asked).await });
        asked.or_fail(what.to_owned()).or_fail(what.to_owned())
    }

    /// The same place as this client writes it.
    fn client_url(&self) -> String {
        format!("amqp://guest:guest@{}/%2f", self.address())
    }
}

/// Whether it answers to AMQP's greeting.
fn serves(port: u16) -> bool {
    let greeted = || {
        let mut stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), GREETED_WITHIN)?;
        stream.set_read_timeout(Some(GREETED_WITHIN))?;
        stream.write_all(b"AMQP\0\0\x09\x01")?;
        let mut first = [0];
        stream.read_exact(&mut first)?;
        Ok::<_, std::io::Error>(first[0] == 1)
    };
    greeted().unwrap_or(false)
}

/// What Python makes of pickles.
#[track_caller]
fn unpickled(bodies: &[Vec<u8>]) -> Vec<Value> {
    let mut python = Command::new("python3");
    python.args(["-c", UNPICKLE]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.spawn().or_fail("start Python");
    let mut input = child.stdin.take().ok_or("there is none").or_fail("write to Python");
    let pickles: Vec<u8> =
        bodies.iter().flat_map(|body| [&(body.len() as u64).to_le_bytes(), body.as_slice()].concat()).collect();
    let writer = std::thread::spawn(move || input.write_all(&pickles));
    let output = child.wait_with_output().or_fail("wait for Python");
    // Python says why, on this standard error.
    let _ = writer.join();
    let text = String::from_utf8_lossy(&output.stdout);
    let values: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).or_fail("understand Python")).collect();
    assert_eq!(values.len(), bodies.len(), "Python could not read what is in the queue");
    values
}
