//! Certificates and tokens among the settings: of a door, and of whoever goes to others' doors.

use std::path::PathBuf;

use clap::Args;
use st2sa_doors::{DoorFiles, Keys};

use crate::settings::Settings;

/// In the place of a file: whoever the system trusts.
pub(crate) const SYSTEM: &str = "system";

/// What can be set of the doors of a daemon.
#[derive(Args, Debug)]
pub(crate) struct DoorSettings {
    /// The certificate that it shows, PEM; renewed ones are read while it runs [default: none, and no TLS]
    #[arg(long, value_name = "FILE")]
    tls_cert_file: Option<String>,
    /// The key of --tls-cert-file, PEM
    #[arg(long, value_name = "FILE")]
    tls_key_file: Option<String>,
    /// The authority whose certificates it trusts, PEM; or `system`, for servers' alone
    #[arg(long, value_name = "FILE")]
    tls_ca_file: Option<String>,
    /// The tokens that let their holders in, made by `st2sa token`; changes are read while it runs
    #[arg(long, value_name = "FILE")]
    tokens_file: Option<String>,
    /// Its own token, which it shows to others
    #[arg(long, value_name = "FILE")]
    token_file: Option<String>,
}

impl DoorSettings {
    /// What they are, in the section of a daemon.
    pub(crate) fn read(&self, settings: &Settings, section: &'static str) -> (DoorFiles, Keys) {
        let file = |flag: &Option<String>, name: &'static str| settings.get::<PathBuf>(flag.as_deref(), section, name);
        let certificate = file(&self.tls_cert_file, "tls_cert_file");
        let key = file(&self.tls_key_file, "tls_key_file");
        let named = file(&self.tls_ca_file, "tls_ca_file");
        let authority = named.clone().filter(|path| path.as_os_str() != SYSTEM);
        let tokens = file(&self.tokens_file, "tokens_file");
        let token = file(&self.token_file, "token_file");
        let keys = Keys {
            tls: certificate.is_some() || named.is_some(),
            authority: authority.clone(),
            certificate: certificate.clone(),
            key: key.clone(),
            token,
            token_text: None,
        };
        (DoorFiles { certificate, key, authority, tokens }, keys)
    }
}
