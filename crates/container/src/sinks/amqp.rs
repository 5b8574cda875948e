//! Triggers as StackStorm's own messages, to its RabbitMQ: mandatory, each confirmed by the server before it counts.
//!
//! All lanes share one connection. A trigger has a channel to itself while it is handed on: a message that the server does not
//! take ends its channel, and nothing else. Nothing is ever handed on again on a connection that left something unanswered:
//! what lapin still holds for it goes nowhere.

mod runtime;

use std::sync::Mutex as Cell;
use std::time::{Duration, Instant};

use async_rs::Runtime;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::types::{FieldTable, ReplyCode};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{
    AsyncTcpStream, BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ErrorKind, ExchangeKind,
};
use st2sa_stackstorm::messages;
use tokio::sync::Mutex;
use tokio_util::compat::TokioAsyncReadCompatExt as _;

use super::Record;
use super::lanes::{Failure, Remote};
use super::line::{CONNECTED_WITHIN, Cord, Lines};
use super::targets::{AmqpServer, AmqpTarget};
use runtime::Kit;

/// A message is confirmed within this, or handed on again: a disk that is written to by many may need seconds.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(10);
/// Channels, exchanges: the server answers within this.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// After a connection failed, lanes that would try at once are told the same; so often a server that is away is tried.
const CONNECT_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// AMQP's numbers for what is wrong with one message.
const CONTENT_TOO_LARGE: ReplyCode = 311;
const NOT_FOUND: ReplyCode = 404;
const PRECONDITION_FAILED: ReplyCode = 406;

/// The servers of one StackStorm.
pub(super) struct Amqp {
    target: AmqpTarget,
    /// What the server shows the connection as.
    connection_name: String,
    lines: Lines,
    runtime: tokio::runtime::Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    link: Option<Link>,
    /// Counts connections.
    number: u64,
    /// When the last one failed, and why.
    failed: Option<(Instant, String)>,
}

/// One connection to a server.
struct Link {
    connection: Connection,
    cord: Cord,
    number: u64,
    /// Channels that nothing is handed on: one is put back by whoever took or made it.
    idle: Vec<Channel>,
}

/// A channel, and which connection it is of.
pub(super) struct Place {
    channel: Channel,
    number: u64,
}

impl Amqp {
    pub(super) fn new(target: AmqpTarget, container: &str, lines: Lines, runtime: tokio::runtime::Handle) -> Self {
        let connection_name = format!("st2sa container {container}");
        Self { target, connection_name, lines, runtime, state: Mutex::default() }
    }

    /// A channel that is this trigger's alone.
    async fn place(&self) -> Result<Place, String> {
        let mut state = self.state.lock().await;
        let connected = |link: &Link| link.connection.status().connected();
        if !state.link.as_ref().is_some_and(connected) {
            if let Some(link) = state.link.take() {
                link.cord.cut();
            }
            if let Some((at, why)) = &state.failed
                && at.elapsed() < CONNECT_AGAIN_AFTER
            {
                return Err(why.clone());
            }
            match self.connect(state.number + 1).await {
                Ok(link) => {
                    state.failed = None;
                    state.number = link.number;
                    state.link = Some(link);
                }
                Err(why) => {
                    state.failed = Some((Instant::now(), why.clone()));
                    return Err(why);
                }
            }
        }
        let Some(link) = &mut state.link else { return Err("no connection".to_owned()) };
        link.idle.retain(|channel| channel.status().connected());
        let number = link.number;
        if let Some(channel) = link.idle.pop() {
            return Ok(Place { channel, number });
        }
        match within(ANSWERED_WITHIN, new_channel(&link.connection)).await {
            Ok(channel) => Ok(Place { channel, number }),
            Err(why) => {
                link.cord.cut();
                state.link = None;
                Err(format!("no channel: {why}"))
            }
        }
    }

    /// One of the servers, the first that lets us in.
    async fn connect(&self, number: u64) -> Result<Link, String> {
        let mut problems = Vec::new();
        for server in &self.target.servers {
            match self.connect_to(server, number).await {
                Ok(link) => return Ok(link),
                Err(why) => problems.push(format!("{server}: {why}")),
            }
        }
        Err(problems.join("; "))
    }

    async fn connect_to(&self, server: &AmqpServer, number: u64) -> Result<Link, String> {
        let connected = self.lines.connect(&server.endpoint, server.secure).await;
        let (line, cord) = connected.map_err(|error| error.to_string())?;
        let line = Cell::new(Some(line));
        let hand_over = async move |_: AMQPUri, _: Runtime<Kit>| {
            let line = line.lock().ok().and_then(|mut line| line.take());
            let line =
                line.ok_or_else(|| lapin::Error::from(std::io::Error::from(std::io::ErrorKind::NotConnected)))?;
            Ok(AsyncTcpStream::Plain(line.compat()))
        };
        // Its own recovery is off: what it had not sent would go out whenever it comes back.
        let properties = ConnectionProperties::default().with_connection_name(self.connection_name.as_str().into());
        let runtime = Runtime::new(Kit::new(self.runtime.clone()));
        let greeted = within(CONNECTED_WITHIN, Connection::connector(uri(server), runtime, hand_over, properties));
        let ready = async {
            let connection = greeted.await?;
            within(ANSWERED_WITHIN, self.exchange(&connection)).await?;
            Ok(connection)
        };
        match ready.await {
            Ok(connection) => Ok(Link { connection, cord, number, idle: Vec::new() }),
            Err(why) => {
                cord.cut();
                Err(why)
            }
        }
    }

    /// Sees to it that the exchange is there: whatever it is like, should StackStorm have made it, else as it would.
    async fn exchange(&self, connection: &Connection) -> lapin::Result<()> {
        match self.declare(connection, true).await {
            Err(error) if code(&error) == Some(NOT_FOUND) => self.declare(connection, false).await,
            declared => declared,
        }
    }

    async fn declare(&self, connection: &Connection, passive: bool) -> lapin::Result<()> {
        // A refusal ends the channel.
        let channel = connection.create_channel().await?;
        let options = ExchangeDeclareOptions { passive, durable: true, ..ExchangeDeclareOptions::default() };
        let name = self.target.exchange.as_str().into();
        channel.exchange_declare(name, ExchangeKind::Topic, options, FieldTable::default()).await?;
        channel.close(200, "OK".into()).await
    }

    /// Hands a message on, and waits until the server has it.
    async fn publish(&self, channel: &Channel, record: &Record) -> lapin::Result<Confirmation> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default()
            .with_content_type(messages::CONTENT_TYPE.into())
            .with_content_encoding(messages::CONTENT_ENCODING.into())
            .with_headers(FieldTable::default())
            .with_delivery_mode(messages::DELIVERY_MODE)
            .with_priority(messages::PRIORITY)
            .with_message_id(record.id.as_str().into());
        let body = messages::body(&record.trigger, &record.payload, &record.trace_context);
        let (exchange, key) = (self.target.exchange.as_str().into(), messages::ROUTING_KEY.into());
        channel.basic_publish(exchange, key, options, &body, properties).await?.await
    }

    async fn put_back(&self, place: Place) {
        let mut state = self.state.lock().await;
        if let Some(link) = state.link.as_mut().filter(|link| link.number == place.number) {
            link.idle.push(place.channel);
        }
    }

    /// Gives up a connection, with all that it has not sent.
    async fn give_up(&self, number: u64) {
        let mut state = self.state.lock().await;
        if let Some(link) = state.link.take_if(|link| link.number == number) {
            link.cord.cut();
        }
    }
}

impl Remote for Amqp {
    type Way = Place;

    async fn ready(&self) -> Result<Place, Failure> {
        self.place().await.map_err(Failure::Away)
    }

    async fn hand_on(&self, place: Place, record: &Record) -> Result<(), Failure> {
        let number = place.number;
        let Ok(published) = tokio::time::timeout(CONFIRMED_WITHIN, self.publish(&place.channel, record)).await else {
            self.give_up(number).await;
            let why = format!(
                "not confirmed within {CONFIRMED_WITHIN:?}: RabbitMQ short of memory or disk lets publishers wait"
            );
            return Err(Failure::Away(why));
        };
        match published {
            Ok(Confirmation::Ack(None)) => {
                self.put_back(place).await;
                Ok(())
            }
            Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_))) => {
                self.put_back(place).await;
                let why = format!(
                    "no queue is bound to the exchange `{}`: has StackStorm's rules engine run?",
                    self.target.exchange
                );
                Err(Failure::Never(why))
            }
            Ok(Confirmation::Nack(None) | Confirmation::NotRequested) => {
                self.put_back(place).await;
                Err(Failure::NotNow("RabbitMQ could not keep it".to_owned()))
            }
            // The channel is gone, with this message alone.
            Err(error) if matches!(code(&error), Some(CONTENT_TOO_LARGE | PRECONDITION_FAILED)) => {
                Err(Failure::Never(error.to_string()))
            }
            Err(error) => {
                self.give_up(number).await;
                Err(Failure::Away(error.to_string()))
            }
        }
    }
}

async fn new_channel(connection: &Connection) -> lapin::Result<Channel> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

async fn within<T>(bound: Duration, asked: impl Future<Output = lapin::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(bound, asked).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {bound:?}")),
    }
}

/// The server's number for what is wrong, if it has said so.
fn code(error: &lapin::Error) -> Option<ReplyCode> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

fn uri(server: &AmqpServer) -> AMQPUri {
    AMQPUri {
        // TLS, if any, is below.
        scheme: AMQPScheme::AMQP,
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo { username: server.user.clone(), password: server.password.clone() },
            host: server.endpoint.host.clone(),
            port: server.endpoint.port,
        },
        vhost: server.virtual_host.clone(),
        query: AMQPQueryString::default(),
    }
}
