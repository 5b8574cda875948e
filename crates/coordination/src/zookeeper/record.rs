//! Who leads, and in which term: what the nodes `term` and `leader` hold.

use serde::{Deserialize, Serialize};
use st2sa_core::engine::{LeaderSeen, Token};
use st2sa_core::names::{ArbitratorId, Incarnation, Term};

use super::trouble::Trouble;

/// A term, and the leadership that began it; none before the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TermRecord {
    pub(super) term: Term,
    pub(super) token: Option<Token>,
}

impl TermRecord {
    /// As text.
    pub(super) fn encode(&self) -> Vec<u8> {
        let token = self.token.as_ref().map(|token| TokenText {
            arbitrator: token.arbitrator.as_str().to_owned(),
            incarnation: token.incarnation.0,
            attempt: token.attempt,
        });
        serde_json::json!(Text { term: self.term.0, token }).to_string().into_bytes()
    }

    /// Reads the text of the node at `path`.
    pub(super) fn decode(path: &str, data: &[u8]) -> Result<Self, Trouble> {
        let text: Text = serde_json::from_slice(data).map_err(|_| Trouble::Broken { path: path.to_owned() })?;
        let token = text.token.map(|token| Token {
            arbitrator: ArbitratorId::new(token.arbitrator),
            incarnation: Incarnation(token.incarnation),
            attempt: token.attempt,
        });
        Ok(Self { term: Term(text.term), token })
    }

    /// Whether it is this leadership's.
    pub(super) fn is_of(&self, token: &Token) -> bool {
        self.token.as_ref() == Some(token)
    }

    /// As others see it.
    pub(super) fn seen(&self) -> Option<LeaderSeen> {
        let token = self.token.as_ref()?;
        Some(LeaderSeen { arbitrator: token.arbitrator.clone(), term: self.term })
    }
}

#[derive(Serialize, Deserialize)]
struct Text {
    term: u64,
    token: Option<TokenText>,
}

#[derive(Serialize, Deserialize)]
struct TokenText {
    arbitrator: String,
    incarnation: u64,
    attempt: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_the_same() {
        let token = Token { arbitrator: ArbitratorId::new("a \"b\""), incarnation: Incarnation(u64::MAX), attempt: 7 };
        for token in [None, Some(token)] {
            let record = TermRecord { term: Term(u64::MAX), token };
            assert_eq!(TermRecord::decode("/term", &record.encode()).unwrap(), record);
        }
    }

    #[test]
    fn a_damaged_record_names_its_node() {
        let error = TermRecord::decode("/st2sa/default/term", b"5").unwrap_err();
        assert_eq!(error.to_string(), "the node `/st2sa/default/term` is damaged or gone");
    }
}
