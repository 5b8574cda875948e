//! Why a request got no answer.

use zookeeper_client::{Error, MultiWriteError};

use crate::codec;

/// What went wrong inside one request.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// No answer within the deadline.
    #[error("there is no answer in time")]
    Late,
    /// The session in which it was asked is over.
    #[error("the session is over")]
    Ended,
    /// The client or the server.
    #[error("ZooKeeper refused it, or the connection failed")]
    Client(#[source] Error),
    /// A value that cannot be read.
    #[error(transparent)]
    Damaged(#[from] codec::Damaged),
    /// A value of the engine's own that cannot be read.
    #[error("the node `{path}` is damaged or gone")]
    Broken {
        /// Where it stands.
        path: String,
    },
    /// What was read had changed when it was to be written, again and again; nothing was written.
    #[error("others kept writing the same, so nothing was written")]
    Contended,
    /// It would not fit into one request; nothing was sent.
    #[error("{what} are more than ZooKeeper takes at once: {limit} at the most")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much of it is taken.
        limit: usize,
    },
}

impl Trouble {
    /// Whether somebody has to do something about it: it will not pass when the store can be reached again.
    pub(super) fn needs_people(&self) -> bool {
        match self {
            Self::Late | Self::Ended | Self::Contended => false,
            Self::Damaged(_) | Self::Broken { .. } | Self::TooLarge { .. } => true,
            Self::Client(error) => matches!(
                error,
                Error::NoAuth
                    | Error::AuthFailed
                    | Error::InvalidAcl
                    | Error::QuotaExceeded
                    | Error::BadArguments(_)
                    | Error::Unimplemented
                    | Error::UnexpectedError(_)
            ),
        }
    }

    /// Whether the client itself is beyond use: its task has ended without a word.
    pub(super) fn is_of_a_broken_client(&self) -> bool {
        matches!(self, Self::Client(Error::UnexpectedError(_)))
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            Error::SessionExpired | Error::ClientClosed => Self::Ended,
            other => Self::Client(other),
        }
    }
}

impl From<MultiWriteError> for Trouble {
    fn from(error: MultiWriteError) -> Self {
        Error::from(error).into()
    }
}
