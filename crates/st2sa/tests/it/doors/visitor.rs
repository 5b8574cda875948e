//! Somebody who comes to a door, with what they show.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use st2sa_doors::{Caller, Keys};
use tokio::runtime::Runtime;

/// Nobody is waited for longer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

pub(crate) struct Visitor {
    pub(crate) runtime: Runtime,
    pub(crate) caller: Caller,
    /// Whether they go to containers' doors.
    pub(crate) to_containers: Cell<bool>,
}

impl Visitor {
    pub(crate) fn new(keys: Keys) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, caller: Caller::new(keys).unwrap(), to_containers: Cell::new(false) }
    }

    /// The status and the text; the status is 0 where no answer comes.
    pub(crate) fn get(&self, at: SocketAddr, path: &str) -> (u16, String) {
        self.ask(|http, scheme| http.get(format!("{scheme}://{at}{path}")))
    }

    /// A document, if that is the answer.
    pub(crate) fn json(&self, at: SocketAddr, path: &str) -> Option<Value> {
        let (status, text) = self.get(at, path);
        (status == 200).then(|| serde_json::from_str(&text).ok())?
    }

    /// Gives an order.
    pub(crate) fn order(&self, at: SocketAddr, path: &str) -> (u16, String) {
        self.ask(|http, scheme| http.post(format!("{scheme}://{at}{path}")).json(&json!({ "who": "anna@desk" })))
    }

    /// Asks whatever.
    pub(crate) fn ask(&self, request: impl FnOnce(reqwest::Client, &str) -> reqwest::RequestBuilder) -> (u16, String) {
        let to_containers = self.to_containers.get();
        let http = if to_containers { self.caller.http_to_containers() } else { self.caller.http() };
        let request = self.caller.sign(request(http, self.caller.scheme())).timeout(ANSWERED_WITHIN);
        self.runtime.block_on(async {
            match request.send().await {
                Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
                Err(error) => (0, error.to_string()),
            }
        })
    }
}
