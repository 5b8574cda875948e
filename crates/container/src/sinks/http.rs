//! Triggers over HTTP: each is posted as a CloudEvents 1.0 document in structured mode.
//!
//! On hyper's own connections rather than on a client that makes them: those of a sink are reset at the lease's end.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::Value;

use super::Record;
use super::lanes::{Failure, Remote};
use super::line::{Cord, Lines};
use super::targets::HttpTarget;

/// A trigger is answered within this, or tried again: whoever takes events stores them, and does its work later.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// Of an answer so much is read: it is only for people.
const ANSWER_BYTES_AT_MOST: usize = 16 * 1024;
/// Of that, so much is shown.
const ANSWER_CHARACTERS_SHOWN: usize = 200;

/// One endpoint.
pub(super) struct Http {
    target: HttpTarget,
    lines: Lines,
    /// Connections that nothing is asked on: one is put back by whoever took or made it, so no more than are used at once.
    idle: Mutex<Vec<Connection>>,
}

pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    cord: Cord,
    /// It has answered before.
    used: bool,
}

/// Why there was no answer.
enum NoAnswer {
    /// The connection ended.
    Broken(String),
    /// It took too long.
    Late(String),
}

impl NoAnswer {
    fn why(self) -> String {
        match self {
            Self::Broken(why) | Self::Late(why) => why,
        }
    }
}

/// A trigger as a `CloudEvent`. `docs/sinks.md` promises these attributes.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    /// With `id` it names the event, wherever the sensor runs: the container is an attribute of its own.
    source: String,
    r#type: &'a str,
    time: &'a str,
    datacontenttype: &'static str,
    container: &'a str,
    fence: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracetag: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceid: Option<&'a str>,
    /// A trigger that was dispatched as a dictionary, as JSON: an attribute is no object.
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger: Option<String>,
    data: &'a Value,
}

impl Http {
    pub(super) fn new(target: HttpTarget, lines: Lines) -> Self {
        Self { target, lines, idle: Mutex::default() }
    }

    async fn connect(&self) -> Result<Connection, String> {
        let target = &self.target;
        let connected = self.lines.connect(&target.endpoint, target.secure).await;
        let (line, cord) = connected.map_err(|error| format!("no connection to {}: {error}", target.endpoint))?;
        let (sender, connection) = handshake(TokioIo::new(line)).await.map_err(|error| with_cause(&error))?;
        // How it ends is told to whoever asks on it.
        tokio::spawn(async move { connection.await.unwrap_or_default() });
        Ok(Connection { sender, cord, used: false })
    }

    /// One that was used before may have ended meanwhile: then on a new one.
    async fn post(&self, connection: Connection, body: Bytes) -> Result<(StatusCode, String), String> {
        let used = connection.used;
        match self.post_on(connection, body.clone()).await {
            Err(NoAnswer::Broken(_)) if used => self.post_on(self.connect().await?, body).await.map_err(NoAnswer::why),
            answer => answer.map_err(NoAnswer::why),
        }
    }

    async fn post_on(&self, mut connection: Connection, body: Bytes) -> Result<(StatusCode, String), NoAnswer> {
        let cord = connection.cord.clone();
        let broken = |error: hyper::Error| NoAnswer::Broken(with_cause(&error));
        let asked = async {
            connection.sender.ready().await.map_err(broken)?;
            let request = self.request(body).map_err(NoAnswer::Broken)?;
            let response = connection.sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            let text = match Limited::new(response.into_body(), ANSWER_BYTES_AT_MOST).collect().await {
                Ok(read) => {
                    connection.used = true;
                    self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
                    shown(&read.to_bytes())
                }
                // Too long, or broken off: the status has said what counts.
                Err(_) => String::new(),
            };
            Ok((status, text))
        };
        let asked = tokio::time::timeout(ANSWERED_WITHIN, asked).await;
        asked.unwrap_or_else(|_| {
            cord.cut();
            Err(NoAnswer::Late(format!("no answer within {ANSWERED_WITHIN:?}")))
        })
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
        let target = &self.target;
        let mut request = Request::post(&target.path)
            .header(HOST, target.endpoint.to_string())
            .header(USER_AGENT, concat!("st2sa/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/cloudevents+json");
        if let Some(authorization) = &target.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.body(Full::new(body)).map_err(|error| format!("the request cannot be written: {error}"))
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|connection| !connection.sender.is_closed());
        idle.pop()
    }
}

impl Remote for Http {
    type Way = Connection;

    async fn ready(&self) -> Result<Connection, Failure> {
        match self.take_idle() {
            Some(connection) => Ok(connection),
            None => self.connect().await.map_err(Failure::Away),
        }
    }

    async fn hand_on(&self, connection: Connection, record: &Record) -> Result<(), Failure> {
        let event = serde_json::to_vec(&CloudEvent::of(record));
        let event = event.map_err(|error| Failure::Never(format!("it cannot be written: {error}")))?;
        let (status, text) = self.post(connection, event.into()).await.map_err(Failure::Away)?;
        judge(status, &text)
    }
}

/// What an answer means for the trigger. To be let in, or to be found elsewhere, is for the operator to mend: it waits.
fn judge(status: StatusCode, text: &str) -> Result<(), Failure> {
    let said = if text.is_empty() { status.to_string() } else { format!("{status}: {text}") };
    match status {
        _ if status.is_success() => Ok(()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(Failure::NotNow(format!("it answers {said}; look at the user and the password in the url")))
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Err(Failure::NotNow(format!("it answers {said}")))
        }
        _ if status.is_client_error() => Err(Failure::Never(format!("it answers {said}"))),
        _ if status.is_redirection() => {
            Err(Failure::NotNow(format!("it answers {said}; redirects are not followed: write where it is in the url")))
        }
        _ => Err(Failure::NotNow(format!("it answers {said}"))),
    }
}

impl<'a> CloudEvent<'a> {
    fn of(record: &'a Record) -> Self {
        let named = |name: &str| record.trigger.get(name).and_then(Value::as_str);
        let reference =
            record.trigger.as_str().or_else(|| named("type").or_else(|| named("uid")).or_else(|| named("id")));
        let trace = |name: &str| record.trace_context.get(name).and_then(Value::as_str);
        Self {
            specversion: "1.0",
            id: &record.id,
            source: format!("/sensors/{}", record.sensor),
            r#type: reference.filter(|reference| !reference.is_empty()).unwrap_or("trigger"),
            time: &record.at,
            datacontenttype: "application/json",
            container: &record.container,
            fence: &record.fence,
            tracetag: trace("trace_tag"),
            traceid: trace("id_"),
            trigger: record.trigger.is_object().then(|| record.trigger.to_string()),
            data: &record.payload,
        }
    }
}

/// The beginning of what somebody else wrote, on one line.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let words: Vec<&str> = text.split(|character: char| character.is_whitespace() || character.is_control()).collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(ANSWER_CHARACTERS_SHOWN).collect()
}

fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_trigger_is_a_cloud_event() {
        let record = Record { trace_context: json!({"trace_tag": "t", "id_": null}), ..Record::for_test() };
        assert_eq!(
            serde_json::to_value(CloudEvent::of(&record)).unwrap(),
            json!({
                "specversion": "1.0", "id": "1", "source": "/sensors/p.X", "type": "p.t", "time": "2026-11-23T00:00:00.000Z",
                "datacontenttype": "application/json", "container": "a", "fence": "1.2", "tracetag": "t",
                "data": {"text": "two\nlines"},
            })
        );
        let trigger = json!({"uid": "trigger:p:t:1", "type": "p.t", "parameters": {}});
        let record = Record { trigger: trigger.clone(), ..Record::for_test() };
        let event = serde_json::to_value(CloudEvent::of(&record)).unwrap();
        assert_eq!((&event["type"], &event["trigger"]), (&json!("p.t"), &json!(trigger.to_string())));
    }

    /// <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#naming-conventions>
    #[test]
    fn attributes_are_named_and_typed_as_the_specification_wants() {
        let trace_context = json!({"trace_tag": "t", "id_": "i"});
        let record = Record { trigger: json!({"id": "p.t"}), trace_context, ..Record::for_test() };
        let event = serde_json::to_value(CloudEvent::of(&record)).unwrap();
        for (name, value) in event.as_object().unwrap() {
            let allowed = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
            assert!(name.chars().all(allowed) && name.len() <= 20, "{name}");
            assert!(name == "data" || value.as_str().is_some_and(|value| !value.is_empty()), "{name}: {value}");
        }
    }

    #[test]
    fn only_a_clients_error_that_nobody_else_can_mend_is_for_good() {
        let judged = |code| judge(StatusCode::from_u16(code).unwrap(), "so\tit is");
        assert_eq!((judged(200), judged(202), judged(204)), (Ok(()), Ok(()), Ok(())));
        for code in [301, 307, 401, 403, 408, 429, 500, 502, 503, 504] {
            assert!(matches!(judged(code), Err(Failure::NotNow(_))), "{code}");
        }
        for code in [400, 404, 405, 409, 410, 413, 415, 422] {
            assert!(matches!(judged(code), Err(Failure::Never(_))), "{code}");
        }
    }

    #[test]
    fn what_somebody_else_wrote_is_shown_on_one_short_line() {
        assert_eq!(shown(b" no\r\n\x1b[31m  way "), "no [31m way");
        assert_eq!(shown(&[b'x'; 1_000]).len(), ANSWER_CHARACTERS_SHOWN);
    }
}
