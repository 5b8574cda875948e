//! What a program takes along when it goes to others' doors: whom it trusts, and how it shows who it is.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::http::{HeaderValue, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::door::{ON_BEHALF, stamp};
use crate::identity::{Identity, Role};
use crate::verifier;
use crate::{DoorError, pem};

/// A connection for gRPC on which no ping is answered within this is given up, and made anew when it is next needed. Without, one
/// whose network was away for a minute would be waited for by TCP for up to another minute once the network is back.
const PING_EVERY: Duration = Duration::from_secs(2);
const PONG_WITHIN: Duration = Duration::from_secs(2);

/// Where keys are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Whether doors are expected to speak TLS.
    pub tls: bool,
    /// Whose certificates are trusted; those that the system trusts, if not given.
    pub authority: Option<PathBuf>,
    /// The own certificate: PEM.
    pub certificate: Option<PathBuf>,
    /// Its key: PEM.
    pub key: Option<PathBuf>,
    /// The own token.
    pub token: Option<PathBuf>,
    /// The own token itself, where it is in no file.
    pub token_text: Option<Secret>,
}

/// A text that nobody logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// Goes to others' doors. Its copies share what was read; files that have changed are read again with the next connection.
#[derive(Clone, Debug)]
pub struct Caller {
    keys: Arc<Keys>,
    read: Arc<RwLock<Read>>,
}

#[derive(Clone, Debug)]
struct Read {
    tls: Option<Arc<ClientConfig>>,
    token: Option<HeaderValue>,
    http: reqwest::Client,
    /// The same for containers' doors.
    http_to_containers: reqwest::Client,
    stamps: Vec<Option<(std::time::SystemTime, u64)>>,
}

impl Caller {
    /// Reads the keys.
    ///
    /// # Errors
    /// When they are missing, or wrong.
    pub fn new(keys: Keys) -> Result<Self, DoorError> {
        let read = Read::of(&keys)?;
        Ok(Self { keys: Arc::new(keys), read: Arc::new(RwLock::new(read)) })
    }

    /// What an address begins with.
    pub fn scheme(&self) -> &'static str {
        if self.keys.tls { "https" } else { "http" }
    }

    /// A client for what containers answer. They are shown the certificate, and never the token: whoever is one would have it.
    pub fn http_to_containers(&self) -> reqwest::Client {
        self.fresh().http_to_containers
    }

    /// A client for arbitrators' REST; every request of it should be [signed](Caller::sign).
    pub fn http(&self) -> reqwest::Client {
        self.fresh().http
    }

    /// What such a client is made of, to set its times.
    ///
    /// # Errors
    /// When TLS cannot be spoken as it should.
    pub fn http_builder(&self) -> Result<reqwest::ClientBuilder, DoorError> {
        http(self.fresh().tls.as_deref())
    }

    /// Adds the token, if there is one.
    pub fn sign(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match self.fresh().token {
            Some(token) => request.header(header::AUTHORIZATION, token),
            None => request,
        }
    }

    /// The same on behalf of somebody who was let in here.
    pub fn sign_for(&self, request: reqwest::RequestBuilder, whom: &Identity) -> reqwest::RequestBuilder {
        let request = self.sign(request);
        match whom.role {
            Some(role) => request.header(ON_BEHALF, format!("{role}/{}", whom.name)),
            None => request,
        }
    }

    /// What adds the token to requests over gRPC.
    pub fn bearer(&self) -> Bearer {
        Bearer(self.clone())
    }

    /// Connects to `host:port` for gRPC.
    ///
    /// # Errors
    /// When there is no such address, nobody answers within the time, or the other is not trusted.
    pub async fn connect(&self, address: &str, within: Duration) -> Result<Channel, String> {
        let endpoint = endpoint(address)?;
        let connected = endpoint.connect_with_connector(self.connector(address, within)).await;
        connected.map_err(|error| chain(&error))
    }

    /// A connection to `host:port` for gRPC that is made when it is needed, and again when it is lost.
    ///
    /// # Errors
    /// When that is no address.
    pub fn connect_lazily(&self, address: &str, within: Duration) -> Result<Channel, String> {
        Ok(endpoint(address)?.connect_with_connector_lazy(self.connector(address, within)))
    }

    fn connector(
        &self,
        address: &str,
        within: Duration,
    ) -> impl tower::Service<Uri, Response = TokioIo<Box<dyn Duplex>>, Error = std::io::Error, Future: Send> + Send + use<>
    {
        let (caller, address) = (self.clone(), address.to_owned());
        tower::service_fn(move |_: Uri| {
            let (caller, address) = (caller.clone(), address.clone());
            async move {
                let connected = tokio::time::timeout(within, caller.dial(&address)).await;
                connected
                    .map_err(|_| std::io::Error::new(std::io::ErrorKind::TimedOut, "no connection in time"))?
                    .map(TokioIo::new)
            }
        })
    }

    async fn dial(&self, address: &str) -> std::io::Result<Box<dyn Duplex>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let Some(config) = self.fresh().tls else { return Ok(Box::new(stream)) };
        let mut config = ClientConfig::clone(&config);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(std::io::Error::other)?;
        Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
    }

    fn fresh(&self) -> Read {
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner).clone();
        // Before they are read: what changes meanwhile is read again.
        let stamps = stamps(&self.keys);
        if read.stamps == stamps {
            return read;
        }
        match Read::of(&self.keys) {
            Ok(again) => {
                *self.read.write().unwrap_or_else(PoisonError::into_inner) = again.clone();
                again
            }
            Err(error) => {
                tracing::error!(%error, "the own certificate or token has changed, and cannot be used: the old one stays");
                let mut kept = self.read.write().unwrap_or_else(PoisonError::into_inner);
                kept.stamps = stamps;
                kept.clone()
            }
        }
    }
}

/// Adds the token, if there is one.
#[derive(Clone, Debug)]
pub struct Bearer(Caller);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        if let Some(token) = self.0.fresh().token
            && let Ok(value) = MetadataValue::try_from(token.as_bytes())
        {
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Read {
    fn of(keys: &Keys) -> Result<Self, DoorError> {
        let stamps = stamps(keys);
        let tls = keys.tls.then(|| tls(keys, Role::Arbitrator)).transpose()?;
        let tls_to_containers = keys.tls.then(|| self::tls(keys, Role::Container)).transpose()?;
        let token = match (&keys.token, &keys.token_text) {
            (Some(path), _) => {
                let token = bearer(pem::text(path)?.trim());
                Some(token.ok_or_else(|| DoorError::content(path, "there is no token in it"))?)
            }
            (None, Some(Secret(text))) => {
                let wrong = || DoorError::Options("what was given as a token is none".to_owned());
                Some(bearer(text.trim()).ok_or_else(wrong)?)
            }
            (None, None) => None,
        };
        let built = |tls: Option<&ClientConfig>| {
            let failed = |error| DoorError::Options(format!("no client for HTTP can be made: {error}"));
            http(tls)?.build().map_err(failed)
        };
        let (http, http_to_containers) = (built(tls.as_deref())?, built(tls_to_containers.as_deref())?);
        Ok(Self { tls, token, http, http_to_containers, stamps })
    }
}

fn http(tls: Option<&ClientConfig>) -> Result<reqwest::ClientBuilder, DoorError> {
    // Without TLS nobody needs to be trusted, and the system's authorities need not be read.
    let trusted = match tls {
        Some(tls) => ClientConfig::clone(tls),
        None => config(RootCertStore::empty())?.with_no_client_auth(),
    };
    let builder = reqwest::Client::builder().tls_backend_preconfigured(trusted);
    // Whoever is asked has no business to send anybody elsewhere.
    Ok(builder.redirect(reqwest::redirect::Policy::none()))
}

fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok().filter(|_| !token.is_empty())?;
    value.set_sensitive(true);
    Some(value)
}

/// For the doors of those who are this.
fn tls(keys: &Keys, role: Role) -> Result<Arc<ClientConfig>, DoorError> {
    let roots = if let Some(path) = &keys.authority {
        pem::authorities(path)?
    } else {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    };
    let keys_roots = roots.clone();
    let builder = config(roots)?;
    let config = match (&keys.certificate, &keys.key) {
        (Some(certificate), Some(key)) => builder
            .with_client_auth_cert(pem::certificates(certificate)?, pem::key(key)?)
            .map_err(|error| DoorError::content(certificate, error.to_string()))?,
        (None, None) => builder.with_no_client_auth(),
        (Some(_), None) | (None, Some(_)) => {
            return Err(DoorError::Options("a certificate needs its key, and a key its certificate".to_owned()));
        }
    };
    let mut config = config;
    config.dangerous().set_certificate_verifier(verifier::only(role, keys_roots)?);
    Ok(Arc::new(config))
}

type WantsClientCert = tokio_rustls::rustls::ConfigBuilder<ClientConfig, tokio_rustls::rustls::client::WantsClientCert>;

fn config(roots: RootCertStore) -> Result<WantsClientCert, DoorError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13]).map_err(|error| DoorError::Options(error.to_string()))?;
    Ok(builder.with_root_certificates(roots))
}

fn stamps(keys: &Keys) -> Vec<Option<(std::time::SystemTime, u64)>> {
    let Keys { authority, certificate, key, token, .. } = keys;
    [authority, certificate, key, token].into_iter().map(|path| path.as_deref().and_then(stamp)).collect()
}

/// The connector speaks TLS itself, so that to tonic all is plain.
fn endpoint(address: &str) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let endpoint = endpoint.map_err(|error| format!("`{address}` is no address: {error}"))?;
    // Also while nothing is asked: what is asked next is to find a connection that stands.
    Ok(endpoint.http2_keep_alive_interval(PING_EVERY).keep_alive_timeout(PONG_WITHIN).keep_alive_while_idle(true))
}

/// An error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
