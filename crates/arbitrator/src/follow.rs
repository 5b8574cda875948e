//! Follows the leader's history as it is made, so that whoever leads next knows it.

use std::sync::mpsc::Sender;
use std::time::Duration;

use futures_util::StreamExt;
use st2sa_core::names::ArbitratorId;
use st2sa_doors::Caller;
use st2sa_proto::rest::{self, HistoryRecord};
use tokio::sync::oneshot;

use crate::chronicle::Chronicle;
use crate::input::Input;

/// Records of before that are asked for at each beginning.
const RECORDS: usize = 2_000;
/// How often it is looked who leads, while nobody is followed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest line of a history: seven short fields.
const LINE_BYTES_AT_MOST: usize = 64 * 1024;
/// The leader sends at least an empty line within this.
const SILENT_AT_MOST: Duration = Duration::from_secs(15);

/// Follows whoever leads, until the arbitrator stops.
pub(crate) async fn follow(inputs: Sender<Input>, chronicle: Chronicle, caller: Caller, me: ArbitratorId) {
    loop {
        let (answer, answered) = oneshot::channel();
        if inputs.send(Input::WhoLeads(answer)).is_err() {
            return;
        }
        let Ok(leads) = answered.await else { return };
        let address = leads.other(&me).and_then(ArbitratorId::address).map(str::to_owned);
        if let Some(address) = address
            && let Err(problem) = read(&address, &chronicle, &caller).await
        {
            tracing::debug!(address, problem, "the leader's history is followed no more");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Reads one leader's history until that ends.
async fn read(address: &str, chronicle: &Chronicle, caller: &Caller) -> Result<(), String> {
    let url = format!("{}://{address}{}?follow=true&limit={RECORDS}", caller.scheme(), rest::HISTORY);
    let answer = caller.sign(caller.http().get(url)).send().await.map_err(|error| error.to_string())?;
    let answer = answer.error_for_status().map_err(|error| error.to_string())?;
    let (mut body, mut line) = (answer.bytes_stream(), Vec::new());
    loop {
        let piece = match tokio::time::timeout(SILENT_AT_MOST, body.next()).await {
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(error))) => return Err(error.to_string()),
            Ok(None) => return Ok(()),
            Err(_) => return Err("it is silent".to_owned()),
        };
        for byte in piece {
            if byte != b'\n' {
                line.push(byte);
                if line.len() > LINE_BYTES_AT_MOST {
                    return Err("a line of it is too long".to_owned());
                }
                continue;
            }
            if let Ok(record) = serde_json::from_slice::<HistoryRecord>(&line) {
                chronicle.add_unless_known(record);
            }
            line.clear();
        }
    }
}
