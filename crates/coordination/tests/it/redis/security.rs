//! Redis with passwords, users who may not do everything, and TLS.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use st2sa_coordination::redis::Redis;
use st2sa_coordination::store::{Secret, Store, Tls};
use st2sa_coordination::{Datastore as _, Engine as _};
use st2sa_core::engine::{Reply, Request};
use st2sa_testbed::{RedisServer, free_port};
use tempfile::TempDir;

use super::{LONG, open, pause, paused, set, store, transact};
use crate::conformance::{campaign, eventually, token};

#[tokio::test]
async fn a_user_with_a_password_and_few_rights_is_enough() {
    let server = RedisServer::start();
    // Those that the engine's documentation names, without the last five.
    let rights = "+del +eval +get +hdel +hget +hgetall +hincrby +hmget +hset +pexpire +ping +pttl +select +set +time +zadd \
                  +zrangebylex +zrangebyscore +zrem";
    let words = ["ACL", "SETUSER", "arbitrator", "on", ">hush", "~st2sa/*", "-@all"].into_iter();
    server.command(&words.chain(rights.split_whitespace()).collect::<Vec<_>>());
    let user = Store {
        user: Some("arbitrator".to_owned()),
        password: Some(Secret::new("hush")),
        ..store(&server.address(), "user")
    };
    let engine = open(&user, LONG).await;
    assert!(
        engine.describe().ends_with("(whether a restart forgets, and whether there are replicas, cannot be read)"),
        "{}",
        engine.describe()
    );
    assert!(!format!("{engine:?} {user:?}").contains("hush"));
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    engine.watch(Box::new(move |leader| {
        let _ = tell.send(leader.map(|seen| seen.term.0));
    }));
    assert_eq!(told.recv().await, Some(None));
    assert!(matches!(campaign(&engine, 1, 0).await, Reply::Won { .. }));
    assert!(matches!(transact(&engine, 1, vec![pause("p.X")]).await, Reply::Applied { .. }));
    assert_eq!(paused(&engine).await, ["p.X"]);
    engine.apply(token(1), Box::new(|| true), vec![set("a", "1")]).await.unwrap();
    assert_eq!(engine.list(String::new(), None, 9).await.unwrap().len(), 1);
    // Without a channel it is found by looking.
    assert_eq!(told.recv().await, Some(Some(1)));
    assert_eq!(engine.ask(Request::Resign { token: token(1) }).await, Reply::Done);
    let wrong = Store { password: Some(Secret::new("wrong")), ..user };
    let error = Redis::open(&wrong, LONG).await.unwrap_err().to_string();
    assert!(!error.contains("wrong"), "{error}");
}

#[tokio::test]
async fn tls_is_spoken_with_who_is_vouched_for() {
    let files = Files::make();
    let port = free_port();
    let server = RedisServer::start_with(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &files.path("server.pem"),
        "--tls-key-file",
        &files.path("server.key"),
        "--tls-ca-cert-file",
        &files.path("ca.pem"),
    ]);
    let at = format!("127.0.0.1:{port}");
    let tls = |certificate: Option<(&str, &str)>, ca: &str| Store {
        tls: Some(Tls {
            ca: Some(PathBuf::from(files.path(ca))),
            certificate: certificate.map(|(certificate, _)| files.path(certificate).into()),
            key: certificate.map(|(_, key)| files.path(key).into()),
        }),
        ..store(&at, "tls")
    };
    let engine = open(&tls(Some(("client.pem", "client.key")), "ca.pem"), LONG).await;
    assert!(matches!(campaign(&engine, 1, 0).await, Reply::Won { .. }));
    engine.watch(Box::new(drop));
    eventually("it watches over TLS", async || server.command(&["PUBSUB", "CHANNELS"]).contains("st2sa/tls/leader"))
        .await;
    // A server that nobody we trust vouches for; no certificate of our own where one is wanted; no TLS.
    let strange = tls(Some(("client.pem", "client.key")), "strange.pem");
    let error = Redis::open(&strange, LONG).await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    Redis::open(&tls(None, "ca.pem"), LONG).await.unwrap_err();
    let error = Redis::open(&tls(Some(("client.pem", "client.pem")), "ca.pem"), LONG).await.unwrap_err().to_string();
    assert!(error.contains("cannot use") && error.contains("client.pem"), "{error}");
    Redis::open(&store(&at, "tls"), LONG).await.unwrap_err();
}

/// Certificates of an authority, a server on loopback and a client; and of an authority nobody knows.
struct Files(TempDir);

impl Files {
    fn make() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        let authority = authority();
        files.write("ca.pem", &authority.pem());
        files.write("strange.pem", &self::authority().pem());
        for name in ["server", "client"] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            files.write(&format!("{name}.pem"), &params.signed_by(&key, &authority).unwrap().pem());
            files.write(&format!("{name}.key"), &key.serialize_pem());
        }
        files
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "an authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}
