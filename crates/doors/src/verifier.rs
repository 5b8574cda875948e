//! Whom a program goes to: a certificate that says that its holder is something else is not believed, whatever its names.
//!
//! The certificates of containers are for servers, too, and often for the same host: one of them must not be taken for an
//! arbitrator. A certificate that says nothing of the kind is an arbitrator's if its names are: it was issued by an authority that
//! knows no roles.

use std::sync::Arc;

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use crate::identity::Role;
use crate::{DoorError, authority};

#[derive(Debug)]
struct Only {
    role: Role,
    verifier: Arc<WebPkiServerVerifier>,
}

/// Verifies as usual, and that the other is none of another role.
pub(crate) fn only(role: Role, roots: RootCertStore) -> Result<Arc<dyn ServerCertVerifier>, DoorError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let verifier = verifier.map_err(|error| DoorError::Options(format!("nobody can be trusted: {error}")))?;
    Ok(Arc::new(Only { role, verifier }))
}

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        match authority::role(end_entity) {
            None => Ok(verified),
            Some(role) if role == Some(self.role) => Ok(verified),
            Some(_) => {
                let problem = format!("its certificate is not that of the role {}", self.role);
                Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(NotThat(problem))))))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotThat(String);
