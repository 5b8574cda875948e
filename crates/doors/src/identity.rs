//! Who is there, and what they may do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use st2sa_core::glob;

/// What somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A sensor container: offers sensors under its name.
    Container,
    /// Sees how things are, history and logs.
    Viewer,
    /// Sees, gives orders, reads and writes the datastore.
    Operator,
    /// Another arbitrator: also hands on what operators order.
    Arbitrator,
}

/// How somebody has shown who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// Not at all: they are on this machine, and the door is open.
    Machine,
    /// By a certificate.
    Certificate,
    /// By the token with this id.
    Token(String),
    /// An arbitrator says so, which has shown this token, if it was one.
    Arbitrator(Option<String>),
}

/// What a container may claim and offer: globs, as a shell writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Its name is one of these.
    pub containers: Vec<String>,
    /// The sensors that it may offer.
    pub sensors: Vec<String>,
}

/// Who is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What they are; none where everybody on this machine may do everything.
    pub role: Option<Role>,
    /// Their name, for people.
    pub name: String,
    /// How they have shown it.
    pub via: Via,
    /// What they may claim and offer, if they are a container.
    pub limits: Limits,
    /// When that ends: seconds since 1970.
    pub expires: Option<i64>,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Container, Self::Viewer, Self::Operator, Self::Arbitrator];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Arbitrator => "arbitrator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let role = Self::ALL.into_iter().find(|role| role.as_str() == text);
        role.ok_or_else(|| "a role is `container`, `viewer`, `operator` or `arbitrator`".to_owned())
    }
}

impl Limits {
    /// A container of this name, with whatever sensors it has.
    pub fn of(container: &str) -> Self {
        Self { containers: vec![container.to_owned()], sensors: vec!["*".to_owned()] }
    }

    /// None at all.
    pub fn none() -> Self {
        Self { containers: vec!["*".to_owned()], sensors: vec!["*".to_owned()] }
    }
}

impl Identity {
    /// Somebody on this machine, where the door is open.
    pub fn of_this_machine() -> Self {
        Self { role: None, name: "this machine".to_owned(), via: Via::Machine, limits: Limits::none(), expires: None }
    }

    /// Whether they are one of these.
    pub fn is_one_of(&self, roles: &[Role]) -> bool {
        self.role.is_none_or(|role| roles.contains(&role))
    }

    /// Whether a container that they are may have this name.
    pub fn may_be(&self, container: &str) -> bool {
        self.limits.containers.iter().any(|pattern| glob::fits(pattern, container))
    }

    /// Whether they may offer this sensor.
    pub fn may_offer(&self, sensor: &str) -> bool {
        self.limits.sensors.iter().any(|pattern| glob::fits(pattern, sensor))
    }

    /// How the history names whoever called themselves `who`.
    pub fn signs(&self, who: &str) -> String {
        match self.via {
            Via::Machine => who.to_owned(),
            _ if who == self.name => who.to_owned(),
            _ => format!("{who} ({self})"),
        }
    }

    /// What a certificate's URI says of its holder; `None` where it is none of ours.
    pub(crate) fn from_uri(uri: &str, expires: i64) -> Option<Result<Self, String>> {
        let rest = uri.strip_prefix(SCHEME)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        Some(Self::from_parts(path, query, expires).map_err(|problem| format!("`{uri}`: {problem}")))
    }

    fn from_parts(path: &str, query: &str, expires: i64) -> Result<Self, String> {
        let (role, name) = path.split_once('/').ok_or("it must be st2sa://ROLE/NAME")?;
        let role: Role = role.parse()?;
        if name.is_empty() || name.contains('/') {
            return Err("it must be st2sa://ROLE/NAME".to_owned());
        }
        let mut limits = Limits::of(name);
        if !query.is_empty() {
            let sensors = query.strip_prefix("sensors=").ok_or("all that may follow `?` is sensors=GLOB,GLOB")?;
            limits.sensors = sensors.split(',').map(str::to_owned).collect();
        }
        Ok(Self { role: Some(role), name: name.to_owned(), via: Via::Certificate, limits, expires: Some(expires) })
    }
}

/// What a certificate's URI begins with.
const SCHEME: &str = "st2sa://";

/// Whether a URI says what somebody is.
pub(crate) fn is_ours(uri: &str) -> bool {
    uri.starts_with(SCHEME)
}

/// The URI that says so in a certificate.
pub(crate) fn uri(role: Role, name: &str, sensors: &[String]) -> String {
    let query = if sensors.is_empty() { String::new() } else { format!("?sensors={}", sensors.join(",")) };
    format!("{SCHEME}{role}/{name}{query}")
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.role {
            Some(role) => write!(f, "{role} {}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_says_what_its_holder_may_be_and_offer() {
        let uri = uri(Role::Container, "web-1", &["aws.*".to_owned(), "git.X".to_owned()]);
        assert_eq!(uri, "st2sa://container/web-1?sensors=aws.*,git.X");
        let identity = Identity::from_uri(&uri, 7).unwrap().unwrap();
        assert!(identity.may_be("web-1") && !identity.may_be("web-2"));
        assert!(identity.may_offer("aws.Queue") && identity.may_offer("git.X") && !identity.may_offer("git.Y"));
        assert!(identity.is_one_of(&[Role::Container]) && !identity.is_one_of(&[Role::Operator, Role::Arbitrator]));
        let all = Identity::from_uri("st2sa://container/web-1", 7).unwrap().unwrap();
        assert!(all.may_offer("any.Thing"));
    }

    #[test]
    fn a_uri_of_ours_that_is_wrong_lets_nobody_in() {
        for wrong in ["st2sa://", "st2sa://container", "st2sa://container/", "st2sa://root/a", "st2sa://viewer/a?x=y"] {
            assert!(Identity::from_uri(wrong, 7).unwrap().is_err(), "{wrong}");
        }
        assert!(Identity::from_uri("spiffe://somebody", 7).is_none());
    }

    #[test]
    fn whoever_orders_signs_with_what_they_have_shown() {
        let operator = Identity::from_uri("st2sa://operator/anna", 7).unwrap().unwrap();
        assert_eq!(operator.signs("anna@desk"), "anna@desk (operator anna)");
        assert_eq!(operator.signs("anna"), "anna");
        assert_eq!(Identity::of_this_machine().signs("anna@desk"), "anna@desk");
    }
}
