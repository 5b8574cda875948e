//! Every option: its default, what it is for and what is allowed; the one place that reading, `st2sa config` and the
//! reference in `docs/configuration.md` come from.

#[cfg(test)]
use std::fmt::Write as _;

/// The arbitrator's section.
pub(crate) const ARBITRATOR: &str = "sensorarbitrator";
/// The container's section.
pub(crate) const CONTAINER: &str = "sensorcontainer";

/// One option.
#[derive(Debug)]
pub(crate) struct Spec {
    /// The section of the configuration file.
    pub(crate) section: &'static str,
    /// Its name there.
    pub(crate) name: &'static str,
    /// What counts where nobody says anything; none where that has to be found out, or there is nothing.
    pub(crate) default: Option<&'static str>,
    /// What is allowed, with its unit.
    pub(crate) allowed: &'static str,
    /// What it is for.
    pub(crate) about: &'static str,
}

const fn spec(
    section: &'static str,
    name: &'static str,
    default: Option<&'static str>,
    allowed: &'static str,
    about: &'static str,
) -> Spec {
    Spec { section, name, default, allowed, about }
}

const TIME: &str = "a length of time: `2`, `2s`, `400ms`, `10m`";
const LISTEN: &str = "ADDRESS:PORT; beyond loopback it needs `tls_cert_file`, and `tls_ca_file` or `tokens_file`";
const PEM: &str = "a PEM file";

const AUTHORITIES: &str = "a PEM file; or `system`, which is for servers' certificates alone";
const CERTIFICATE: &str = "the certificate that it shows to whoever comes, and to whom it goes; a renewed one is read while it runs; without one there is no TLS";
const KEY: &str = "the key of `tls_cert_file`";
const AUTHORITY: &str = "whose certificates it trusts: of those to whom it goes, and of those who come";
const TOKENS: &str = "the tokens that let their holders in; what changes there counts within seconds";

/// Ours.
#[rustfmt::skip]
pub(crate) const OPTIONS: &[Spec] = &[
    spec(ARBITRATOR, "listen", Some("127.0.0.1:9110"), LISTEN, "where containers and people reach the arbitrator"),
    spec(ARBITRATOR, "advertise", None, "HOST:PORT", "where other arbitrators and containers reach it, should that differ from `listen`"),
    spec(ARBITRATOR, "tls_cert_file", None, PEM, CERTIFICATE),
    spec(ARBITRATOR, "tls_key_file", None, PEM, KEY),
    spec(ARBITRATOR, "tls_ca_file", None, AUTHORITIES, AUTHORITY),
    spec(ARBITRATOR, "tokens_file", None, "a file that `st2sa token` writes", TOKENS),
    spec(ARBITRATOR, "token_file", None, "a file with a token", "its own token, of the role `arbitrator`: what it shows to other arbitrators, and to containers"),
    spec(ARBITRATOR, "data_dir", Some("/var/lib/st2sa/arbitrator"), "a folder", "its own folder: the store, the term, the history"),
    spec(ARBITRATOR, "session_ttl", Some("2s"), TIME, "how long a container may act after the last heartbeat that was answered"),
    spec(ARBITRATOR, "heartbeat", Some("400ms"), "a length of time, at most a quarter of session_ttl", "how often containers send a heartbeat"),
    spec(ARBITRATOR, "leader_ttl", Some("2s"), "a length of time, at least 100ms", "how long a leadership lasts without being renewed"),
    spec(ARBITRATOR, "max_drift", Some("0.2"), "a number from 0 to 1", "how much the rates of any two clocks may differ: 0.2 is a fifth"),
    spec(ARBITRATOR, "margin", Some("200ms"), TIME, "what freezing may take, and what is left to scheduling"),
    spec(ARBITRATOR, "code_settle", Some("60s"), TIME, "how long changed code must stand before running sensors move for it"),
    spec(ARBITRATOR, "policy", None, "a YAML file", "what is set for sensors, by reference or glob; read again at SIGHUP"),
    spec(CONTAINER, "sensor_node_name", None, "letters, digits, `-`, `_`, `.`; the host's name if not given", "the sensor node's name; no two containers may have the same"),
    spec(CONTAINER, "arbitrators", Some("127.0.0.1:9110"), "HOST:PORT, with commas between several", "where arbitrators listen, in the order in which they are tried; not given, and `[coordination] url` is: the leader is found through the store"),
    spec(CONTAINER, "labels", Some(""), "KEY=VALUE, with commas between several", "labels that the policy can ask for"),
    spec(CONTAINER, "dispatch", Some("stdout"), "`stackstorm`, `stdout`, `file:PATH`, `https://HOST:PORT/PATH` (or `http://`), `amqps://USER:PASSWORD@HOST:PORT/VIRTUAL-HOST` (or `amqp://`)", "where triggers go; `stackstorm` is the RabbitMQ of `[messaging]`: see [sinks.md](sinks.md)"),
    spec(CONTAINER, "runtime", Some("host"), "`host`", "what runs sensors: the host that comes with st2sa, in the pack's own Python"),
    spec(CONTAINER, "ha", Some("True"), "`True` or `False`", "`False`: it runs every sensor that it has by itself, and needs no arbitrator (as --no-ha)"),
    spec(CONTAINER, "listen", Some("127.0.0.1:9111"), LISTEN, "where the container answers `GET /active/REF`"),
    spec(CONTAINER, "advertise", None, "HOST:PORT", "where arbitrators and people reach it, should that differ from `listen`"),
    spec(CONTAINER, "tls_cert_file", None, PEM, CERTIFICATE),
    spec(CONTAINER, "tls_key_file", None, PEM, KEY),
    spec(CONTAINER, "tls_ca_file", None, AUTHORITIES, AUTHORITY),
    spec(CONTAINER, "tokens_file", None, "a file that `st2sa token` writes", TOKENS),
    spec(CONTAINER, "token_file", None, "a file with a token", "its own token, of the role `container`: what it shows to arbitrators"),
    spec(CONTAINER, "state_dir", None, "a folder; if not given /run/st2sa/NAME for root, else $XDG_RUNTIME_DIR/st2sa/NAME or /tmp/user-UID/st2sa/NAME", "its lock and its socket; best on a tmpfs"),
    spec(CONTAINER, "freeze_limit", Some("30s"), TIME, "a sensor frozen for longer is killed"),
    spec(CONTAINER, "drain_timeout", Some("60s"), TIME, "how long it hands over before it stops by itself"),
    spec(CONTAINER, "partition_provider", Some("name:default"), "StackStorm's: `name:default`, `name:file, partition_file:PATH`, `name:hash, hash_ranges:FROM..TO|…`", "StackStorm's own: which sensors of its packs this node offers"),
];

/// StackStorm's own options that are read, or looked at by people who wonder.
#[rustfmt::skip]
pub(crate) const STACKSTORMS: &[Spec] = &[
    spec("system", "base_path", Some("/opt/stackstorm"), "a folder", "where packs, configs, virtualenvs and overrides are, and StackStorm's own virtualenv, `st2`, whose packages sensors see"),
    spec("system", "validate_trigger_payload", Some("True"), "`True` or `False`", "payloads that do not fit their trigger type are dropped, as StackStorm does"),
    spec("content", "system_packs_base_path", None, "a folder", "packs that come with StackStorm"),
    spec("content", "packs_base_paths", None, "folders, with `:` between them; BASE/packs if not given", "packs that were installed"),
    spec("packs", "enable_common_libs", Some("False"), "`True` or `False`", "a pack's `lib` folder is on its sensors' path"),
    spec(CONTAINER, "logging", None, "a file", "not used: logs go to the standard error, see --log-format"),
    spec("messaging", "url", Some("amqp://guest:guest@127.0.0.1:5672//"), "`amqp://USER:PASSWORD@HOST:PORT/VIRTUAL-HOST`", "StackStorm's RabbitMQ, where `dispatch = stackstorm`"),
    spec("messaging", "cluster_urls", None, "urls, with commas between them", "the same, several servers that are tried in turn; counts instead of `url`"),
    spec("messaging", "ssl", Some("False"), "`True` or `False`", "TLS to RabbitMQ; also on where one of the next three is given"),
    spec("messaging", "ssl_ca_certs", None, "a file in PEM", "who vouches for RabbitMQ; not given, whom this system trusts"),
    spec("messaging", "ssl_certfile", None, "a file in PEM", "a certificate of our own"),
    spec("messaging", "ssl_keyfile", None, "a file in PEM", "its key"),
    spec("messaging", "ssl_cert_reqs", None, "`required`", "RabbitMQ's certificate is always looked at"),
    spec("messaging", "prefix", Some("st2"), "a word", "what the exchange's name begins with"),
    spec("messaging", "compression", None, "`gzip`, `zstd`", "not used: triggers are sent as they are, which every consumer takes"),
    spec("coordination", "url", None, "`redis://…`, `zookeeper://…` (or `kazoo://…`), `etcd3+http(s)://…`, as tooz writes them", "the store that arbitrators share; without it there is one arbitrator, and `data_dir` is its store"),
    spec("coordination", "service_registry", Some("False"), "`True` or `False`", "arbitrators and containers stand in StackStorm's service registry, in the store of `url`, as its own services do: groups `sensorarbitrator` and `sensorcontainer`; `st2sa registry` shows it"),
    spec("coordination", "lock_timeout", None, "seconds", "not used: what st2sa holds is a leadership with a length of its own (leader_ttl), not a tooz lock"),
];

/// An option of ours, or of StackStorm's.
pub(crate) fn find(section: &str, name: &str) -> Option<&'static Spec> {
    OPTIONS.iter().chain(STACKSTORMS).find(|spec| spec.section == section && spec.name == name)
}

impl Spec {
    /// The environment variable that sets it; StackStorm's own have none.
    pub(crate) fn environment(&self) -> Option<String> {
        let own = OPTIONS.iter().any(|spec| std::ptr::eq(spec, self));
        own.then(|| format!("ST2SA_{}_{}", self.section, self.name).to_uppercase())
    }
}

/// The reference, in Markdown.
#[cfg(test)]
fn reference() -> String {
    let mut text = INTRODUCTION.to_owned();
    for (section, title) in [(ARBITRATOR, "The arbitrator"), (CONTAINER, "The container")] {
        // Writing into a string does not fail.
        let _ = writeln!(
            text,
            "\n## {title}: `[{section}]`\n\n| option | default | allowed | what it is for |\n|---|---|---|---|"
        );
        for spec in OPTIONS.iter().filter(|spec| spec.section == section) {
            let default = spec.default.filter(|default| !default.is_empty());
            let default = default.map_or_else(|| "–".to_owned(), |default| format!("`{default}`"));
            let allowed = spec.allowed.replace('|', "\\|");
            let _ = writeln!(text, "| `{}` | {default} | {allowed} | {} |", spec.name, spec.about);
        }
    }
    text.push_str("\n## StackStorm's own\n\nRead where they stand in the same files, and mean what they mean there.\n\n| option | default | what it is for here |\n|---|---|---|\n");
    for spec in STACKSTORMS {
        let default = spec.default.map_or_else(|| "–".to_owned(), |default| format!("`{default}`"));
        let _ = writeln!(text, "| `[{}] {}` | {default} | {} |", spec.section, spec.name, spec.about);
    }
    text.push_str(POLICY);
    text
}

#[cfg(test)]
const INTRODUCTION: &str = "\
# Configuration

Generated by `cargo xtask fix` from the table that the programs read their options by.

Every option of ours can be given in three ways; the first that is there counts:

1. a flag: `--session-ttl 4s` (`--name` for `sensor_node_name`);
2. an environment variable: `ST2SA_` and the section and the option in capitals, `ST2SA_SENSORARBITRATOR_SESSION_TTL=4s`;
3. a configuration file (`--config-file`, several of them, or `ST2SA_CONFIG_FILE` with commas): StackStorm's own `st2.conf` will
   do. Of several files the last that has the option counts, as with oslo.config.

`st2sa config arbitrator` and `st2sa config container` print what counts and where it came from, with the same flags as the
program itself. An option of ours that there is not, or a wrong value, is refused at the start with file, line and what is
allowed.
";

#[cfg(test)]
const POLICY: &str = "
## The policy file

What is set for sensors: a YAML file, named by `policy` of `[sensorarbitrator]`. The arbitrator reads it at its start and again at
SIGHUP; a wrong change is logged and changes nothing.

    sensors:
      \"*\":               {memory: 1GiB}
      \"aws.*\":           {weight: 2, require: {zone: eu}, standby: cold}
      \"aws.QueueSensor\": {max_errors: 5, poll_timeout: 10m, memory: 256MiB}

A key is a sensor's reference, or a glob: `*` is any characters, `?` is one. Entries count in the order of the file: each later
one that fits a sensor overrides what it names, field by field. So the general ones come first.

| key | default | allowed | what it is for |
|---|---|---|---|
| `weight` | 1 | 1 to 1000 | how much of a container it takes |
| `require` | none | labels, such as `{zone: eu}` | its container must have these labels |
| `prefer` | none | labels | among equals, a container with these labels |
| `standby` | `warm` | `warm`, `cold` | a warm standby is loaded and constructed; a cold one has no process, and takes over as much later |
| `effects` | `auto` | `auto`, `journal`, `direct` | how its effects go out: a poll as one entry of the journal, nothing lost and nothing twice, or each at once; `auto`: journaled are polling sensors whose code both reads and writes the datastore |
| `poll_timeout` | 10 intervals, at least 5 min | a length of time | a poll that lasts longer counts as hung |
| `max_errors` | 3 | 1 to 1000 | so many raising polls in a row move it |
| `memory` | no bound | bytes with KiB, MiB or GiB, at least 16MiB | what each of its processes may have (`RLIMIT_DATA`); what asks for more meets a `MemoryError`, and that ends the process |
| `runtime` | `host` | `host` | what runs it |
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_there_once_and_says_what_it_is_for() {
        let all: Vec<&Spec> = OPTIONS.iter().chain(STACKSTORMS).collect();
        for spec in &all {
            let same = all.iter().filter(|other| (other.section, other.name) == (spec.section, spec.name));
            assert_eq!(same.count(), 1, "{}", spec.name);
            assert!(!spec.about.is_empty() && !spec.allowed.is_empty(), "{}", spec.name);
        }
    }

    /// `cargo xtask fix` runs it so that it writes.
    #[test]
    fn the_reference_is_what_the_table_makes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap();
        assert!(written == reference(), "docs/configuration.md is not what the table makes: run `cargo xtask fix`");
    }

    #[test]
    fn the_reference_names_every_option() {
        let text = reference();
        assert!(OPTIONS.iter().all(|spec| text.contains(&format!("| `{}` |", spec.name))));
    }
}
