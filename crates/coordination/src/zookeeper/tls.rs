//! TLS towards ZooKeeper: certificates from files, or the system's.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zookeeper_client::TlsOptions;

use crate::store::Tls;

/// The client's options.
pub(super) fn options(tls: &Tls) -> Result<TlsOptions, String> {
    let authorities = match &tls.ca {
        Some(path) => read(path)?,
        None => system_authorities()?,
    };
    let from = tls.ca.as_ref().map_or_else(|| "the system's".to_owned(), |path| format!("`{}`", path.display()));
    let options = TlsOptions::new()
        .with_pem_ca(&authorities)
        .map_err(|error| format!("no certificate can be taken from {from}: {error}"))?;
    match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => options
            .with_pem_identity(&read(certificate)?, &read(key)?)
            .map_err(|error| format!("the certificate `{}` cannot be used: {error}", certificate.display())),
        (None, None) => Ok(options),
        (Some(_), None) => Err("there is a certificate without its key".to_owned()),
        (None, Some(_)) => Err("there is a key without its certificate".to_owned()),
    }
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))
}

/// The certificates that this system trusts, as the client wants them.
fn system_authorities() -> Result<String, String> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = found.errors.first().map_or_else(|| "there is none".to_owned(), ToString::to_string);
        return Err(format!("the system's certificates cannot be read: {why}"));
    }
    let pem = |der: &[u8]| format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines(der));
    Ok(found.certs.iter().map(|certificate| pem(certificate)).collect())
}

/// In lines of 64 characters, as the format has it.
fn lines(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    lines.join("\n")
}
