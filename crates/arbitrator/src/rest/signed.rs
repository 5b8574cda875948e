//! What is ordered, with who orders it: as they say, and as they have shown to the door.

use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::Response;
use axum::{Json, RequestExt};
use serde::de::DeserializeOwned;
use st2sa_doors::Identity;
use st2sa_proto::rest::{Discard, NewValue, Order, Switch};

use super::{bad_body, problem};

/// Bytes of who orders.
const WHO_BYTES_AT_MOST: usize = 200;

/// A body that was understood, and signed.
pub(super) struct Signed<T>(pub(super) T);

/// What names whoever orders it.
pub(super) trait Ordered: DeserializeOwned {
    fn who(&mut self) -> &mut String;
}

impl Ordered for Order {
    fn who(&mut self) -> &mut String {
        &mut self.who
    }
}

impl Ordered for Switch {
    fn who(&mut self) -> &mut String {
        &mut self.who
    }
}

impl Ordered for NewValue {
    fn who(&mut self) -> &mut String {
        &mut self.who
    }
}

impl Ordered for Discard {
    fn who(&mut self) -> &mut String {
        &mut self.who
    }
}

impl<S: Send + Sync, T: Ordered + 'static> FromRequest<S> for Signed<T> {
    type Rejection = Response;

    async fn from_request(mut request: Request, _: &S) -> Result<Self, Response> {
        let identity = request.extensions_mut().remove::<Identity>();
        let Json(mut ordered) = request.extract::<Json<T>, _>().await.map_err(|error| bad_body(&error))?;
        let who = ordered.who();
        check(who)?;
        if let Some(identity) = identity {
            *who = identity.signs(who);
        }
        Ok(Self(ordered))
    }
}

/// Whoever orders names themselves, for the history: in a few words that are harmless on a terminal.
#[expect(clippy::result_large_err, reason = "an answer, made once a request")]
fn check(who: &str) -> Result<(), Response> {
    if who.trim().is_empty() || who.len() > WHO_BYTES_AT_MOST || who.chars().any(char::is_control) {
        let error = format!("`who` must be 1 to {WHO_BYTES_AT_MOST} bytes without control characters");
        return Err(problem(StatusCode::BAD_REQUEST, error, "say who orders it: you@desk"));
    }
    Ok(())
}
