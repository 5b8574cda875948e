//! A certificate authority of one's own, for where there is no other: `st2sa certificate init` and `issue`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use jiff::{ToSpan, Zoned, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, string::Ia5String,
};
use st2sa_machine::files;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::identity::{Identity, Role, is_ours, uri};
use crate::{DoorError, pem};

/// The authority's certificate: what every program is given to know the others by.
pub const AUTHORITY: &str = "ca.pem";
/// The authority's key: what issues certificates. It belongs on no node.
pub const AUTHORITY_KEY: &str = "ca-key.pem";

/// What a certificate is to say of its holder.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its name: a container's is that of its sensor node.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Host names and addresses by which it is reached.
    pub hosts: Vec<String>,
    /// The sensors that a container may offer, as globs; none are all.
    pub sensors: Vec<String>,
    /// How long it is valid, from yesterday on: clocks differ.
    pub days: u32,
}

/// A certificate and its key, where they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key; its owner alone may read it.
    pub key: PathBuf,
}

/// Makes an authority in a folder.
///
/// # Errors
/// When there is one already, or it cannot be written.
pub fn init(folder: &Path, days: u32) -> Result<Written, DoorError> {
    let written = Written { certificate: folder.join(AUTHORITY), key: folder.join(AUTHORITY_KEY) };
    absent(&written)?;
    let failed = |error: rcgen::Error| DoorError::Options(format!("the authority cannot be made: {error}"));
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = params(days, "st2sa certificate authority").map_err(failed)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(failed)?;
    std::fs::create_dir_all(folder).map_err(files::FileError::io("create", folder))?;
    // The key first: a certificate without its key could never be made again.
    files::write_secret(&written.key, key.serialize_pem().as_bytes())?;
    files::write_whole(&written.certificate, certificate.pem().as_bytes())?;
    Ok(written)
}

/// Has the authority of a folder issue a certificate, into another one.
///
/// # Errors
/// When what is wanted cannot be, there is one already and it is not to be renewed, or it cannot be written.
pub fn issue(authority: &Path, folder: &Path, wanted: &Wanted, renew: bool) -> Result<Written, DoorError> {
    check(wanted)?;
    let (certificate_path, key_path) = (authority.join(AUTHORITY), authority.join(AUTHORITY_KEY));
    let unusable = |path: &Path| {
        let path = path.to_owned();
        move |error: rcgen::Error| DoorError::content(&path, error.to_string())
    };
    let issuers_key = KeyPair::from_pem(&pem::text(&key_path)?).map_err(unusable(&key_path))?;
    let issuer = Issuer::from_ca_cert_pem(&pem::text(&certificate_path)?, issuers_key);
    let issuer = issuer.map_err(unusable(&certificate_path))?;
    let name = &wanted.name;
    let written =
        Written { certificate: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}-key.pem")) };
    if !renew {
        absent(&written)?;
    }
    let failed = |error: rcgen::Error| DoorError::Options(format!("the certificate cannot be made: {error}"));
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = params(wanted.days, name).map_err(failed)?;
    params.subject_alt_names = names(wanted).map_err(failed)?;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if matches!(wanted.role, Role::Arbitrator | Role::Container) {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
    std::fs::create_dir_all(folder).map_err(files::FileError::io("create", folder))?;
    files::write_secret(&written.key, key.serialize_pem().as_bytes())?;
    files::write_whole(&written.certificate, certificate.pem().as_bytes())?;
    Ok(written)
}

/// When a certificate ends: seconds since 1970.
pub(crate) fn ends(certificate: &[u8]) -> Option<i64> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

/// What a certificate says its holder is; none where it says nothing that is ours, and no role where it says it wrong.
#[expect(clippy::option_option, reason = "to say nothing is not the same as to say what cannot be")]
pub(crate) fn role(certificate: &[u8]) -> Option<Option<Role>> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    let ours = names.value.general_names.iter().any(|name| matches!(name, GeneralName::URI(uri) if is_ours(uri)));
    ours.then(|| holder(certificate).ok().and_then(|identity| identity.role))
}

/// Who a certificate says its holder is.
///
/// # Errors
/// When it says nothing that is ours, or more than one thing.
pub(crate) fn holder(certificate: &[u8]) -> Result<Identity, String> {
    let (_, parsed) = parse_x509_certificate(certificate).map_err(|error| format!("it cannot be read: {error}"))?;
    let expires = parsed.validity().not_after.timestamp();
    let names = parsed.subject_alternative_name().map_err(|error| format!("its names cannot be read: {error}"))?;
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let mut found = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Identity::from_uri(uri, expires),
        _ => None,
    });
    match (found.next(), found.next()) {
        (Some(identity), None) => identity,
        (None, _) => {
            Err("it does not say what its holder is: a URI st2sa://ROLE/NAME among its names is wanted".into())
        }
        (Some(_), Some(_)) => Err("it says more than once what its holder is".to_owned()),
    }
}

fn check(wanted: &Wanted) -> Result<(), DoorError> {
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if wanted.name.is_empty() || wanted.name.starts_with('.') || !plain(&wanted.name) || wanted.name.len() > 64 {
        let problem = format!("`{}` is no name: 1 to 64 letters, digits, `-`, `_`, `.`", wanted.name);
        return Err(DoorError::Options(problem));
    }
    let glob = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.*?".contains(c));
    if let Some(wrong) = wanted.sensors.iter().find(|sensor| sensor.is_empty() || !glob(sensor)) {
        return Err(DoorError::Options(format!("`{wrong}` is no sensor: write pack.ClassName, or a glob")));
    }
    if !wanted.sensors.is_empty() && wanted.role != Role::Container {
        return Err(DoorError::Options(format!("sensors are offered by containers, not by the role {}", wanted.role)));
    }
    Ok(())
}

fn absent(written: &Written) -> Result<(), DoorError> {
    for path in [&written.certificate, &written.key] {
        if path.exists() {
            return Err(DoorError::content(path, "it is there already"));
        }
    }
    Ok(())
}

fn params(days: u32, name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    let today = Zoned::now().with_time_zone(TimeZone::UTC).date();
    let on = |date: Date| {
        let part = |number: i8| u8::try_from(number).unwrap_or(1);
        rcgen::date_time_ymd(i32::from(date.year()), part(date.month()), part(date.day()))
    };
    params.not_before = on(today.saturating_sub(1.day()));
    params.not_after = on(today.saturating_add(i64::from(days).days()));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn names(wanted: &Wanted) -> Result<Vec<SanType>, rcgen::Error> {
    let text = |text: &str| Ia5String::try_from(text);
    let mut names = vec![SanType::URI(text(&uri(wanted.role, &wanted.name, &wanted.sensors))?)];
    for host in &wanted.hosts {
        names.push(match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(text(host)?),
        });
    }
    Ok(names)
}
