//! Where the sinks that are reached over the network are: urls, read once, at the start.
//!
//! Users, passwords and queries are secrets: neither `Debug` nor an error shows them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use st2sa_stackstorm::messages;
use url::Url;

const HTTP_FORM: &str = "write https://HOST:PORT/PATH, or https://USER:PASSWORD@HOST:PORT/PATH";
const AMQP_FORM: &str =
    "write amqp://USER:PASSWORD@HOST:5672/VIRTUAL-HOST (amqps:// for TLS), what is special in a part as %XX";

/// A host and a port.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// An IPv6 address without its brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Where triggers are posted.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpTarget {
    pub(super) endpoint: Endpoint,
    pub(super) secure: bool,
    /// The path and the query.
    pub(super) path: String,
    /// The value of the `Authorization` header, from the user and the password of the url.
    pub(super) authorization: Option<String>,
}

impl fmt::Display for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.endpoint, self.path.split('?').next().unwrap_or_default())
    }
}

impl fmt::Debug for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for HttpTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = parse(text, HTTP_FORM)?;
        let secure = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(format!("it is no url of HTTP; {HTTP_FORM}")),
        };
        if url.fragment().is_some() {
            return Err(format!("what follows `#` is never sent; {HTTP_FORM}"));
        }
        let endpoint = endpoint(&url, if secure { 443 } else { 80 }, HTTP_FORM)?;
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let (user, password) = user(&url, HTTP_FORM)?;
        let named = user.is_some() || password.is_some();
        let basic = format!("{}:{}", user.unwrap_or_default(), password.unwrap_or_default());
        let authorization = named.then(|| format!("Basic {}", BASE64_STANDARD.encode(basic)));
        Ok(Self { endpoint, secure, path: format!("{}{query}", url.path()), authorization })
    }
}

/// The RabbitMQ servers of one StackStorm, tried in turn, and how its messages are sent to them.
#[derive(Clone, PartialEq, Eq)]
pub struct AmqpTarget {
    pub(super) servers: Vec<AmqpServer>,
    pub(super) exchange: String,
    pub(super) tls: TlsFiles,
}

/// One server.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct AmqpServer {
    pub(super) endpoint: Endpoint,
    pub(super) secure: bool,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) virtual_host: String,
}

/// Files for TLS, in PEM; those that are not named are not needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Who vouches for the server; not named, whom this system trusts.
    pub ca: Option<PathBuf>,
    /// A certificate of our own.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

impl AmqpTarget {
    /// These servers, with what else `[messaging]` says: TLS for all of them, its files, and what names of exchanges begin with.
    ///
    /// # Errors
    /// With what is wrong with a url, and what to write.
    pub fn new(urls: &[String], secure: bool, tls: TlsFiles, prefix: Option<&str>) -> Result<Self, String> {
        let servers: Result<Vec<AmqpServer>, String> = urls.iter().map(|url| url.parse()).collect();
        let mut servers = servers?;
        for server in servers.iter_mut().filter(|_| secure) {
            server.secure = true;
        }
        let prefix = prefix.unwrap_or(messages::DEFAULT_PREFIX);
        Ok(Self { servers, exchange: format!("{prefix}.{}", messages::EXCHANGE), tls })
    }
}

impl FromStr for AmqpTarget {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        Self::new(&[url.to_owned()], false, TlsFiles::default(), None)
    }
}

impl fmt::Display for AmqpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, server) in self.servers.iter().enumerate() {
            write!(f, "{}{server}", if place > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for AmqpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for AmqpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.secure { "amqps" } else { "amqp" }, self.endpoint)
    }
}

/// As kombu reads it: the virtual host is what follows the first slash, `/` where nothing does.
impl FromStr for AmqpServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = parse(text, AMQP_FORM)?;
        let secure = match url.scheme() {
            "amqp" | "pyamqp" => false,
            "amqps" => true,
            _ => return Err(format!("it is no url of RabbitMQ; {AMQP_FORM}")),
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("neither `?` nor `#` may be in it; {AMQP_FORM}"));
        }
        let endpoint = endpoint(&url, if secure { 5671 } else { 5672 }, AMQP_FORM)?;
        let (user, password) = user(&url, AMQP_FORM)?;
        let path = url.path();
        let virtual_host = decoded(path.strip_prefix('/').unwrap_or(path), AMQP_FORM)?;
        if virtual_host.len() > 255 {
            return Err(format!("the virtual host's name is too long; {AMQP_FORM}"));
        }
        Ok(Self {
            endpoint,
            secure,
            user: user.unwrap_or_else(|| "guest".to_owned()),
            password: password.unwrap_or_else(|| "guest".to_owned()),
            virtual_host: if virtual_host.is_empty() { "/".to_owned() } else { virtual_host },
        })
    }
}

fn parse(text: &str, form: &str) -> Result<Url, String> {
    // Elsewhere the host may stand after any number of slashes.
    if text.split_once("://").is_none_or(|(_, rest)| rest.starts_with('/')) {
        return Err(format!("the host is missing; {form}"));
    }
    Url::parse(text).map_err(|error| format!("it is no url ({error}); {form}"))
}

fn endpoint(url: &Url, default: u16, form: &str) -> Result<Endpoint, String> {
    let host = url.host_str().filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| format!("the host is missing; {form}"))?;
    let host = decoded(host.trim_start_matches('[').trim_end_matches(']'), form)?;
    let port = url.port().unwrap_or(default);
    if port == 0 {
        return Err(format!("nobody listens on port 0; {form}"));
    }
    Ok(Endpoint { host, port })
}

/// The user and the password, where they are there.
fn user(url: &Url, form: &str) -> Result<(Option<String>, Option<String>), String> {
    let user = Some(url.username()).filter(|user| !user.is_empty());
    let user = user.map(|user| decoded(user, form)).transpose()?;
    let password = url.password().map(|password| decoded(password, form)).transpose()?;
    Ok((user, password))
}

fn decoded(text: &str, form: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(std::borrow::Cow::into_owned).map_err(|_| format!("what is written as %XX is no UTF-8; {form}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_hosts_are_read_as_kombu_reads_them() {
        for (url, expected) in [
            ("amqp://host", "/"),
            ("amqp://host/", "/"),
            ("amqp://guest:guest@127.0.0.1:5672//", "/"),
            ("amqp://host/%2f", "/"),
            ("amqp://host/st2", "st2"),
            ("amqp://host//st2", "/st2"),
        ] {
            assert_eq!(url.parse::<AmqpServer>().unwrap().virtual_host, expected, "{url}");
        }
    }

    #[test]
    fn ports_users_and_schemes_have_their_defaults() {
        let server: AmqpServer = "amqps://rabbit.example".parse().unwrap();
        assert_eq!((server.endpoint.port, server.secure, server.user.as_str()), (5671, true, "guest"));
        let server: AmqpServer = "amqp://me:p%40ss@[::1]:1234/x".parse().unwrap();
        assert_eq!((server.password.as_str(), server.endpoint.to_string().as_str()), ("p@ss", "[::1]:1234"));
        let target: HttpTarget = "https://example.org".parse().unwrap();
        assert_eq!((target.endpoint.port, target.path.as_str(), target.authorization), (443, "/", None));
    }

    #[test]
    fn what_is_secret_is_not_shown() {
        let target: HttpTarget = "http://user:secret@host:8080/events?token=secret".parse().unwrap();
        assert_eq!(format!("{target} {target:?}"), "http://host:8080/events http://host:8080/events");
        assert_eq!(target.authorization.unwrap(), "Basic dXNlcjpzZWNyZXQ=");
        assert_eq!(target.path, "/events?token=secret");
        let target: AmqpTarget = "amqp://user:secret@host/x".parse().unwrap();
        assert_eq!(format!("{target} {target:?}"), "amqp://host:5672 amqp://host:5672");
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_what_to_write() {
        for wrong in ["http://", "http:///x", "http://h:99999/", "http://h/#x", "https://u:secret@:1/", "http://h:0/"] {
            let error = wrong.parse::<HttpTarget>().unwrap_err();
            assert!(error.contains("write https://HOST:PORT/PATH") && !error.contains("secret"), "{wrong}: {error}");
        }
        for wrong in ["amqp://", "amqp://h:x/", "amqp://h/?x=1", "amqp://u:secret@/", "redis://h", "amqp://h/%ff"] {
            let error = wrong.parse::<AmqpTarget>().unwrap_err();
            assert!(error.contains("write amqp://USER") && !error.contains("secret"), "{wrong}: {error}");
        }
    }
}
