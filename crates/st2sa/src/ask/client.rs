//! One question over HTTP: the addresses are tried in order, every wait and every answer is bounded.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use st2sa_doors::{Caller, DoorError, Keys};
use st2sa_proto::rest::Problem;

use super::address::{Address, Addresses};
use super::failure::{self, Failure, Kind};
use super::lines::Lines;
use crate::settings::with_causes;

/// Until a connection stands: a lost packet is sent again after one second and after three.
const CONNECT_AT_MOST: Duration = Duration::from_secs(4);

/// Until an answer begins, and until a document is whole. The arbitrator itself gives up after five seconds.
const ANSWER_AT_MOST: Duration = Duration::from_secs(6);

/// Between two pieces of an answer. One that goes on has a blank line now and then, well within this.
const SILENCE_AT_MOST: Duration = Duration::from_mins(1);

/// A document at the most: some hundred thousand instances.
const DOCUMENT_BYTES_AT_MOST: usize = 128 << 20;

/// Asks arbitrators.
pub(crate) struct Client {
    http: reqwest::Client,
    caller: Caller,
    addresses: Addresses,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// One of the paths of `rest`.
    pub(crate) path: &'static str,
    /// What stands for `{ref}` in it.
    pub(crate) reference: Option<String>,
    /// What narrows it down.
    pub(crate) query: Vec<(&'static str, String)>,
    /// How it is asked; an order is no GET.
    pub(crate) method: Method,
    /// What is ordered.
    pub(crate) body: Option<Value>,
}

/// A document, as it came and as it is understood.
pub(crate) struct Document<T> {
    /// With all that a newer arbitrator put into it.
    pub(crate) raw: Value,
    /// What this release knows of it.
    pub(crate) known: T,
}

impl Client {
    /// A client of the arbitrators at these addresses.
    pub(crate) fn new(addresses: Addresses, keys: Keys) -> Result<Self, Failure> {
        let unusable = |error: DoorError| Failure::of(Kind::Usage, with_causes(&error), None);
        let caller = Caller::new(keys).map_err(unusable)?;
        let http = caller
            .http_builder()
            .map_err(unusable)?
            .connect_timeout(CONNECT_AT_MOST)
            .read_timeout(SILENCE_AT_MOST)
            .user_agent(concat!("st2sa/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failure::unexpected(format!("failed to prepare: {}", failure::root(&error)), None))?;
        let addresses = addresses.over(caller.scheme());
        Ok(Self { http, caller, addresses })
    }

    /// Asks for a document.
    pub(crate) async fn document<T: DeserializeOwned>(&self, request: &Request) -> Result<Document<T>, Failure> {
        let (address, response) = self.ask(request).await?;
        let body = whole(address, response).await?;
        let understood = serde_json::from_slice(&body).and_then(|raw: Value| {
            let known = T::deserialize(&raw)?;
            Ok(Document { raw, known })
        });
        understood
            .map_err(|error| Failure::not_understood(format!("the answer of {address} is not understood: {error}")))
    }

    /// Asks for lines.
    pub(crate) async fn lines(&self, request: &Request) -> Result<Lines, Failure> {
        let (address, response) = self.ask(request).await?;
        Ok(Lines::new(address.to_string(), response))
    }

    async fn ask(&self, request: &Request) -> Result<(&Address, Response), Failure> {
        let mut failures = Vec::new();
        for address in self.addresses.iter() {
            match self.ask_at(address, request).await {
                Ok(response) => return Ok((address, response)),
                Err(Refusal::Final(failure)) => return Err(failure),
                Err(Refusal::Here(failure)) => failures.push(failure),
            }
        }
        Err(of_all(failures))
    }

    async fn ask_at(&self, address: &Address, request: &Request) -> Result<Response, Refusal> {
        let url = address.url(request.path, request.reference.as_deref(), &request.query);
        let unreachable = |reason: &str| {
            Refusal::Here(Failure::unreachable(format!("failed to reach an arbitrator at {address}: {reason}")))
        };
        let mut asking = self.caller.sign(self.http.request(request.method.clone(), url));
        if let Some(body) = &request.body {
            asking = asking.json(body);
        }
        let response = match tokio::time::timeout(ANSWER_AT_MOST, asking.send()).await {
            Err(_) if request.method != Method::GET => return Err(Refusal::Final(unknown(address, "no answer"))),
            Ok(Err(error)) if request.method != Method::GET && !error.is_connect() => {
                return Err(Refusal::Final(unknown(address, &failure::root(&error))));
            }
            Err(_) => return Err(unreachable("no answer within 6 s")),
            Ok(Err(error)) if error.is_connect() && error.is_timeout() => {
                return Err(unreachable("no connection within 4 s"));
            }
            Ok(Err(error)) => return Err(unreachable(&failure::root(&error))),
            Ok(Ok(response)) => response,
        };
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let problem = problem(address, response).await;
        if status == StatusCode::GATEWAY_TIMEOUT
            && let Some(Problem { error, hint }) = problem
        {
            return Err(Refusal::Final(Failure::of(Kind::Unknown, error, hint)));
        }
        if status.is_server_error() {
            // Another arbitrator may be able to say.
            return Err(Refusal::Here(refused(address, status, problem)));
        }
        match problem {
            Some(Problem { error, hint }) if matches!(status, StatusCode::NOT_FOUND | StatusCode::CONFLICT) => {
                Err(Refusal::Final(Failure::no(error, hint)))
            }
            problem => Err(Refusal::Final(refused(address, status, problem))),
        }
    }
}

/// Why one address did not do.
enum Refusal {
    /// Another may.
    Here(Failure),
    /// No other would.
    Final(Failure),
}

async fn whole(address: &Address, mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    let read = async {
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > DOCUMENT_BYTES_AT_MOST {
                break;
            }
        }
        Ok::<(), reqwest::Error>(())
    };
    let lost = |reason: &str| Failure::unreachable(format!("failed to read the answer of {address}: {reason}"));
    tokio::time::timeout(ANSWER_AT_MOST, read)
        .await
        .map_err(|_| lost("not whole within 6 s"))?
        .map_err(|error| lost(&failure::root(&error)))?;
    if body.len() > DOCUMENT_BYTES_AT_MOST {
        return Err(Failure::not_understood(format!("the answer of {address} is longer than 128 MiB")));
    }
    Ok(body)
}

async fn problem(address: &Address, response: Response) -> Option<Problem> {
    let body = whole(address, response).await.ok()?;
    serde_json::from_slice(&body).ok()
}

/// An order that got no answer.
fn unknown(address: &Address, reason: &str) -> Failure {
    let hint = "look at 'st2sa status' and 'st2sa history', then ask again: what is done already stays so";
    Failure::of(Kind::Unknown, format!("{address} may have done it, or not: {reason}"), hint.to_owned())
}

fn refused(address: &Address, status: StatusCode, problem: Option<Problem>) -> Failure {
    match problem {
        Some(Problem { error, hint }) => Failure::unexpected(format!("{address} refused: {error}"), hint),
        None => Failure::not_understood(format!("{address} answered {status}, which is no arbitrator's answer")),
    }
}

/// One failure of several, each with its address: an answer says more than none.
fn of_all(mut failures: Vec<Failure>) -> Failure {
    let answered = failures.iter().position(|failure| failure.kind() != Kind::Unreachable);
    if let Some(answered) = answered {
        return failures.swap_remove(answered);
    }
    if failures.len() == 1 {
        return failures.swap_remove(0);
    }
    let each: Vec<&str> = failures.iter().map(Failure::text).collect();
    Failure::unreachable(each.join("\n       "))
}
