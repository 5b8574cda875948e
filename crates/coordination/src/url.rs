//! Stores as operators name them: the urls of tooz, which StackStorm's `[coordination] url` takes, with the names that
//! tooz has for their options.
//!
//! A user and a password before `@` are taken as they are written, as tooz does. Where that cannot be (a `/` in a
//! password, say), the options `username` and `password` take them with `%2F` and the like.

use std::path::PathBuf;

use crate::store::{Kind, Secret, Store, Tls};

/// A store, and what of its url was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The store.
    pub store: Store,
    /// Options that mean something to tooz and nothing here, in the order given.
    pub ignored: Vec<String>,
}

/// What is wrong with a url. Passwords are never part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It names no store that we know.
    #[error("{found} is no store that arbitrators can share: {SCHEMES}")]
    Scheme {
        /// What it names instead.
        found: String,
    },
    /// A server cannot be read.
    #[error("`{found}` is no server: write `host`, `host:port` or `[address]:port`, several with commas between them")]
    Server {
        /// What it says instead.
        found: String,
    },
    /// Redis is at no host.
    #[error("redis has no server: write `redis://host:port`; a socket in a file serves one machine alone")]
    NoServer,
    /// A password that splits the url.
    #[error(
        "an `@` stands behind a `/`, `?` or `#`: a password with one of these goes into the option `password`, \
         written `%2F`, `%3F`, `%23`"
    )]
    Credentials,
    /// A user without a password, or a password without a user.
    #[error("{0} takes a user together with a password: `user:password@host`")]
    HalfOfCredentials(&'static str),
    /// An option's value.
    #[error("the option `{option}` is `{found}`: {allowed}")]
    Value {
        /// Which.
        option: &'static str,
        /// What it says.
        found: String,
        /// What it may say.
        allowed: &'static str,
    },
    /// An option lacks another one.
    #[error("the option `{option}` means nothing without `{needs}`")]
    Alone {
        /// Which.
        option: &'static str,
        /// The other one.
        needs: &'static str,
    },
    /// Something that tooz can and we cannot.
    #[error("the option `{option}` is not supported: {instead}")]
    Unsupported {
        /// Which.
        option: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
}

/// What a url may begin with.
const SCHEMES: &str = "write `etcd3+http://`, `etcd3+https://`, `zookeeper://`, `kazoo://`, `redis://` or `rediss://`";
/// Options whose values may hold an `@`.
const CREDENTIALS: [&str; 2] = ["username=", "password="];
/// What an option that is on or off may say.
const ON_OR_OFF: &str = "write `true` or `false`";

impl Store {
    /// Reads a url.
    ///
    /// # Errors
    /// When it cannot be used: what is wrong, and what is allowed.
    pub fn parse(url: &str) -> Result<Parsed, UrlError> {
        let url = url.trim();
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| UrlError::Scheme { found: "what does not begin with `name://`".to_owned() })?;
        let scheme = scheme.to_ascii_lowercase();
        let (kind, encrypted) = match scheme.as_str() {
            "etcd3+http" => (Kind::Etcd, false),
            "etcd3+https" => (Kind::Etcd, true),
            "zookeeper" | "kazoo" => (Kind::ZooKeeper, false),
            "redis" => (Kind::Redis, false),
            "rediss" => (Kind::Redis, true),
            _ => return Err(UrlError::Scheme { found: format!("`{scheme}://`") }),
        };
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = place.split_once('/').unwrap_or((place, ""));
        // Of a password that was split nothing is shown.
        let is_known = |option: &str| CREDENTIALS.iter().any(|name| option.starts_with(name));
        let mut options = query.split('&');
        if path.contains('@')
            || fragment.contains('@')
            || options.any(|option| option.contains('@') && !is_known(option))
        {
            return Err(UrlError::Credentials);
        }
        let (user, servers) = match authority.rsplit_once('@') {
            Some((user, servers)) => (Some(user), servers),
            None => (None, authority),
        };
        let mut options = Options { encrypted, ..Options::default() };
        for (name, value) in pairs(query) {
            options.take(kind, name, value)?;
        }
        if servers.is_empty() && kind == Kind::Redis {
            return Err(UrlError::NoServer);
        }
        options.take_path(kind, path)?;
        options.take_credentials(user);
        options.store(kind, servers)
    }
}

/// What a url's options say.
#[derive(Default)]
struct Options {
    encrypted: bool,
    user: Option<String>,
    password: Option<Secret>,
    ca: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
    namespace: Option<String>,
    database: u32,
    sentinel: Option<String>,
    /// Further servers.
    servers: Vec<String>,
    sentinels_encrypted: bool,
    ignored: Vec<String>,
}

impl Options {
    fn take(&mut self, kind: Kind, name: String, value: String) -> Result<(), UrlError> {
        match (kind, name.as_str()) {
            (_, "namespace") => self.namespace = Some(namespace(value)?),
            (_, "username") => self.user = Some(value),
            (_, "password") => self.password = Some(Secret::new(value)),
            (Kind::Etcd, "ca_cert") | (Kind::ZooKeeper, "ca") | (Kind::Redis, "ssl_ca_certs") => self.ca = Some(value),
            (Kind::Etcd, "cert_cert") | (Kind::ZooKeeper, "certfile") | (Kind::Redis, "ssl_certfile") => {
                self.certificate = Some(value);
            }
            (Kind::Etcd, "cert_key") | (Kind::ZooKeeper, "keyfile") | (Kind::Redis, "ssl_keyfile") => {
                self.key = Some(value);
            }
            (Kind::ZooKeeper, "use_ssl") => self.encrypted = is_on("use_ssl", &value)?,
            (Kind::ZooKeeper, "verify_certs") => {
                if !is_on("verify_certs", &value)? {
                    let instead = "name the certificate that vouches for the servers, with `ca`";
                    return Err(UrlError::Unsupported { option: "verify_certs", instead });
                }
            }
            (Kind::ZooKeeper, "keyfile_password") => {
                let instead = "keep the key in a file that only this user may read, without a password";
                return Err(UrlError::Unsupported { option: "keyfile_password", instead });
            }
            (Kind::Redis, "ssl") => self.encrypted |= is_on("ssl", &value)?,
            (Kind::Redis, "db") => self.database = database("db", value)?,
            (Kind::Redis, "sentinel") => self.sentinel = Some(value),
            (Kind::ZooKeeper, "hosts") | (Kind::Redis, "sentinel_fallback") => self.servers.push(value),
            (Kind::Redis, "sentinel_ssl") => self.sentinels_encrypted = is_on("sentinel_ssl", &value)?,
            (Kind::Redis, "sentinel_username") => return Err(without_credentials("sentinel_username")),
            (Kind::Redis, "sentinel_password") => return Err(without_credentials("sentinel_password")),
            _ => self.ignored.push(name),
        }
        Ok(())
    }

    fn take_path(&mut self, kind: Kind, path: &str) -> Result<(), UrlError> {
        let path = path.trim_end_matches('/');
        match kind {
            _ if path.is_empty() => {}
            Kind::Redis => self.database = database("/db", path.to_owned())?,
            // tooz takes none, and says nothing.
            Kind::Etcd | Kind::ZooKeeper => self.ignored.push(format!("/{path}")),
        }
        Ok(())
    }

    /// What stands before `@`; options count for more.
    fn take_credentials(&mut self, written: Option<&str>) {
        let Some(written) = written else { return };
        let (user, password) = written.split_once(':').unwrap_or((written, ""));
        if self.user.is_none() && !user.is_empty() {
            self.user = Some(user.to_owned());
        }
        if self.password.is_none() && !password.is_empty() {
            self.password = Some(Secret::new(password));
        }
    }

    fn store(self, kind: Kind, servers: &str) -> Result<Parsed, UrlError> {
        if self.sentinel.is_none() && kind == Kind::Redis {
            if !self.servers.is_empty() {
                return Err(UrlError::Alone { option: "sentinel_fallback", needs: "sentinel" });
            }
            if self.sentinels_encrypted {
                return Err(UrlError::Alone { option: "sentinel_ssl", needs: "sentinel" });
            }
        }
        if self.sentinels_encrypted && !self.encrypted {
            return Err(UrlError::Alone { option: "sentinel_ssl", needs: "ssl" });
        }
        let (who, whole) = match kind {
            Kind::Etcd => ("etcd", true),
            Kind::ZooKeeper => ("ZooKeeper", true),
            // An old Redis knows passwords alone.
            Kind::Redis => ("redis", self.password.is_some() || self.user.is_none()),
        };
        if kind == Kind::Redis && !whole || kind != Kind::Redis && self.user.is_some() != self.password.is_some() {
            return Err(UrlError::HalfOfCredentials(who));
        }
        let Self { encrypted, user, password, ca, certificate, key, namespace, database, sentinel, .. } = self;
        let default = match (kind, &sentinel) {
            (Kind::Etcd, _) => 2379,
            (Kind::ZooKeeper, _) => 2181,
            (Kind::Redis, None) => 6379,
            (Kind::Redis, Some(_)) => 26379,
        };
        let all = std::iter::once(servers).chain(self.servers.iter().map(String::as_str));
        let all = all.flat_map(|list| list.split(',')).map(str::trim).filter(|server| !server.is_empty());
        let mut servers = all.map(|text| server(text, default)).collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            servers.push(format!("localhost:{default}"));
        }
        let mut ignored = self.ignored;
        let [ca_option, certificate_option, key_option] = match kind {
            Kind::Etcd => ["ca_cert", "cert_cert", "cert_key"],
            Kind::ZooKeeper => ["ca", "certfile", "keyfile"],
            Kind::Redis => ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"],
        };
        let tls = if encrypted {
            if certificate.is_none() && key.is_some() {
                return Err(UrlError::Alone { option: key_option, needs: certificate_option });
            }
            if kind == Kind::Etcd && certificate.is_some() && key.is_none() {
                return Err(UrlError::Alone { option: certificate_option, needs: key_option });
            }
            // Python takes the key from the certificate's file where no other is named.
            let key = key.or_else(|| certificate.clone());
            let path = |text: Option<String>| text.map(PathBuf::from);
            Some(Tls { ca: path(ca), certificate: path(certificate), key: path(key) })
        } else {
            let given = [(ca_option, ca), (certificate_option, certificate), (key_option, key)];
            ignored.extend(given.into_iter().filter(|(_, value)| value.is_some()).map(|(name, _)| name.to_owned()));
            None
        };
        let store = Store { kind, servers, user, password, tls, namespace, database, sentinel };
        Ok(Parsed { store, ignored })
    }
}

fn without_credentials(option: &'static str) -> UrlError {
    UrlError::Unsupported { option, instead: "sentinels are asked without a user or password" }
}

/// `host`, `host:port`, `[address]` or `[address]:port`, with the port.
fn server(text: &str, default: u16) -> Result<String, UrlError> {
    let malformed = || UrlError::Server { found: text.to_owned() };
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or_else(malformed)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| malformed())?;
            let port = if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(malformed)?) };
            (format!("[{address}]"), port)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (text.to_owned(), None),
        },
    };
    let is_name = |host: &str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if host.is_empty() || !host.starts_with('[') && !is_name(&host) {
        return Err(malformed());
    }
    let port = match port {
        None | Some("") => default,
        Some(port) => port.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(malformed)?,
    };
    Ok(format!("{host}:{port}"))
}

fn namespace(value: String) -> Result<String, UrlError> {
    if value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) && !value.starts_with('.') {
        return Ok(value);
    }
    let allowed = "a namespace has letters, digits, `-`, `_` and `.`, this one not at its beginning";
    Err(UrlError::Value { option: "namespace", found: value, allowed })
}

fn database(option: &'static str, value: String) -> Result<u32, UrlError> {
    value.parse().map_err(|_| UrlError::Value { option, found: value, allowed: "a database is a number, from 0" })
}

/// What oslo takes for on and off.
fn is_on(option: &'static str, value: &str) -> Result<bool, UrlError> {
    match value.trim().to_ascii_lowercase().as_str() {
        "1" | "t" | "true" | "on" | "y" | "yes" => Ok(true),
        "0" | "f" | "false" | "off" | "n" | "no" => Ok(false),
        _ => Err(UrlError::Value { option, found: value.to_owned(), allowed: ON_OR_OFF }),
    }
}

/// The pairs of a query that have a value.
fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).filter(|(_, value)| !value.is_empty())
}

/// `+` and `%2F` as in forms.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        let hex = behind.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => bytes.push(if *first == b'+' { b' ' } else { *first }),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(kind: Kind, servers: &[&str]) -> Store {
        Store {
            kind,
            servers: servers.iter().map(|server| (*server).to_owned()).collect(),
            user: None,
            password: None,
            tls: None,
            namespace: None,
            database: 0,
            sentinel: None,
        }
    }

    fn with(mut store: Store, change: impl FnOnce(&mut Store)) -> Store {
        change(&mut store);
        store
    }

    fn user(store: Store, name: &str, password: &str) -> Store {
        with(store, |store| {
            store.user = (!name.is_empty()).then(|| name.to_owned());
            store.password = Some(Secret::new(password));
        })
    }

    fn tls(store: Store, ca: &str, certificate: &str, key: &str) -> Store {
        let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        with(store, |store| store.tls = Some(Tls { ca: path(ca), certificate: path(certificate), key: path(key) }))
    }

    #[test]
    fn the_urls_of_tooz_are_read() {
        use Kind::{Etcd, Redis, ZooKeeper};
        let at_a = |kind, port: u16| plain(kind, &[&format!("a:{port}")]);
        let cases = [
            ("etcd3+http://a", at_a(Etcd, 2379)),
            ("etcd3+http://a:", at_a(Etcd, 2379)),
            ("etcd3+http://", plain(Etcd, &["localhost:2379"])),
            ("etcd3+http://a:1,b:2/", plain(Etcd, &["a:1", "b:2"])),
            ("etcd3+http://[::1],[::2]:5", plain(Etcd, &["[::1]:2379", "[::2]:5"])),
            (
                "ETCD3+HTTP://127.0.0.1:1?namespace=st2_dev",
                with(plain(Etcd, &["127.0.0.1:1"]), |store| {
                    store.namespace = Some("st2_dev".to_owned());
                }),
            ),
            ("etcd3+http://root:pa:ss@w@a", user(at_a(Etcd, 2379), "root", "pa:ss@w")),
            ("etcd3+http://a?username=root&password=%2F%3F+%23%25@", user(at_a(Etcd, 2379), "root", "/? #%@")),
            ("etcd3+https://a", tls(at_a(Etcd, 2379), "", "", "")),
            (
                "etcd3+https://a?ca_cert=/ca&cert_cert=/cert&cert_key=/key",
                tls(at_a(Etcd, 2379), "/ca", "/cert", "/key"),
            ),
            ("zookeeper://a", at_a(ZooKeeper, 2181)),
            ("zookeeper://", plain(ZooKeeper, &["localhost:2181"])),
            ("kazoo://a:1,b,c:3?hosts=d:4", plain(ZooKeeper, &["a:1", "b:2181", "c:3", "d:4"])),
            ("zookeeper://u:p@a", user(at_a(ZooKeeper, 2181), "u", "p")),
            (
                "zookeeper://a?use_ssl=True&ca=/ca&certfile=/cert&keyfile=/key&verify_certs=yes",
                tls(at_a(ZooKeeper, 2181), "/ca", "/cert", "/key"),
            ),
            ("zookeeper://a?use_ssl=1&certfile=/both", tls(at_a(ZooKeeper, 2181), "", "/both", "/both")),
            ("redis://a", at_a(Redis, 6379)),
            ("redis://:p@a:1/2", with(user(at_a(Redis, 1), "", "p"), |store| store.database = 2)),
            (
                "redis://u:p@a?db=3&namespace=x",
                with(user(at_a(Redis, 6379), "u", "p"), |store| {
                    store.database = 3;
                    store.namespace = Some("x".to_owned());
                }),
            ),
            ("rediss://a?ssl_ca_certs=/ca", tls(at_a(Redis, 6379), "/ca", "", "")),
            ("redis://a?ssl=true&ssl_certfile=/cert&ssl_keyfile=/key", tls(at_a(Redis, 6379), "", "/cert", "/key")),
            (
                "redis://a?sentinel=main&sentinel_fallback=b:1&sentinel_fallback=c",
                with(plain(Redis, &["a:26379", "b:1", "c:26379"]), |store| store.sentinel = Some("main".to_owned())),
            ),
        ];
        for (url, store) in cases {
            assert_eq!(Store::parse(url), Ok(Parsed { store, ignored: vec![] }), "{url}");
        }
    }

    #[test]
    fn what_means_nothing_here_is_named() {
        let cases: [(&str, &[&str]); 5] = [
            (
                "etcd3+http://a?timeout=3&lock_timeout=60&membership_timeout=9&api_version=v3",
                &["timeout", "lock_timeout", "membership_timeout", "api_version"],
            ),
            ("etcd3+http://a/path?heartbeat=1", &["heartbeat", "/path"]),
            ("etcd3+http://a?ca_cert=/ca&empty=", &["ca_cert"]),
            ("zookeeper://a?randomize_hosts=False&certfile=/c", &["randomize_hosts", "certfile"]),
            ("redis://a?socket_timeout=3&ssl=no&ssl_keyfile=/k", &["socket_timeout", "ssl_keyfile"]),
        ];
        for (url, ignored) in cases {
            assert_eq!(Store::parse(url).unwrap().ignored, ignored, "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_together_with_what_is_allowed() {
        let cases = [
            (
                "",
                "what does not begin with `name://` is no store that arbitrators can share: write `etcd3+http://`, \
                `etcd3+https://`, `zookeeper://`, `kazoo://`, `redis://` or `rediss://`",
            ),
            (
                "memcached://a",
                "`memcached://` is no store that arbitrators can share: write `etcd3+http://`, \
                `etcd3+https://`, `zookeeper://`, `kazoo://`, `redis://` or `rediss://`",
            ),
            (
                "etcd3+http://a:b",
                "`a:b` is no server: write `host`, `host:port` or `[address]:port`, several with \
                commas between them",
            ),
            (
                "etcd3+http://a:0",
                "`a:0` is no server: write `host`, `host:port` or `[address]:port`, several with \
                commas between them",
            ),
            (
                "etcd3+http://[::1",
                "`[::1` is no server: write `host`, `host:port` or `[address]:port`, several with \
                commas between them",
            ),
            ("etcd3+http://u@a", "etcd takes a user together with a password: `user:password@host`"),
            ("redis://u@a", "redis takes a user together with a password: `user:password@host`"),
            ("zookeeper://a?password=p", "ZooKeeper takes a user together with a password: `user:password@host`"),
            (
                "redis:///run/redis.sock",
                "redis has no server: write `redis://host:port`; a socket in a file serves one \
                machine alone",
            ),
            ("redis://a/x", "the option `/db` is `x`: a database is a number, from 0"),
            ("redis://", "redis has no server: write `redis://host:port`; a socket in a file serves one machine alone"),
            ("redis://a?db=x", "the option `db` is `x`: a database is a number, from 0"),
            ("redis://a?ssl=maybe", "the option `ssl` is `maybe`: write `true` or `false`"),
            ("redis://a?sentinel_fallback=b:1", "the option `sentinel_fallback` means nothing without `sentinel`"),
            (
                "redis://a?sentinel=m&sentinel_password=p",
                "the option `sentinel_password` is not supported: sentinels \
                are asked without a user or password",
            ),
            (
                "zookeeper://a?verify_certs=False",
                "the option `verify_certs` is not supported: name the certificate \
                that vouches for the servers, with `ca`",
            ),
            ("etcd3+https://a?cert_key=/k", "the option `cert_key` means nothing without `cert_cert`"),
            ("etcd3+https://a?cert_cert=/k", "the option `cert_cert` means nothing without `cert_key`"),
            (
                "redis://a?namespace=a/b",
                "the option `namespace` is `a/b`: a namespace has letters, digits, `-`, `_` \
                and `.`, this one not at its beginning",
            ),
        ];
        for (url, error) in cases {
            assert_eq!(Store::parse(url).unwrap_err().to_string(), error, "{url}");
        }
    }

    #[test]
    fn passwords_never_show() {
        for url in [
            "redis://u:sesame@a b",
            "redis://u:ses/ame@a",
            "redis://u:ses?ame@a",
            "redis://u:ses#ame@a",
            "redis://u:ses?a=me@a",
            "redis://u?ses=ame@a",
            "memcached://u:sesame@a",
            "etcd3+http://:sesame@a",
            "zookeeper://a?keyfile_password=sesame",
            "redis://a?sentinel=m&sentinel_password=sesame",
        ] {
            let error = Store::parse(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("ses"), "{error}");
        }
        assert!(!format!("{:?}", Store::parse("redis://u:sesame@a").unwrap()).contains("sesame"));
    }
}
