//! One port's door: its certificate, whom it lets in, and the look at each request.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use axum::extract::Request;
use axum::http::{HeaderName, header};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{self, ServerConfig};

use crate::identity::{Identity, Limits, Role, Via};
use crate::tokens::{self, Tokens};
use crate::{DoorError, authority, pem};

/// For whom an arbitrator hands a request on: `operator/anna`. Nobody else is believed that.
pub(crate) const ON_BEHALF: HeaderName = HeaderName::from_static("x-st2sa-on-behalf-of");
/// How often it is looked whether a file has changed: a token that is revoked is of use for no longer.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Seconds.
const DAY: i64 = 24 * 60 * 60;
/// Days before the end of a certificate from which on it is an alarm: two weeks are enough to find whoever renews it.
const WARNED_DAYS: i64 = 14;

/// The files of a door.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DoorFiles {
    /// Its certificate, and those between that and the authority's: PEM.
    pub certificate: Option<PathBuf>,
    /// The certificate's key: PEM.
    pub key: Option<PathBuf>,
    /// The authority whose certificates let their holders in: PEM.
    pub authority: Option<PathBuf>,
    /// The tokens that let their holders in.
    pub tokens: Option<PathBuf>,
}

/// One port's door.
#[derive(Debug)]
pub struct Door {
    files: DoorFiles,
    inner: RwLock<Arc<Inner>>,
    /// Refusals since the last one that was said, and when that was: whoever knocks for ever fills no log.
    refused: AtomicU64,
    said: AtomicI64,
    unusable: AtomicBool,
}

#[derive(Debug)]
struct Inner {
    tls: Option<Arc<ServerConfig>>,
    tokens: Option<Tokens>,
    /// When the certificate ends: seconds since 1970.
    ends: Option<i64>,
    stamps: Vec<Stamp>,
}

/// A file as it was when it was read.
type Stamp = Option<(SystemTime, u64)>;

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// They have not shown who they are, or not so that it counts.
    Unknown(String),
    /// It is known who they are; they may not do this.
    NotTheirs(String),
}

impl Door {
    /// A door for a port. Without a certificate it opens to this machine alone.
    ///
    /// # Errors
    /// When others could reach the port and it has neither TLS nor anything to know them by; when files are missing or wrong.
    pub fn open(files: DoorFiles, listen: SocketAddr) -> Result<Self, DoorError> {
        files.check(listen)?;
        let inner = Inner::read(&files)?;
        let inner = RwLock::new(Arc::new(inner));
        Ok(Self { files, inner, refused: AtomicU64::new(0), said: AtomicI64::new(0), unusable: AtomicBool::new(false) })
    }

    /// Whether TLS is spoken here.
    pub fn has_tls(&self) -> bool {
        self.files.certificate.is_some()
    }

    /// Whether whoever comes must show who they are.
    pub fn is_locked(&self) -> bool {
        self.has_tls() || self.files.tokens.is_some()
    }

    /// Reads the files again whenever one has changed, until the task is dropped. A wrong one changes nothing, and is said.
    pub async fn keep_up_to_date(self: Arc<Self>) {
        if !self.is_locked() {
            return;
        }
        let mut tried = self.inner().stamps.clone();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let stamps = stamps(&self.files);
            if stamps == tried {
                continue;
            }
            tried = stamps;
            let read = Inner::read(&self.files);
            self.unusable.store(read.is_err(), Ordering::Relaxed);
            match read {
                Ok(inner) => {
                    *self.inner.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(inner);
                    tracing::info!("certificates and tokens were read again");
                }
                Err(error) => {
                    tracing::error!(%error, "certificates and tokens have changed, and cannot be used: the old ones stay");
                }
            }
        }
    }

    /// What is wrong, or will be soon, for people.
    pub fn alarms(&self) -> Vec<String> {
        let mut alarms = Vec::new();
        if self.unusable.load(Ordering::Relaxed) {
            alarms.push("certificates or tokens have changed, and cannot be used: the old ones still count".to_owned());
        }
        let left = self.inner().ends.map(|ends| ends - tokens::now());
        match left {
            Some(left) if left <= 0 => alarms.push("the certificate has expired: nobody trusts it any more".to_owned()),
            Some(left) if left < WARNED_DAYS * DAY => {
                alarms.push(format!("the certificate expires in {} days: renew it", left / DAY));
            }
            _ => {}
        }
        alarms
    }

    /// How TLS is spoken now.
    pub(crate) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.inner().tls.clone()
    }

    /// Who sent a request.
    ///
    /// # Errors
    /// When they have not shown it.
    pub fn identify(&self, request: &Request) -> Result<Identity, Refused> {
        if !self.is_locked() {
            return Ok(Identity::of_this_machine());
        }
        let shown = self.shown(request).map_err(Refused::Unknown)?;
        let Some(behalf) = request.headers().get(ON_BEHALF) else { return Ok(shown) };
        let theirs = behalf.to_str().ok().and_then(|behalf| behalf.split_once('/'));
        let theirs = theirs.and_then(|(role, name)| Some((role.parse::<Role>().ok()?, name)));
        match theirs {
            Some((role, name)) if shown.role == Some(Role::Arbitrator) => {
                let token = match &shown.via {
                    Via::Token(id) => Some(id.clone()),
                    _ => None,
                };
                let (name, via) = (name.to_owned(), Via::Arbitrator(token));
                Ok(Identity { role: Some(role), name, via, limits: Limits::none(), expires: shown.expires })
            }
            _ => Err(Refused::NotTheirs("only arbitrators speak on behalf of others".to_owned())),
        }
    }

    /// Whether they would still be let in: their certificate or token may have expired, or the token been revoked.
    pub fn still_knows(&self, identity: &Identity) -> bool {
        let expired = identity.expires.is_some_and(|expires| tokens::now() >= expires);
        let known = match &identity.via {
            Via::Token(id) | Via::Arbitrator(Some(id)) => {
                self.inner().tokens.as_ref().is_some_and(|tokens| tokens.has(id))
            }
            Via::Machine | Via::Certificate | Via::Arbitrator(None) => true,
        };
        known && !expired
    }

    /// Says in the log that somebody was not let in, though not each time.
    pub(crate) fn note_refusal(&self, from: Option<SocketAddr>, why: &str) {
        let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        let (now, said) = (tokens::now(), self.said.load(Ordering::Relaxed));
        if now > said && self.said.compare_exchange(said, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let from = from.map(|from| from.to_string()).unwrap_or_default();
            tracing::warn!(from, why, refused, "somebody was not let in");
        }
    }

    fn shown(&self, request: &Request) -> Result<Identity, String> {
        let inner = self.inner();
        if let Some(value) = request.headers().get(header::AUTHORIZATION) {
            let Some(tokens) = &inner.tokens else { return Err("no tokens are taken here".to_owned()) };
            let text = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
            let text = text.ok_or("what was shown is no token: `Authorization: Bearer TOKEN` is wanted")?;
            return tokens.find(text.trim(), tokens::now()).map_err(str::to_owned);
        }
        let certificate = request.extensions().get::<Connection>().and_then(|connection| connection.holder.clone());
        match certificate {
            Some(holder) => {
                let holder = holder.map_err(|problem| format!("the certificate is of no use here: {problem}"))?;
                if self.still_knows(&holder) { Ok(holder) } else { Err("the certificate has expired".to_owned()) }
            }
            None if inner.tokens.is_some() => Err("neither a certificate nor a token was shown".to_owned()),
            None => Err("no certificate was shown".to_owned()),
        }
    }

    fn inner(&self) -> Arc<Inner> {
        Arc::clone(&self.inner.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is known of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) from: SocketAddr,
    /// Who the client's certificate says is there, if one was shown.
    pub(crate) holder: Option<Result<Identity, String>>,
    /// Somebody has been let in on it.
    pub(crate) entered: Arc<AtomicBool>,
}

impl Inner {
    fn read(files: &DoorFiles) -> Result<Self, DoorError> {
        // Before they are read: what changes meanwhile is read again.
        let stamps = stamps(files);
        let tokens = files.tokens.as_deref().map(Tokens::read).transpose()?;
        let (tls, ends) = match (&files.certificate, &files.key) {
            (Some(certificate), Some(key)) => {
                let shown = pem::certificates(certificate)?;
                let ends = shown.first().and_then(|certificate| authority::ends(certificate));
                (Some(tls(certificate, shown, key, files)?), ends)
            }
            _ => (None, None),
        };
        Ok(Self { tls, tokens, ends, stamps })
    }
}

fn tls(
    certificate: &Path,
    shown: Vec<CertificateDer<'static>>,
    key: &Path,
    files: &DoorFiles,
) -> Result<Arc<ServerConfig>, DoorError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let unusable = |error: rustls::Error| DoorError::content(certificate, error.to_string());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?;
    let builder = match &files.authority {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(pem::authorities(path)?), provider);
            // With tokens, a certificate is one way of two.
            let verifier = if files.tokens.is_some() { verifier.allow_unauthenticated() } else { verifier };
            builder.with_client_cert_verifier(
                verifier.build().map_err(|error| DoorError::content(path, error.to_string()))?,
            )
        }
    };
    let mut config = builder.with_single_cert(shown, pem::key(key)?).map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A session that is resumed would not be looked at again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Who holds the certificate that a client has shown, and the handshake has verified.
pub(crate) fn holder(connection: &rustls::ServerConnection) -> Option<Result<Identity, String>> {
    let certificate = connection.peer_certificates()?.first()?;
    Some(authority::holder(certificate))
}

impl DoorFiles {
    /// Whether these go together, and suffice for a port there. They are not read.
    ///
    /// # Errors
    /// When they do not, with what is missing.
    pub fn check(&self, listen: SocketAddr) -> Result<(), DoorError> {
        check(self, listen)
    }
}

fn check(files: &DoorFiles, listen: SocketAddr) -> Result<(), DoorError> {
    let wrong = |problem: &str| Err(DoorError::Options(problem.to_owned()));
    match (&files.certificate, &files.key) {
        (Some(_), None) => return wrong("`tls_cert_file` needs its `tls_key_file`"),
        (None, Some(_)) => return wrong("`tls_key_file` needs its `tls_cert_file`"),
        _ => {}
    }
    let known = files.authority.is_some() || files.tokens.is_some();
    if files.certificate.is_some() && !known {
        return wrong(
            "TLS alone lets everybody in: `tls_ca_file` names whose certificates count, `tokens_file` the tokens",
        );
    }
    if listen.ip().is_loopback() || (files.certificate.is_some() && known) {
        return Ok(());
    }
    let problem = format!(
        "to listen at {listen}, which others can reach, it needs `tls_cert_file` and `tls_key_file`, and `tls_ca_file` or \
         `tokens_file` to know others by (`st2sa certificate --help` and `st2sa token --help` make them); loopback, \
         127.0.0.1 and ::1, needs none"
    );
    Err(DoorError::Options(problem))
}

fn stamps(files: &DoorFiles) -> Vec<Stamp> {
    let DoorFiles { certificate, key, authority, tokens } = files;
    [certificate, key, authority, tokens].into_iter().map(|path| path.as_deref().and_then(stamp)).collect()
}

pub(crate) fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
