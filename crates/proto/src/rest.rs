//! The documents that arbitrators answer over HTTP, for people, programs and the command line.
//!
//! A reader ignores fields that it does not know. Enumerations are text, so that a newer arbitrator's word is shown
//! as it is: [`word`] lists those of this release. An age is how long ago something was when the answer was made.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// [`Status`].
pub const STATUS: &str = "/v1/status";

/// A list of [`Sensor`], in the order of their references.
pub const SENSORS: &str = "/v1/sensors";

/// One [`Sensor`].
pub const SENSOR: &str = "/v1/sensors/{ref}";

/// [`LogLine`]s of one sensor, oldest first: [`NDJSON`], a blank line now and then to say that it still goes on.
///
/// Query: `lines` (how many of those that are kept), `follow=true` (those to come, too).
pub const LOGS: &str = "/v1/sensors/{ref}/logs";

/// A list of [`Container`], in the order of their names.
pub const CONTAINERS: &str = "/v1/containers";

/// A list of [`HistoryRecord`], oldest first.
///
/// Query: `sensor` (of this one alone), `limit` (the newest so many), `follow=true` (as [`NDJSON`], those to come, too;
/// a blank line now and then to say that it still goes on).
pub const HISTORY: &str = "/v1/history";

/// A [`Plan`].
///
/// Query: at most one of `drain`, `lose` and `join`, each with a container's name: what would be if that were so.
pub const PLAN: &str = "/v1/plan";

/// A [`Why`].
pub const WHY: &str = "/v1/sensors/{ref}/why";

/// POST an [`Order`] with `to`: moves a sensor to that container. Answered by an [`Outcome`], as all orders are.
pub const MOVE: &str = "/v1/sensors/{ref}/move";

/// POST an [`Order`]: moves a sensor to where it would go if it failed where it is.
pub const FAILOVER: &str = "/v1/sensors/{ref}/failover";

/// POST an [`Order`]: has a polling sensor poll now.
pub const POLL: &str = "/v1/sensors/{ref}/poll";

/// POST an [`Order`]: forgets where a sensor failed, so that it is tried again now.
pub const RETRY: &str = "/v1/sensors/{ref}/retry";

/// GET: the entries of a sensor's journal that are not applied yet, an array of [`Entry`].
pub const EFFECTS: &str = "/v1/sensors/{ref}/effects";

/// POST [`Discard`]: takes one of them out.
pub const DISCARD: &str = "/v1/sensors/{ref}/effects/discard";

/// POST an [`Order`]: keeps a sensor from running until it is resumed.
pub const PAUSE: &str = "/v1/sensors/{ref}/pause";

/// POST an [`Order`]: lets a paused sensor run again.
pub const RESUME: &str = "/v1/sensors/{ref}/resume";

/// POST an [`Order`]: pauses every sensor that there is now.
pub const PAUSE_ALL: &str = "/v1/pause";

/// POST an [`Order`]: resumes every paused sensor.
pub const RESUME_ALL: &str = "/v1/resume";

/// POST an [`Order`]: moves away from a container what can run elsewhere, and gives it nothing new.
pub const DRAIN: &str = "/v1/containers/{ref}/drain";

/// POST an [`Order`]: uses a container again.
pub const UNDRAIN: &str = "/v1/containers/{ref}/undrain";

/// POST an [`Order`]: a lost container will not come back; it is not shown any more.
pub const FORGET: &str = "/v1/containers/{ref}/forget";

/// POST a [`Switch`]: turns fail-safe on or off, for every arbitrator that shares the store.
pub const FAIL_SAFE: &str = "/v1/fail-safe";

/// A list of [`Value`]s, in the order of their names: the sensors' datastore.
///
/// Query: `prefix` (names that begin so), `after` (names behind this one), `limit` (so many; at most, and unless said
/// otherwise, 1,000).
pub const DATASTORE: &str = "/v1/datastore";

/// One [`Value`]: GET it; PUT a [`NewValue`], DELETE with an [`Order`], both answered by an [`Outcome`].
///
/// A sensor's own value is named `pack.ClassName:name`, a shared one `name`.
pub const VALUE: &str = "/v1/datastore/{ref}";

/// The media type of what goes on: one JSON object a line.
pub const NDJSON: &str = "application/x-ndjson";

/// The words of the documents' text fields.
pub mod word {
    /// Of [`super::Sensor::kind`].
    pub const POLLING: &str = "polling";
    /// Of [`super::Sensor::kind`].
    pub const PASSIVE: &str = "passive";
    /// Of [`super::Sensor::status`] and [`super::Instance::status`].
    pub const ACTIVE: &str = "ACTIVE";
    /// Of [`super::Sensor::status`] and [`super::Instance::status`].
    pub const STANDBY: &str = "STANDBY";
    /// Of [`super::Sensor::status`] and [`super::Instance::status`].
    pub const PAUSED: &str = "PAUSED";
    /// Of [`super::Container::state`].
    pub const UP: &str = "up";
    /// Of [`super::Container::state`].
    pub const DRAINING: &str = "draining";
    /// Of [`super::Container::state`].
    pub const LOST: &str = "lost";
    /// Of [`super::Status::role`].
    pub const LEADER: &str = "leader";
    /// Of [`super::Status::role`]; an arbitrator's, not an instance's.
    pub const STANDS_BY: &str = "standby";
    /// Of [`super::Status::store`].
    pub const THERE: &str = "there";
    /// Of [`super::Status::store`].
    pub const AWAY: &str = "away";
    /// Of [`super::Status::store`].
    pub const EXTENDED: &str = "extended";
    /// Of [`super::LogLine::stream`].
    pub const STDOUT: &str = "stdout";
    /// Of [`super::LogLine::stream`].
    pub const STDERR: &str = "stderr";
    /// Of [`super::LogLine::stream`]: what the sensor logs by StackStorm's own logger.
    pub const LOG: &str = "log";
}

/// A sensor, with all its instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sensor {
    /// `pack.ClassName`.
    #[serde(rename = "ref")]
    pub reference: String,
    /// `polling` or `passive`.
    pub kind: String,
    /// `ACTIVE`, `STANDBY` (no instance is ACTIVE, though one should be) or `PAUSED`.
    pub status: String,
    /// The container of the ACTIVE instance.
    pub active: Option<String>,
    /// The newest fence given, "term.n".
    pub fence: Option<String>,
    /// Who paused it, if anybody did.
    #[serde(default)]
    pub paused: Option<Intent>,
    /// Whether somebody should look at it: it should be ACTIVE somewhere and is nowhere, or its ACTIVE instance fails.
    #[serde(default)]
    pub failing: bool,
    /// How its effects go out: `journal`, `direct`; empty where nobody offers it.
    #[serde(default)]
    pub effects: String,
    /// Why so, as a sentence's end.
    #[serde(default)]
    pub effects_why: String,
    /// In the order of their containers' names.
    pub instances: Vec<Instance>,
}

/// An entry of a sensor's journal that is not applied yet: what one of its polls did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its id: 32 hexadecimal digits. Its triggers have this id, plus their number.
    pub id: String,
    /// Its number.
    pub sequence: u64,
    /// The fence under which its poll returned, "term.n".
    pub fence: String,
    /// It is only a part of one that was never finished: nothing of it goes out.
    #[serde(default)]
    pub unfinished: bool,
    /// What it does: objects with `dispatch` (`trigger`, `payload`, `trace_context`) or `write` (`name`, `value`, `ttl_ms`).
    pub effects: Vec<serde_json::Value>,
}

/// Discards an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discard {
    /// Who orders it.
    pub who: String,
    /// Which entry.
    pub id: String,
}

/// Who wanted something to be so, until somebody says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Who, as they named themselves.
    pub who: String,
    /// When: RFC 3339, UTC, with milliseconds.
    pub at: String,
}

/// One container's copy of a sensor. Counts are since the container started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The container's name.
    pub container: String,
    /// `ACTIVE`, `STANDBY` or `PAUSED`.
    pub status: String,
    /// What it says that it is doing: `starting`, `ready`, `running`, `draining`, `frozen`, `backoff`, `failed`,
    /// `stopped`.
    pub state: String,
    /// Its process id on the container's machine.
    pub pid: Option<u32>,
    /// Polls.
    pub polls: u64,
    /// Polls that raised, and processes that died.
    pub errors: u64,
    /// How long ago its last poll began, in milliseconds.
    pub last_poll_ms_ago: Option<u64>,
    /// How long its last poll took, in milliseconds.
    pub last_poll_duration_ms: Option<u64>,
    /// Triggers dispatched.
    pub triggers: u64,
    /// Triggers dropped: their payloads do not fit the schema of their trigger type.
    #[serde(default)]
    pub dropped: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// How long ago that was, in milliseconds; not known of what went wrong before the arbitrator looked.
    #[serde(default)]
    pub last_error_ms_ago: Option<u64>,
    /// Whether it fails here: it cannot be loaded, or it went wrong and has not gone well since.
    #[serde(default)]
    pub failing: bool,
}

/// A sensor container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its process id; zero where it is not known.
    pub pid: u32,
    /// `up`, `draining` or `lost`.
    pub state: String,
    /// How many sensors are ACTIVE on it.
    pub sensors_active: u64,
    /// How long ago its last heartbeat came, in milliseconds.
    pub last_heartbeat_ms_ago: Option<u64>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Who drained it, if anybody did.
    #[serde(default)]
    pub drained: Option<Intent>,
}

/// One change of one sensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRecord {
    /// When: RFC 3339, UTC, with milliseconds.
    pub at: String,
    /// The sensor's reference.
    pub sensor: String,
    /// The container on which it was ACTIVE before.
    pub from: Option<String>,
    /// The container on which it is ACTIVE from then on.
    pub to: Option<String>,
    /// The fence given, or the one that ended, "term.n".
    pub fence: String,
    /// Why.
    pub cause: String,
    /// Who wanted it.
    pub who: String,
}

/// How the whole is, as one arbitrator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The id of the arbitrator that answers.
    pub arbitrator: String,
    /// Its role: `leader` or `standby`.
    pub role: String,
    /// What it is busy with.
    pub phase: String,
    /// The highest term that it knows of.
    pub term: u64,
    /// The leader's id.
    pub leader: Option<String>,
    /// The release of the arbitrator that answers.
    pub version: String,
    /// For how long it has been running, in milliseconds.
    pub uptime_ms: u64,
    /// The sensors, counted.
    pub sensors: SensorCounts,
    /// The containers, counted.
    pub containers: ContainerCounts,
    /// What somebody should look at.
    pub alarms: Vec<String>,
    /// The store that arbitrators share, or an arbitrator's own: `etcd at 10.0.0.1:2379`.
    #[serde(default)]
    pub engine: String,
    /// How the leadership stands with the store: `there`, `away`, `extended` (by the word of every other elector), or
    /// empty where nobody leads.
    #[serde(default)]
    pub store: String,
    /// The arbitrators that may campaign, as the leader knows them.
    #[serde(default)]
    pub electors: Vec<String>,
    /// Whether a leadership may be extended while the store is away.
    #[serde(default)]
    pub fail_safe: bool,
}

/// Sensors, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SensorCounts {
    /// All.
    pub total: u64,
    /// Those with an ACTIVE instance.
    pub active: u64,
    /// Those that an operator paused.
    pub paused: u64,
    /// Those that should be ACTIVE somewhere and are not.
    pub waiting: u64,
    /// Those that somebody should look at: all that are waiting, and those whose ACTIVE instance fails.
    pub failing: u64,
}

/// Containers, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerCounts {
    /// Those that are there.
    pub up: u64,
    /// Those that hand everything over.
    pub draining: u64,
    /// Those that are in the register and are not there.
    pub lost: u64,
}

/// What would be done with each sensor, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What was supposed, in words; `as things are`, where nothing was.
    pub supposed: String,
    /// Every sensor, in the order of their references.
    pub sensors: Vec<Placement>,
}

/// Where one sensor would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// `pack.ClassName`.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The container on which it is ACTIVE.
    pub from: Option<String>,
    /// The container on which it would be.
    pub to: Option<String>,
    /// The rule that decided, as a sentence that begins with what happens to the sensor: "stays on node-1".
    pub why: String,
}

/// Why a sensor is where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// `pack.ClassName`.
    #[serde(rename = "ref")]
    pub reference: String,
    /// One sentence.
    pub why: String,
    /// Each container, in the order of their names.
    pub containers: Vec<Candidate>,
    /// Its newest changes, oldest first.
    pub history: Vec<HistoryRecord>,
}

/// A container, as far as one sensor is concerned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The container's name.
    pub container: String,
    /// What stands against it, if anything does.
    pub against: Option<String>,
    /// What went wrong last there with the sensor.
    #[serde(default)]
    pub last_error: Option<String>,
}

/// What an operator wants done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Who, for the history: `anne@desk`.
    pub who: String,
    /// Where to, of a move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What is to be on, or off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// Who wants it so, for the log: `anne@desk`.
    pub who: String,
    /// On, or off.
    pub on: bool,
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// What is so now, or under way, as a sentence.
    pub done: String,
    /// What is being moved because of it.
    pub moves: Vec<Placement>,
    /// What would have to move and cannot: of a drain.
    pub stays: Vec<Placement>,
}

/// A value of the sensors' datastore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    /// Its whole name.
    pub name: String,
    /// The value.
    pub value: String,
    /// How much longer it lasts, in milliseconds; for ever, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
}

/// A value to be stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewValue {
    /// Who stores it.
    pub who: String,
    /// The value.
    pub value: String,
    /// How long it lasts, in milliseconds; for ever, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
}

/// A line that a sensor wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When: RFC 3339, UTC, with milliseconds.
    pub at: String,
    /// The container whose instance wrote it.
    pub container: String,
    /// The sensor's reference.
    pub sensor: String,
    /// `stdout`, `stderr` or `log`.
    pub stream: String,
    /// The level, of a `log` line.
    pub level: Option<String>,
    /// The line.
    pub text: String,
}

/// The body of every answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What failed.
    pub error: String,
    /// What to do about it.
    pub hint: Option<String>,
}
