//! Who may come in over the network, and how they show who they are.
//!
//! A [`Door`] is one port's: it has a certificate, knows whose certificates and tokens it lets in, and says for each request
//! [who](Identity) is there. A [`Caller`] is what a program takes along when it goes to others' doors. Both read their files
//! again when those change: nothing has to be restarted for a renewed certificate, a new token or a revoked one.
//!
//! * TLS 1.3 alone, by rustls with aws-lc-rs. No session is resumed, so each connection is checked in full.
//! * A certificate says in a URI among its names what its holder is: `st2sa://container/web-1?sensors=aws.*`. Whatever issues
//!   certificates can write that; [`authority`] does where there is nothing else.
//! * A token is 256 random bits; the file of a door keeps SHA-256 of it. (A slow hash is for what people can remember; none is
//!   needed for what nobody can guess.)
//!
//! A door without either is open to everybody on this machine and refuses to listen anywhere else.

pub mod authority;
mod caller;
mod door;
mod identity;
mod pem;
mod serve;
pub mod tokens;
mod verifier;

pub use caller::{Bearer, Caller, Keys, Secret};
pub use door::{Door, DoorFiles, Refused};
pub use identity::{Identity, Limits, Role, Via};
pub use serve::{Needs, serve};

/// What cannot be used of what was configured.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// A file that cannot be read or written.
    #[error(transparent)]
    File(#[from] st2sa_machine::files::FileError),
    /// A file with something else in it than it should have.
    #[error("`{}`: {problem}", path.display())]
    Content {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// Options that do not go together.
    #[error("{0}")]
    Options(String),
}

impl DoorError {
    pub(crate) fn content(path: &std::path::Path, problem: impl Into<String>) -> Self {
        Self::Content { path: path.to_owned(), problem: problem.into() }
    }
}
