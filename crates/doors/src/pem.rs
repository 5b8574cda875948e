//! PEM files, read whole and bounded.

use std::path::Path;

use st2sa_machine::files::{self, FileError};
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::DoorError;

/// Any file of a door: a bundle of all public authorities is 200 KiB.
const FILE_BYTES_AT_MOST: u64 = 1 << 20;

pub(crate) fn text(path: &Path) -> Result<String, DoorError> {
    let text = files::read_small(path, FILE_BYTES_AT_MOST)?;
    let missing = || FileError::io("open", path)(std::io::ErrorKind::NotFound.into());
    Ok(text.ok_or_else(missing)?)
}

/// The certificates of a file, at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, DoorError> {
    let text = text(path)?;
    let read = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
    let found = read.map_err(|error| DoorError::content(path, error.to_string()))?;
    if found.is_empty() {
        return Err(DoorError::content(
            path,
            "there is no certificate in it: PEM is wanted, -----BEGIN CERTIFICATE-----",
        ));
    }
    Ok(found)
}

pub(crate) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, DoorError> {
    PrivateKeyDer::from_pem_slice(text(path)?.as_bytes())
        .map_err(|error| DoorError::content(path, format!("there is no private key in it that can be used: {error}")))
}

/// Who vouches for others' certificates.
pub(crate) fn authorities(path: &Path) -> Result<RootCertStore, DoorError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| DoorError::content(path, error.to_string()))?;
    }
    Ok(roots)
}
