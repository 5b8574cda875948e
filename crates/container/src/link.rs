//! Streams to arbitrators: opened, sent on and closed as the session says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use st2sa_coordination::store::Store;
use st2sa_core::message::{ToArbitrator, ToContainer};
use st2sa_core::names::{ArbitratorId, StreamId};
use st2sa_doors::Caller;
use st2sa_proto::v1::sessions_client::SessionsClient;
use st2sa_proto::{About, FromArbitrator, FromContainer, InstanceReport, MESSAGE_BYTES_AT_MOST, v1};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use crate::finder::Finder;
use crate::input::Input;

/// An arbitrator that cannot be reached within this is given up for now.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// Messages that wait to be sent on one stream: hundreds of heartbeats. A stream that is fuller is broken.
const WAITING_AT_MOST: usize = 4_096;
/// Reports are left out once so many messages wait: heartbeats come first.
const REPORTS_UP_TO: usize = WAITING_AT_MOST / 2;

/// The streams of one container.
pub(crate) struct Links {
    pub(crate) about: About,
    pub(crate) inputs: Sender<Input>,
    pub(crate) runtime: Handle,
    caller: Caller,
    finder: Option<Arc<Finder>>,
    streams: BTreeMap<StreamId, Open>,
}

struct Open {
    messages: mpsc::Sender<v1::FromContainer>,
    task: JoinHandle<()>,
    address: String,
}

impl Links {
    pub(crate) fn new(
        about: About,
        inputs: Sender<Input>,
        runtime: Handle,
        caller: Caller,
        store: Option<Store>,
    ) -> Self {
        let finder = store.map(|store| Arc::new(Finder::new(store)));
        Self { about, inputs, runtime, caller, finder, streams: BTreeMap::new() }
    }

    /// Opens a stream.
    pub(crate) fn connect(&mut self, stream: StreamId, to: &ArbitratorId) {
        let inputs = self.inputs.clone();
        if *to == Finder::name() {
            self.find(stream, inputs);
            return;
        }
        let (messages, waiting) = mpsc::channel(WAITING_AT_MOST);
        let address = to.as_str().to_owned();
        let task = self.runtime.spawn(talk(stream, self.caller.clone(), address.clone(), waiting, inputs));
        self.streams.insert(stream, Open { messages, task, address });
    }

    /// Asks the store who leads. It answers as an arbitrator that stands by does: that one is greeted on another stream.
    fn find(&self, stream: StreamId, inputs: Sender<Input>) {
        let finder = self.finder.clone();
        self.runtime.spawn(async move {
            let found = match finder {
                Some(finder) => finder.leader().await,
                None => Err("no store was named".to_owned()),
            };
            let input = match found {
                Ok(address) => {
                    let leader = Some(ArbitratorId::new(address));
                    Input::Heard(stream, FromArbitrator::Message(ToContainer::NotLeader { leader }))
                }
                Err(problem) => Input::StreamClosed(stream, problem),
            };
            // Nobody listens any more when the container stops.
            let _ = inputs.send(input);
        });
    }

    /// Sends a message of the session's.
    pub(crate) fn send(&mut self, stream: StreamId, message: ToArbitrator) {
        let message = match message {
            ToArbitrator::Hello(hello) => FromContainer::Hello(hello, self.about.clone()),
            message => FromContainer::Message(message),
        };
        self.put(stream, message.encode());
    }

    /// Sends what the instances are doing, unless more important things wait.
    pub(crate) fn report(&mut self, stream: StreamId, reports: Vec<InstanceReport>) {
        let Some(open) = self.streams.get(&stream) else { return };
        if WAITING_AT_MOST - open.messages.capacity() < REPORTS_UP_TO {
            self.put(stream, FromContainer::Instances(reports).encode());
        }
    }

    /// Where a stream leads.
    pub(crate) fn address(&self, stream: StreamId) -> Option<&str> {
        self.streams.get(&stream).map(|open| open.address.as_str())
    }

    /// Closes a stream: what waits on it is not sent any more.
    pub(crate) fn close(&mut self, stream: StreamId) {
        if let Some(open) = self.streams.remove(&stream) {
            open.task.abort();
        }
    }

    fn put(&mut self, stream: StreamId, message: v1::FromContainer) {
        let Some(open) = self.streams.get(&stream) else { return };
        if open.messages.try_send(message).is_err() {
            self.close(stream);
            let problem = "what is sent on it is not taken".to_owned();
            let _ = self.inputs.send(Input::StreamClosed(stream, problem));
        }
    }
}

/// One stream's life.
async fn talk(
    stream: StreamId,
    caller: Caller,
    address: String,
    waiting: mpsc::Receiver<v1::FromContainer>,
    inputs: Sender<Input>,
) {
    let problem = match exchange(stream, &caller, &address, waiting, &inputs).await {
        Ok(()) => "the arbitrator closed it".to_owned(),
        Err(problem) => problem,
    };
    // Nobody listens any more when the container stops.
    let _ = inputs.send(Input::StreamClosed(stream, problem));
}

async fn exchange(
    stream: StreamId,
    caller: &Caller,
    address: &str,
    waiting: mpsc::Receiver<v1::FromContainer>,
    inputs: &Sender<Input>,
) -> Result<(), String> {
    let channel = caller.connect(address, CONNECT_WITHIN).await.map_err(|problem| format!("{address}: {problem}"))?;
    let mut client = SessionsClient::with_interceptor(channel, caller.bearer())
        .max_decoding_message_size(MESSAGE_BYTES_AT_MOST)
        .max_encoding_message_size(MESSAGE_BYTES_AT_MOST);
    // The answer's head comes at once; said before it, the greeting would wait for it.
    let _ = inputs.send(Input::StreamOpened(stream));
    let answer = client.open(ReceiverStream::new(waiting)).await;
    let mut answers = answer.map_err(|status| format!("{address}: {}", status.message()))?.into_inner();
    loop {
        match answers.message().await {
            Ok(Some(message)) => match FromArbitrator::decode(message) {
                Ok(Some(message)) => drop(inputs.send(Input::Heard(stream, message))),
                Ok(None) => {}
                Err(error) => return Err(format!("{address} sent what is not understood: {error}")),
            },
            Ok(None) => return Ok(()),
            Err(status) => return Err(format!("{address}: {}", status.message())),
        }
    }
}
