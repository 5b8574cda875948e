//! Settings that cannot be used: exit code 2, and a message that says which, where, and what is allowed.

use std::time::Duration;

use st2sa_testbed::Testbed;

use crate::scene::testbed;

/// A setting is refused before anything is started.
const REFUSED_WITHIN: Duration = Duration::from_secs(5);

/// Runs the binary, which is to refuse, and say all of `words`.
fn refuses(bed: &Testbed, arguments: &[&str], words: &[&str]) {
    let mut program = bed.program("refused", arguments);
    let status = program.wait(REFUSED_WITHIN);
    let log = program.log();
    assert_eq!(status.code(), Some(2), "{arguments:?}: {status}: {log}");
    for word in words {
        assert!(log.contains(word), "{arguments:?} does not say `{word}`: {log}");
    }
}

/// Writes a configuration file; `SECTION` stands for the daemon's own.
fn refuses_file(bed: &Testbed, daemon: &str, text: &str, words: &[&str]) {
    let path = bed.folder().join("st2.conf");
    let section = format!("sensor{daemon}");
    std::fs::write(&path, text.replace("SECTION", &section)).unwrap();
    let own_folder = format!(
        "--{}={}",
        if daemon == "arbitrator" { "data-dir" } else { "state-dir" },
        bed.folder().join("own").display()
    );
    refuses(bed, &[daemon, "--config-file", &path.display().to_string(), &own_folder], words);
    assert!(!bed.folder().join("own").exists(), "nothing is made before the settings are checked");
}

#[test]
fn a_bad_setting_in_a_file_is_refused_with_file_and_line() {
    let bed = testbed();
    let file = bed.folder().join("st2.conf").display().to_string();
    for daemon in ["arbitrator", "container"] {
        let section = format!("[sensor{daemon}]");
        refuses_file(
            &bed,
            daemon,
            "[SECTION]\n# not there\n\nlissten = 127.0.0.1:1\n",
            &[&format!("{file}:4: `lissten` is no option of {section}"), "there are listen"][..1],
        );
        refuses_file(&bed, daemon, "[SECTION]\nlisten = nowhere\n", &[&format!("{file}:2: `listen` of {section}")]);
        refuses_file(&bed, daemon, "[SECTION]\nlisten = 0.0.0.0:9110\n", &["0.0.0.0:9110", "loopback"]);
        refuses_file(&bed, daemon, "[SECTION\n", &[&format!("{file}:1")]);
    }
    refuses_file(
        &bed,
        "arbitrator",
        "[SECTION]\nsession_ttl = soon\n",
        &[&format!("{file}:2: `session_ttl`"), "400ms"],
    );
    refuses_file(&bed, "arbitrator", "[SECTION]\nheartbeat = 600ms\n", &["heartbeat", "session_ttl / 4"]);
    refuses_file(
        &bed,
        "container",
        "[SECTION]\ndispatch = stackstorm\n[messaging]\nurl = redis://u:geheim@h\nssl_cert_reqs = none\n",
        &[&format!("{file}:4: `url` of [messaging]: it is no url of RabbitMQ"), &format!("{file}:5: `ssl_cert_reqs`")],
    );
    refuses_file(&bed, "container", "[SECTION]\n\nfreeze_limit = -1\n", &[&format!("{file}:3: `freeze_limit`")]);
    refuses_file(&bed, "container", "[SECTION]\nlabels = site\n", &[&format!("{file}:2: `labels`"), "KEY=VALUE"]);
}

#[test]
fn a_bad_flag_is_refused_by_its_name() {
    let bed = testbed();
    let missing = bed.folder().join("missing").display().to_string();
    for (arguments, words) in [
        (&["arbitrator", "--heartbeat=soon"][..], &["--heartbeat", "soon", "400ms"][..]),
        (&["arbitrator", "--max-drift=2"], &["max_drift", "between 0 and 1"]),
        (&["arbitrator", "--session-ttl=1s", "--heartbeat=400ms"], &["heartbeat", "session_ttl / 4"]),
        (&["arbitrator", "--listen=0.0.0.0:0"], &["listen", "loopback"]),
        (&["arbitrator", "--no-such-flag"], &["--no-such-flag"]),
        (&["container", "--listen=[::]:0"], &["listen", "loopback"]),
        (&["container", "--arbitrators=nowhere"], &["--arbitrators", "HOST:PORT"]),
        (&["container", "--dispatch=nowhere"], &["--dispatch", "file:PATH", "stackstorm"]),
        (&["container", "--dispatch=amqp://x/?y=1"], &["--dispatch", "neither `?` nor", "write amqp://USER"]),
        (&["container", "--dispatch=https://"], &["--dispatch", "empty host", "write https://HOST"]),
        (&["container", "--name=a/b"], &["a/b", "name"]),
        (&["container", &format!("--packs={missing}")], &["--packs", &missing]),
        (&["container", &format!("--config-file={missing}")], &[&missing]),
        (&["up", "--containers=0"], &["--containers", "1 to 64"]),
        (&["up", "--listen=0.0.0.0:9110"], &["listen", "loopback"]),
        (&["up", "--dispatch=nowhere"], &["--dispatch", "nowhere"]),
        (&["sensors", "nodot"], &["pack.ClassName"]),
        (&["no-such-command"], &["no-such-command"]),
    ] {
        refuses(&bed, arguments, words);
    }
}
