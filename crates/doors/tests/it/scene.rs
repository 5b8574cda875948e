//! An authority in a temporary folder, a port behind a door, and what comes of a visit.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use futures_util::StreamExt;
use st2sa_doors::authority::{self, Written};
use st2sa_doors::tokens::{self, Wanted};
use st2sa_doors::{Caller, Door, DoorFiles, Identity, Keys, Limits, Role, Secret, serve};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

/// A line of what is followed comes this often.
const LINE_EVERY: Duration = Duration::from_millis(50);
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(crate) struct Scene {
    folder: TempDir,
}

/// A port that is served.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    served: Arc<AtomicUsize>,
    door: Arc<Door>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        authority::init(&scene.folder().join("ca"), 30).unwrap();
        scene.try_issue(&server()).unwrap();
        scene
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The files of a door that is opened by certificates.
    pub(crate) fn files(&self) -> DoorFiles {
        let file = |name: &str| Some(self.folder().join(name));
        DoorFiles {
            certificate: file("server.pem"),
            key: file("server-key.pem"),
            authority: file("ca/ca.pem"),
            tokens: None,
        }
    }

    pub(crate) fn tokens(&self) -> PathBuf {
        self.folder().join("tokens.json")
    }

    /// The same with somebody's token in it.
    pub(crate) fn tokens_made(&self) -> PathBuf {
        self.token("somebody", Role::Viewer);
        self.tokens()
    }

    /// The keys of somebody with a certificate.
    pub(crate) fn certificate(&self, name: &str, role: Role) -> Keys {
        self.issued(&wanted(name, role))
    }

    pub(crate) fn issued(&self, wanted: &authority::Wanted) -> Keys {
        let Written { certificate, key } = self.try_issue(wanted).unwrap();
        let authority = self.files().authority;
        Keys { tls: true, authority, certificate: Some(certificate), key: Some(key), token: None, token_text: None }
    }

    pub(crate) fn try_issue(&self, wanted: &authority::Wanted) -> Result<Written, String> {
        authority::issue(&self.folder().join("ca"), self.folder(), wanted, false).map_err(|error| error.to_string())
    }

    /// Renews the server's certificate.
    pub(crate) fn renew(&self) {
        authority::issue(&self.folder().join("ca"), self.folder(), &server(), true).unwrap();
    }

    /// The keys of somebody with a token.
    pub(crate) fn token(&self, name: &str, role: Role) -> (String, Keys) {
        let wanted = Wanted { name: name.to_owned(), role, limits: Limits::of(name), days: None };
        let text = tokens::create(&self.tokens(), wanted).unwrap();
        let token_text = Some(Secret(text.clone()));
        (text, Keys { tls: true, authority: self.files().authority, token_text, ..Keys::default() })
    }

    /// The keys of somebody whose certificate the authority has issued, but not for this.
    pub(crate) fn nameless(&self) -> Keys {
        let read = |name: &str| std::fs::read_to_string(self.folder().join("ca").join(name)).unwrap();
        let key = rcgen::KeyPair::from_pem(&read("ca-key.pem")).unwrap();
        let issuer = rcgen::Issuer::from_ca_cert_pem(&read("ca.pem"), key).unwrap();
        let own = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["somebody.example.org".to_owned()]).unwrap();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&own, &issuer).unwrap();
        let (at, key_at) = (self.folder().join("nameless.pem"), self.folder().join("nameless-key.pem"));
        std::fs::write(&at, certificate.pem()).unwrap();
        std::fs::write(&key_at, own.serialize_pem()).unwrap();
        Keys { certificate: Some(at), key: Some(key_at), ..self.certificate("unused", Role::Viewer) }
    }

    /// Serves a port: `/who` says who is there, `/order` is for operators, `/followed` goes on for ever.
    pub(crate) async fn serve(&self, files: DoorFiles) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let door = Arc::new(Door::open(files, address).unwrap());
        let served = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&served);
        let who = move |Extension(identity): Extension<Identity>| {
            count.fetch_add(1, Ordering::SeqCst);
            std::future::ready(identity.to_string())
        };
        let router = axum::Router::new()
            .route("/who", get(who.clone()))
            .route("/order", get(who))
            .route("/followed", get(followed));
        let needs = |request: &Request| -> &'static [Role] {
            if request.uri().path() == "/order" { &[Role::Operator] } else { &[] }
        };
        tokio::spawn(serve(listener, Arc::clone(&door), router, needs, std::future::pending()));
        Served { address, served, door }
    }
}

impl Served {
    /// Status and body of what somebody with these keys gets.
    pub(crate) async fn get(&self, keys: &Keys, path: &str) -> Result<(u16, String), String> {
        self.get_by(&Caller::new(keys.clone()).unwrap(), path).await
    }

    pub(crate) async fn get_by(&self, caller: &Caller, path: &str) -> Result<(u16, String), String> {
        self.answered(caller.sign(caller.http().get(self.url(caller, path)))).await
    }

    /// The same on behalf of somebody.
    pub(crate) async fn get_for(&self, keys: &Keys, whom: &str, path: &str) -> Result<(u16, String), String> {
        let caller = Caller::new(keys.clone()).unwrap();
        let request = caller.http().get(self.url(&caller, path)).header("x-st2sa-on-behalf-of", whom);
        self.answered(caller.sign(request)).await
    }

    /// Reads until it ends; how many pieces came.
    pub(crate) fn follow(&self, keys: &Keys, path: &str) -> impl Future<Output = usize> + use<> {
        let caller = Caller::new(keys.clone()).unwrap();
        let request = caller.sign(caller.http().get(self.url(&caller, path)));
        async move { request.send().await.unwrap().bytes_stream().count().await }
    }

    /// Requests that were let in.
    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    /// Whether files that have changed were found unusable.
    pub(crate) fn complained(&self) -> bool {
        self.door.alarms().iter().any(|alarm| alarm.contains("cannot be used"))
    }

    async fn answered(&self, request: reqwest::RequestBuilder) -> Result<(u16, String), String> {
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        Ok((status, answer.text().await.map_err(|error| error.to_string())?))
    }

    fn url(&self, caller: &Caller, path: &str) -> String {
        format!("{}://{}{path}", caller.scheme(), self.address)
    }
}

/// What somebody's certificate is to say.
pub(crate) fn wanted(name: &str, role: Role) -> authority::Wanted {
    authority::Wanted { name: name.to_owned(), role, hosts: Vec::new(), sensors: Vec::new(), days: 30 }
}

fn server() -> authority::Wanted {
    authority::Wanted { hosts: vec!["127.0.0.1".to_owned()], ..wanted("server", Role::Arbitrator) }
}

async fn followed() -> impl IntoResponse {
    let lines = futures_util::stream::unfold((), async |()| {
        tokio::time::sleep(LINE_EVERY).await;
        Some((Ok::<_, Infallible>("{}\n"), ()))
    });
    ([(header::CONTENT_TYPE, st2sa_proto::rest::NDJSON)], Body::from_stream(lines))
}

/// The certificate that the other end of a handshake shows.
pub(crate) async fn handshake(
    address: SocketAddr,
    keys: &Keys,
    version: &'static SupportedProtocolVersion,
) -> Result<Vec<u8>, String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(keys.authority.as_ref().unwrap()).unwrap()).unwrap();
    let certificate = CertificateDer::from_pem_file(keys.certificate.as_ref().unwrap()).unwrap();
    let key = PrivateKeyDer::from_pem_file(keys.key.as_ref().unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)
        .unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| error.to_string())?;
    let shown = stream.get_ref().1.peer_certificates().and_then(|shown| shown.first());
    Ok(shown.map(|shown| shown.to_vec()).unwrap_or_default())
}

/// Looks until there is something.
pub(crate) async fn eventually<T>(bound: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looks = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(bound, looks).await.expect("it has happened within the bound")
}
