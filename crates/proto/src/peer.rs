//! What an arbitrator says to another one.

use st2sa_core::message::ToPeer;
use st2sa_core::names::{ArbitratorId, Term};

use crate::checked::{self, Malformed};
use crate::v1;
use crate::v1::from_peer::Message;

/// From an arbitrator to another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromPeer {
    /// Who says it.
    pub from: ArbitratorId,
    /// What.
    pub message: ToPeer,
}

impl FromPeer {
    /// As it goes over the wire.
    pub fn encode(&self) -> v1::FromPeer {
        let message = match &self.message {
            ToPeer::Alive { term } => Message::Alive(v1::Alive { term: term.0 }),
            ToPeer::Elector => Message::Elector(v1::Elector {}),
            ToPeer::Extend { term, ask } => Message::Extend(v1::Extend { term: term.0, ask: *ask }),
            ToPeer::Extended { term, ask } => Message::Extended(v1::Extended { term: term.0, ask: *ask }),
            ToPeer::Stranded { containers } => {
                Message::Stranded(v1::Stranded { containers: u32::try_from(*containers).unwrap_or(u32::MAX) })
            }
        };
        v1::FromPeer { from: self.from.to_string(), message: Some(message) }
    }

    /// From the wire; nothing where a newer arbitrator says what this release does not know.
    ///
    /// # Errors
    /// If who says it is absent, or of a wrong shape.
    pub fn decode(message: &v1::FromPeer) -> Result<Option<Self>, Malformed> {
        let from = ArbitratorId::new(checked::name(&message.from, "from")?);
        let message = match &message.message {
            None => return Ok(None),
            Some(Message::Alive(v1::Alive { term })) => ToPeer::Alive { term: Term(*term) },
            Some(Message::Elector(v1::Elector {})) => ToPeer::Elector,
            Some(Message::Extend(v1::Extend { term, ask })) => ToPeer::Extend { term: Term(*term), ask: *ask },
            Some(Message::Extended(v1::Extended { term, ask })) => ToPeer::Extended { term: Term(*term), ask: *ask },
            Some(Message::Stranded(v1::Stranded { containers })) => {
                ToPeer::Stranded { containers: usize::try_from(*containers).unwrap_or(usize::MAX) }
            }
        };
        Ok(Some(Self { from, message }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard_the_same() {
        let from = ArbitratorId::new("ops-1@10.0.0.1:9110");
        for message in [
            ToPeer::Alive { term: Term(7) },
            ToPeer::Elector,
            ToPeer::Extend { term: Term(7), ask: 3 },
            ToPeer::Extended { term: Term(7), ask: 3 },
            ToPeer::Stranded { containers: 12 },
        ] {
            let said = FromPeer { from: from.clone(), message };
            assert_eq!(FromPeer::decode(&said.encode()), Ok(Some(said)));
        }
    }

    #[test]
    fn nobody_says_nothing_and_what_is_newer_does_no_harm() {
        assert!(FromPeer::decode(&v1::FromPeer::default()).is_err());
        let newer = v1::FromPeer { from: "a@b:1".to_owned(), message: None };
        assert_eq!(FromPeer::decode(&newer), Ok(None));
        let long = v1::FromPeer { from: "a".repeat(513), message: None };
        assert!(FromPeer::decode(&long).is_err());
    }
}
