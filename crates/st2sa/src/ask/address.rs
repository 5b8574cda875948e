//! Where arbitrators answer, as people write it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;

/// The port of an arbitrator's `listen`, where none is written.
const PORT: u16 = 9110;

/// Addresses to try in order; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addresses(Vec<Address>);

/// One arbitrator's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    base: Url,
    shown: String,
    says_scheme: bool,
}

impl Addresses {
    /// In the order in which they are tried.
    /// The same where nothing else is said of how they speak.
    pub(crate) fn over(mut self, scheme: &str) -> Self {
        for address in self.0.iter_mut().filter(|address| !address.says_scheme) {
            // Both are special schemes: one can stand for the other.
            let _ = address.base.set_scheme(scheme);
        }
        self
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Address> {
        self.0.iter()
    }
}

impl Address {
    /// Whether it begins with https://.
    pub(crate) fn says_tls(&self) -> bool {
        self.says_scheme && self.base.scheme() == "https"
    }

    /// Whether what is sent there can be read on the way.
    pub(crate) fn would_tell(&self, tls: bool) -> bool {
        let plain = if self.says_scheme { self.base.scheme() == "http" } else { !tls };
        let host = self.base.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        plain && !local
    }

    /// The address of one document: `path` with `reference` in the place of `{ref}`.
    pub(crate) fn url(&self, path: &str, reference: Option<&str>, query: &[(&str, String)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear();
            for segment in path.trim_start_matches('/').split('/') {
                segments.push(if segment == "{ref}" { reference.unwrap_or_default() } else { segment });
            }
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Why an address is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotAnAddress(String);

impl fmt::Display for NotAnAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotAnAddress {}

impl FromStr for Addresses {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        /// Each is given seconds before the next is tried.
        const ADDRESSES_AT_MOST: usize = 16;
        let addresses: Vec<Address> =
            text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::parse).collect::<Result<_, _>>()?;
        if addresses.is_empty() {
            return Err(NotAnAddress("no address is given: write host:port".to_owned()));
        }
        if addresses.len() > ADDRESSES_AT_MOST {
            return Err(NotAnAddress(format!("{} addresses are too many: at most 16", addresses.len())));
        }
        Ok(Self(addresses))
    }
}

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let wrong = |why: &str| NotAnAddress(format!("`{text}` is no address: {why}"));
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => (Some(scheme), rest),
            Some((scheme, _)) => return Err(wrong(&format!("an arbitrator speaks http or https, not {scheme}"))),
            None => (None, text),
        };
        let mut base =
            Url::parse(&format!("{}://{rest}", scheme.unwrap_or("http"))).map_err(|error| wrong(&error.to_string()))?;
        if !base.username().is_empty() || base.password().is_some() {
            return Err(wrong("an arbitrator asks for no password"));
        }
        if base.path() != "/" || base.query().is_some() || base.fragment().is_some() {
            return Err(wrong("nothing may follow the port"));
        }
        // A URL that says its scheme's own port looks the same as one that says nothing.
        let own = base.port_or_known_default().unwrap_or(PORT);
        if base.port().is_none() && !rest.trim_end_matches('/').ends_with(&format!(":{own}")) {
            base.set_port(Some(PORT)).map_err(|()| wrong("it takes no port"))?;
        }
        let host = base.host_str().ok_or_else(|| wrong("it names no host"))?;
        let shown = format!("{host}:{}", base.port_or_known_default().unwrap_or(PORT));
        Ok(Self { base, shown, says_scheme: scheme.is_some() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        text.parse::<Addresses>().unwrap().iter().map(ToString::to_string).collect()
    }

    fn refused(text: &str) -> String {
        text.parse::<Addresses>().unwrap_err().to_string()
    }

    #[test]
    fn an_address_is_written_in_several_ways() {
        for text in
            ["node-1:9110", "http://node-1:9110", "http://node-1:9110/", "node-1", " node-1 ,", "https://node-1"]
        {
            assert_eq!(shown(text), ["node-1:9110"], "{text}");
        }
        assert_eq!(shown("[::1]:9000"), ["[::1]:9000"]);
        assert_eq!(shown("[::1]"), ["[::1]:9110"]);
        assert_eq!(shown("node-1:80"), ["node-1:80"]);
        assert_eq!(shown("http://node-1:80/"), ["node-1:80"]);
        assert_eq!(shown("https://node-1:443/"), ["node-1:443"]);
    }

    #[test]
    fn several_addresses_keep_their_order() {
        assert_eq!(shown("b:1,a:2, http://c:3"), ["b:1", "a:2", "c:3"]);
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        assert_eq!(refused(""), "no address is given: write host:port");
        assert_eq!(refused("ftp://a:1"), "`ftp://a:1` is no address: an arbitrator speaks http or https, not ftp");
        assert_eq!(refused("a:1/v1"), "`a:1/v1` is no address: nothing may follow the port");
        assert_eq!(refused("a:1?x=y"), "`a:1?x=y` is no address: nothing may follow the port");
        assert_eq!(refused("me:secret@a:1"), "`me:secret@a:1` is no address: an arbitrator asks for no password");
        assert_eq!(refused("a:99999"), "`a:99999` is no address: invalid port number");
        assert_eq!(refused(&["a"; 17].join(",")), "17 addresses are too many: at most 16");
    }

    #[test]
    fn what_says_nothing_of_tls_is_asked_as_the_keys_say() {
        let addresses: Addresses = "a:1,http://b:2,https://c:3,d:443".parse().unwrap();
        let urls = |scheme: &str| -> Vec<String> {
            let addresses = addresses.clone().over(scheme);
            addresses.iter().map(|address| address.url("/v1", None, &[]).to_string()).collect()
        };
        assert_eq!(urls("https"), ["https://a:1/v1", "http://b:2/v1", "https://c:3/v1", "https://d/v1"]);
        assert_eq!(urls("http"), ["http://a:1/v1", "http://b:2/v1", "https://c:3/v1", "http://d:443/v1"]);
    }

    #[test]
    fn what_is_sent_without_tls_stays_on_this_machine() {
        let tells = |text: &str, tls| text.parse::<Address>().unwrap().would_tell(tls);
        assert!(
            tells("a:1", false) && !tells("a:1", true) && tells("http://a:1", true) && !tells("https://a:1", false)
        );
        assert!(!tells("127.0.0.1:1", false) && !tells("[::1]:1", false) && !tells("localhost", false));
    }

    #[test]
    fn a_reference_stays_one_part_of_the_path() {
        let address: Address = "a:1".parse().unwrap();
        let url = address.url("/v1/sensors/{ref}/logs", Some("pack.a/b?c é"), &[("lines", "5".to_owned())]);
        assert_eq!(url.as_str(), "http://a:1/v1/sensors/pack.a%2Fb%3Fc%20%C3%A9/logs?lines=5");
        assert_eq!(address.url("/v1/status", None, &[]).as_str(), "http://a:1/v1/status");
    }
}
