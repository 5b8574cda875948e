//! A real port behind a door, and everybody who comes to it.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that meets what it does not expect has failed")]

mod scene;

use std::time::Duration;

use scene::{Scene, wanted};
use st2sa_doors::authority;
use st2sa_doors::tokens::{self, Wanted};
use st2sa_doors::{Door, DoorFiles, Keys, Limits, Role, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::version::{TLS12, TLS13};

/// A file that has changed is read within this.
const READ_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_door_without_keys_is_open_on_this_machine_and_refuses_to_listen_beyond() {
    let nothing = DoorFiles::default();
    assert!(Door::open(nothing.clone(), "127.0.0.1:9110".parse().unwrap()).is_ok());
    assert!(Door::open(nothing.clone(), "[::1]:9110".parse().unwrap()).is_ok());
    for beyond in ["0.0.0.0:9110", "[::]:9110", "10.0.0.1:9110"] {
        let error = Door::open(nothing.clone(), beyond.parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("`tls_cert_file`") && error.contains(beyond), "{error}");
    }
}

#[tokio::test]
async fn what_does_not_go_together_is_refused_with_what_is_missing() {
    let scene = Scene::new();
    let at = "127.0.0.1:9110".parse().unwrap();
    let refused = |files: DoorFiles| Door::open(files, at).unwrap_err().to_string();
    let DoorFiles { certificate, key, authority, .. } = scene.files();
    let half = DoorFiles { certificate: certificate.clone(), ..DoorFiles::default() };
    assert_eq!(refused(half), "`tls_cert_file` needs its `tls_key_file`");
    let anybody = DoorFiles { certificate, key: key.clone(), ..DoorFiles::default() };
    assert!(refused(anybody).starts_with("TLS alone lets everybody in"));
    let wrong =
        DoorFiles { certificate: authority.clone(), key: key.clone(), authority: authority.clone(), tokens: None };
    assert!(refused(wrong).contains("ca.pem"), "a key of another certificate");
    let missing = scene.folder().join("nowhere.pem");
    let missing = DoorFiles { authority: Some(missing), ..scene.files() };
    assert!(refused(missing).contains("nowhere.pem"));
    let no_certificate = DoorFiles { authority: key, ..scene.files() };
    assert!(refused(no_certificate).contains("there is no certificate in it"));
}

#[tokio::test]
async fn a_certificate_lets_its_holder_in_as_what_it_says() {
    let scene = Scene::new();
    let door = scene.serve(scene.files()).await;
    let anna = scene.certificate("anna", Role::Operator);
    assert_eq!(door.get(&anna, "/who").await, Ok((200, "operator anna".to_owned())));
    let bob = scene.certificate("bob", Role::Viewer);
    assert_eq!(door.get(&bob, "/who").await, Ok((200, "viewer bob".to_owned())));
    let (status, refusal) = door.get(&bob, "/order").await.unwrap();
    assert!(status == 403 && refusal.contains("viewer bob may not do this: the role operator may"), "{refusal}");
}

#[tokio::test]
async fn whoever_shows_no_certificate_of_this_authority_is_not_let_in() {
    let scene = Scene::new();
    let door = scene.serve(scene.files()).await;
    let other = Scene::new();
    let stranger = Keys { authority: scene.files().authority, ..other.certificate("anna", Role::Operator) };
    assert!(door.get(&stranger, "/who").await.is_err());
    let nobody = Keys { tls: true, authority: scene.files().authority, ..Keys::default() };
    assert!(door.get(&nobody, "/who").await.is_err());
    let expired = scene.issued(&authority::Wanted { days: 0, ..wanted("anna", Role::Operator) });
    assert!(door.get(&expired, "/who").await.is_err());
    // The server's side is looked at, too.
    let trusting_others = Keys { authority: other.files().authority, ..scene.certificate("carl", Role::Operator) };
    assert!(door.get(&trusting_others, "/who").await.is_err());
    assert_eq!(door.served(), 0);
}

#[tokio::test]
async fn a_certificate_that_does_not_say_what_its_holder_is_lets_nobody_in() {
    let scene = Scene::new();
    let door = scene.serve(scene.files()).await;
    let (status, refusal) = door.get(&scene.nameless(), "/who").await.unwrap();
    assert!(status == 401 && refusal.contains("a URI st2sa://ROLE/NAME among its names is wanted"), "{refusal}");
}

#[tokio::test]
async fn a_containers_certificate_is_not_taken_for_an_arbitrators() {
    let scene = Scene::new();
    let container =
        scene.issued(&authority::Wanted { hosts: vec!["127.0.0.1".to_owned()], ..wanted("web-1", Role::Container) });
    let files = DoorFiles { certificate: container.certificate.clone(), key: container.key.clone(), ..scene.files() };
    let door = scene.serve(files).await;
    let anna = scene.certificate("anna", Role::Operator);
    assert!(door.get(&anna, "/who").await.is_err());
    let to_containers = st2sa_doors::Caller::new(anna).unwrap().http_to_containers();
    let answer = to_containers.get(format!("https://{}/who", door.address)).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
}

#[tokio::test]
async fn older_tls_and_plain_http_are_refused() {
    let scene = Scene::new();
    let door = scene.serve(scene.files()).await;
    let anna = scene.certificate("anna", Role::Operator);
    assert!(scene::handshake(door.address, &anna, &TLS13).await.is_ok());
    assert!(scene::handshake(door.address, &anna, &TLS12).await.is_err());
    let mut plain = TcpStream::connect(door.address).await.unwrap();
    plain.write_all(b"GET /who HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("this port speaks TLS"), "{answer}");
}

#[tokio::test]
async fn a_token_lets_its_holder_in_until_it_is_revoked_and_what_they_follow_ends() {
    let scene = Scene::new();
    let (token, keys) = scene.token("anna", Role::Operator);
    let door = scene.serve(DoorFiles { tokens: Some(scene.tokens()), ..scene.files() }).await;
    assert_eq!(door.get(&keys, "/who").await, Ok((200, "operator anna".to_owned())));
    let wrong = Keys { token_text: Some(Secret(format!("{token}0"))), ..keys.clone() };
    let (status, refusal) = door.get(&wrong, "/who").await.unwrap();
    assert!(status == 401 && refusal.contains("the token's secret is wrong"), "{refusal}");
    let followed = tokio::spawn(door.follow(&keys, "/followed"));
    tokens::revoke(&scene.tokens(), "anna").unwrap();
    let refused = scene::eventually(READ_WITHIN, async || {
        let (status, refusal) = door.get(&keys, "/who").await.ok()?;
        (status == 401).then_some(refusal)
    });
    assert!(refused.await.contains("unknown, or was revoked"));
    let lines = tokio::time::timeout(READ_WITHIN, followed).await.expect("what is followed ends").unwrap();
    assert!(lines > 0);
}

#[tokio::test]
async fn a_token_alone_guards_a_port_on_this_machine() {
    let scene = Scene::new();
    let (_, keys) = scene.token("anna", Role::Operator);
    let door = scene.serve(DoorFiles { tokens: Some(scene.tokens()), ..DoorFiles::default() }).await;
    let plain = Keys { tls: false, authority: None, ..keys };
    assert_eq!(door.get(&plain, "/who").await, Ok((200, "operator anna".to_owned())));
    let (status, _) = door.get(&Keys::default(), "/who").await.unwrap();
    assert_eq!(status, 401);
}

#[tokio::test]
async fn nobody_but_an_arbitrator_speaks_for_others() {
    let scene = Scene::new();
    let door = scene.serve(scene.files()).await;
    let (standby, bob) = (scene.certificate("node-2", Role::Arbitrator), scene.certificate("bob", Role::Viewer));
    let anna = "operator/anna";
    assert_eq!(door.get_for(&standby, anna, "/who").await, Ok((200, "operator anna".to_owned())));
    assert_eq!(door.get_for(&standby, "viewer/bob", "/order").await.unwrap().0, 403);
    let (status, refusal) = door.get_for(&bob, anna, "/order").await.unwrap();
    assert!(status == 403 && refusal.contains("only arbitrators speak on behalf of others"), "{refusal}");
    assert_eq!(door.get_for(&standby, "root/anna", "/order").await.unwrap().0, 403);
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart_and_a_damaged_one_changes_nothing() {
    let scene = Scene::new();
    let door = scene.serve(scene.files()).await;
    let anna = scene.certificate("anna", Role::Operator);
    let before = scene::handshake(door.address, &anna, &TLS13).await.unwrap();
    let certificate = scene.files().certificate.unwrap();
    let good = std::fs::read(&certificate).unwrap();
    std::fs::write(&certificate, b"-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
    scene::eventually(READ_WITHIN, async || door.complained().then_some(())).await;
    assert_eq!(scene::handshake(door.address, &anna, &TLS13).await.unwrap(), before);
    std::fs::write(&certificate, good).unwrap();
    scene.renew();
    scene::eventually(READ_WITHIN, async || {
        let shown = scene::handshake(door.address, &anna, &TLS13).await.ok()?;
        (shown != before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_callers_own_keys_are_read_again_when_they_change() {
    let scene = Scene::new();
    let door = scene.serve(DoorFiles { tokens: Some(scene.tokens_made()), ..scene.files() }).await;
    let path = scene.folder().join("own.token");
    std::fs::write(&path, "st2sa_0_0\n").unwrap();
    let keys = Keys { tls: true, authority: scene.files().authority, token: Some(path.clone()), ..Keys::default() };
    let caller = st2sa_doors::Caller::new(keys).unwrap();
    assert_eq!(door.get_by(&caller, "/who").await.unwrap().0, 401);
    let limits = Limits::of("web");
    let wanted = Wanted { name: "web".into(), role: Role::Container, limits, days: None };
    std::fs::write(&path, tokens::create(&scene.tokens(), wanted).unwrap()).unwrap();
    scene::eventually(READ_WITHIN, async || {
        let (_, who) = door.get_by(&caller, "/who").await.ok()?;
        (who == "container web").then_some(())
    })
    .await;
}

#[test]
fn an_authority_refuses_what_it_should_not_issue() {
    let scene = Scene::new();
    let refused = |wanted: &authority::Wanted| scene.try_issue(wanted).unwrap_err();
    for name in ["", "../x", ".x", "a/b", "a b", &"a".repeat(65)] {
        assert!(refused(&wanted(name, Role::Viewer)).contains("is no name"), "{name}");
    }
    let sensors = vec!["aws.*".to_owned()];
    let viewer = authority::Wanted { sensors: sensors.clone(), ..wanted("bob", Role::Viewer) };
    assert!(refused(&viewer).contains("sensors are offered by containers"));
    let odd = authority::Wanted { sensors: vec!["a&b".to_owned()], ..wanted("web", Role::Container) };
    assert!(refused(&odd).contains("is no sensor"));
    let twice = wanted("carl", Role::Viewer);
    scene.try_issue(&twice).unwrap();
    assert!(refused(&twice).contains("it is there already"));
    assert!(authority::init(&scene.folder().join("ca"), 1).unwrap_err().to_string().contains("it is there already"));
}
