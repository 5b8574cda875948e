//! Who may come: users, and certificates.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use st2sa_testbed::Certificates;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_show_their_password_once_and_again_when_etcd_has_forgotten_them() {
    let mut server = st2sa_testbed::Etcd::start();
    let admin = |arguments: &[&str]| etcdctl(&server.url(), arguments);
    admin(&["user", "add", "root:open"]);
    admin(&["user", "grant-role", "root", "root"]);
    admin(&["user", "add", "st2sa:sesame"]);
    admin(&["role", "add", "st2sa"]);
    admin(&["role", "grant-permission", "st2sa", "--prefix=true", "readwrite", "st2sa/"]);
    admin(&["user", "grant-role", "st2sa", "st2sa"]);
    admin(&["auth", "enable"]);
    let url = |user: &str| format!("etcd3+http://{user}{}", server.address());
    let refused =
        async |user: &str| Etcd::open(&store(&url(user), "users"), lengths()).await.err().unwrap().to_string();
    let wrong = refused("st2sa:sesam@").await;
    assert!(wrong.ends_with("authentication failed, invalid user ID or password"), "{wrong}");
    assert!(!wrong.contains("sesam"), "{wrong}");
    let nobody = refused("").await;
    assert!(nobody.contains("user name is empty"), "{nobody}");
    let engine = open(&url("st2sa:sesame@"), "users").await;
    assert!(!engine.describe().contains("sesame"), "{}", engine.describe());
    campaign(&engine, 1, 0).await;
    assert_eq!(engine.ask(Request::Renew { token: token(1) }).await, Reply::Done);
    let (tell, mut heard) = hearing();
    engine.watch(tell);
    // Tokens are kept in its memory.
    server.kill();
    server.start_again();
    eventually("asks go on", async || {
        engine.ask(Request::Resign { token: token(1) }).await;
        matches!(engine.ask(campaign_of("b", 1)).await, Reply::Won { .. }).then_some(())
    })
    .await;
    engine.apply(token_of("b", 1), yes(), vec![set("n", "1")]).await.unwrap();
    hears_of(&mut heard, 2).await;
}

#[tokio::test]
async fn a_user_that_etcd_does_not_ask_for_is_not_needed() {
    let shared = Shared::get();
    let url = shared.url.replace("http://", "http://anne:sesame@");
    let engine = open(&url, "no users").await;
    assert!(matches!(campaign(&engine, 1, 0).await, Reply::Won { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_show_their_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, ours.0.pem()).unwrap();
    let (certificate, key) = ours.issue(folder.path(), "server");
    let server = st2sa_testbed::Etcd::start_with_tls(&Certificates { ca: ca.clone(), certificate, key });
    let url = |ca: &Path, own: Option<(PathBuf, PathBuf)>| {
        let own =
            own.map(|(certificate, key)| format!("&cert_cert={}&cert_key={}", certificate.display(), key.display()));
        format!("{}?ca_cert={}{}", server.url(), ca.display(), own.unwrap_or_default())
    };
    let mine = ours.issue(folder.path(), "client");
    let engine = open(&url(&ca, Some(mine.clone())), "tls").await;
    assert!(matches!(campaign(&engine, 1, 0).await, Reply::Won { .. }));
    assert_eq!(engine.ask(Request::Renew { token: token(1) }).await, Reply::Done);
    let lengths = Lengths { deadline: Span::from_secs(1), ..lengths() };
    let refused = async |url: String| Etcd::open(&store(&url, "tls"), lengths).await.err().unwrap().to_string();
    let other = folder.path().join("other.pem");
    std::fs::write(&other, theirs.0.pem()).unwrap();
    let unknown = refused(url(&other, Some(mine))).await;
    assert!(unknown.contains("UnknownIssuer"), "{unknown}");
    let without = refused(url(&ca, None)).await;
    assert!(without.contains("alert") || without.contains("closed"), "{without}");
    let stranger = refused(url(&ca, Some(theirs.issue(folder.path(), "stranger")))).await;
    assert!(stranger.contains("alert") || stranger.contains("closed"), "{stranger}");
    let nowhere = refused(url(Path::new("/nowhere"), None)).await;
    assert!(nowhere.contains("`/nowhere` cannot be read: No such file"), "{nowhere}");
}

/// Vouches for certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for this machine, and its key.
    fn issue(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let path = |kind: &str| folder.join(format!("{name}.{kind}.pem"));
        std::fs::write(path("certificate"), certificate.pem()).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        (path("certificate"), path("key"))
    }
}
