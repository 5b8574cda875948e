//! What sensors ask for: dispatches, and their datastore.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde_json::{Value, json};
use st2sa_core::engine::Body;
use st2sa_core::names::SensorRef;
use st2sa_stackstorm::packs::Packs;
use tokio::sync::oneshot;

use crate::datastore::Datastore;
use crate::effects::{Dispatch, Effect, ValueWrite};
use crate::input::{Input, Whose};
use crate::notebook::{Notebooks, Seen, Taken};
use crate::wire::{Ask, Call, CallError, Operation};

/// A name or a prefix, in bytes, at the most: what the protocol carries.
const NAME_BYTES_AT_MOST: usize = 512;
/// Values listed at the most.
const LISTED_AT_MOST: usize = 10_000;

/// Answers calls.
#[derive(Clone)]
pub(crate) struct Calls {
    pub(crate) packs: Shelf,
    pub(crate) datastore: Datastore,
    pub(crate) inputs: Sender<Input>,
    pub(crate) counters: Counters,
    pub(crate) notebooks: Notebooks,
    /// Payloads that do not fit their schema are dropped, as StackStorm does by default.
    pub(crate) validate: bool,
}

/// The packs as they were last read.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    packs: Arc<RwLock<Arc<Packs>>>,
}

impl Shelf {
    pub(crate) fn new(packs: Arc<Packs>) -> Self {
        Self { packs: Arc::new(RwLock::new(packs)) }
    }

    pub(crate) fn get(&self) -> Arc<Packs> {
        Arc::clone(&self.packs.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// They were read again.
    pub(crate) fn put(&self, packs: Arc<Packs>) {
        *self.packs.write().unwrap_or_else(PoisonError::into_inner) = packs;
    }
}

/// What was dispatched and dropped, of each sensor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    of: Arc<Mutex<BTreeMap<SensorRef, Arc<Counter>>>>,
}

#[derive(Debug, Default)]
pub(crate) struct Counter {
    pub(crate) triggers: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

impl Counters {
    pub(crate) fn of(&self, sensor: &SensorRef) -> Arc<Counter> {
        let mut all = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(sensor.clone()).or_default())
    }
}

impl Calls {
    /// Answers one call; `None` where nobody waits for it any more.
    pub(crate) async fn answer(&self, whose: Whose, sensor: &SensorRef, call: Call) -> Option<Operation> {
        let (reply, beside) = (call.call, call.beside);
        let result = match call.ask {
            Ask::Dispatch { trigger, payload, trace_context } => {
                self.dispatch((whose, beside), sensor, trigger, payload, trace_context).await
            }
            Ask::Set { encrypt: true, .. } => {
                let why = "encrypted values need StackStorm's own datastore: this one would keep the secret as it is";
                Err(Some(refused("RuntimeError", why.to_owned())))
            }
            Ask::Set { name, value, local, ttl, encrypt: false } => match full_name(sensor, &name, local) {
                Ok(name) => {
                    let ttl_ms = ttl.map(millis);
                    let write = Effect::Write(ValueWrite { name, value: Some(value), ttl_ms });
                    self.act((whose, beside), write).await.map(|()| json!(true))
                }
                Err(error) => Err(Some(error)),
            },
            Ask::Delete { name, local } => match full_name(sensor, &name, local) {
                Ok(name) => {
                    let write = Effect::Write(ValueWrite { name, value: None, ttl_ms: None });
                    self.act((whose, beside), write).await.map(|()| json!(true))
                }
                Err(error) => Err(Some(error)),
            },
            Ask::Get { name, local } => match full_name(sensor, &name, local) {
                Ok(name) => match self.notebooks.see(whose, &name) {
                    Seen::Here(value) => Ok(json!(value)),
                    Seen::Elsewhere => never(self.datastore.get(&name).await).map(|value| json!(value)),
                },
                Err(error) => Err(Some(error)),
            },
            Ask::List { prefix, local, limit } => {
                match full_name(sensor, prefix.as_deref().unwrap_or_default(), local) {
                    Ok(prefix) => {
                        // StackStorm's -1, too, means all that there are.
                        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(LISTED_AT_MOST);
                        let limit = limit.min(LISTED_AT_MOST);
                        let listed = self.datastore.list(&prefix, limit).await;
                        let listed = listed.map(|listed| self.notebooks.see_all(whose, &prefix, listed));
                        let pair = |(name, value)| json!({ "name": name, "value": value });
                        never(listed).map(|listed| Value::Array(listed.into_iter().take(limit).map(pair).collect()))
                    }
                    Err(error) => Err(Some(error)),
                }
            }
        };
        match result {
            Ok(result) => Some(Operation::Result { reply, result }),
            Err(Some(error)) => Some(Operation::Error { reply, error }),
            Err(None) => None,
        }
    }

    async fn dispatch(
        &self,
        whose: (Whose, bool),
        sensor: &SensorRef,
        trigger: Value,
        payload: Value,
        trace_context: Value,
    ) -> Result<Value, Option<CallError>> {
        let counter = self.counters.of(sensor);
        if self.validate
            && let Err(problem) = self.check(&trigger, &payload)
        {
            counter.dropped.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%sensor, %trigger, %problem, "a trigger was dropped: set `validate_trigger_payload = False` to let it pass");
            return Ok(Value::Null);
        }
        let dispatch = Effect::Dispatch(Dispatch { trigger, payload, trace_context });
        self.act(whose, dispatch).await?;
        counter.triggers.fetch_add(1, Ordering::Relaxed);
        Ok(Value::Null)
    }

    /// Whether StackStorm would take the trigger.
    fn check(&self, trigger: &Value, payload: &Value) -> Result<(), String> {
        let packs = self.packs.get();
        let kind = packs.trigger_type_of(trigger).ok_or("no pack declares this trigger's type")?;
        kind.validate(payload)
    }

    /// Writes an effect down for its poll's entry; or has the loop carry it out or commit it, and waits until that is done.
    async fn act(&self, (whose, beside): (Whose, bool), effect: Effect) -> Result<(), Option<CallError>> {
        let (done, confirmed) = oneshot::channel();
        let input = match self.notebooks.act(whose, effect, beside) {
            Taken::Noted => return Ok(()),
            Taken::Refused(problem) => return Err(Some(refused("ValueError", problem))),
            Taken::Alone(effect) => Input::Wrote { whose, effect, done },
            Taken::Direct(effect) => {
                let body =
                    serde_json::to_vec(&effect).map_err(|error| Some(refused("ValueError", error.to_string())))?;
                Input::Effect { whose, body: Body::new(&body), done }
            }
        };
        // Nobody answers when the container stops, or when the process is being killed.
        self.inputs.send(input).map_err(|_| None)?;
        match confirmed.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(problem)) => Err(Some(refused("RuntimeError", problem))),
            Err(_) => Err(None),
        }
    }
}

fn never<T>(answer: Result<T, String>) -> Result<T, Option<CallError>> {
    answer.map_err(|problem| Some(refused("ValueError", problem)))
}

fn refused(kind: &str, message: String) -> CallError {
    CallError { kind: kind.to_owned(), message }
}

/// StackStorm's name of a sensor's own value, or of a shared one.
fn full_name(sensor: &SensorRef, name: &str, local: bool) -> Result<String, CallError> {
    let full = if local { format!("{sensor}:{name}") } else { name.to_owned() };
    if full.len() > NAME_BYTES_AT_MOST {
        let message =
            format!("the name is {} bytes long, its sensor's included: {NAME_BYTES_AT_MOST} are allowed", full.len());
        return Err(refused("ValueError", message));
    }
    Ok(full)
}

/// Seconds of a time to live as milliseconds; a negative one is over at once.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast from a float saturates")]
fn millis(seconds: f64) -> u64 {
    (seconds * 1_000.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_name_is_the_sensors_own() {
        let x = SensorRef::new("p.X");
        assert_eq!(full_name(&x, "cursor", true).unwrap(), "p.X:cursor");
        assert_eq!(full_name(&x, "cursor", false).unwrap(), "cursor");
        assert!(full_name(&x, &"n".repeat(NAME_BYTES_AT_MOST), true).is_err());
    }

    #[test]
    fn times_to_live_never_wrap() {
        assert_eq!((millis(1.5), millis(-1.0), millis(f64::NAN), millis(1e300)), (1_500, 0, 0, u64::MAX));
    }
}
