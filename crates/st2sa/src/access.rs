//! `st2sa certificate` and `st2sa token`: what lets containers, arbitrators and people in.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use st2sa_doors::authority::{self, AUTHORITY_KEY, Written};
use st2sa_doors::tokens::{self, Token, Tokens};
use st2sa_doors::{DoorError, Limits, Role};
use st2sa_machine::files;

use crate::ask::one_line;
use crate::settings::{BadSetting, with_causes};

const FOLDER: &str = "/etc/st2sa/tls";
const TOKENS_FILE: &str = "/etc/st2sa/tokens.json";

const AFTER_CERTIFICATE: &str = "\
Example, for two nodes that run an arbitrator and a container each, and an operator:
  st2sa certificate init --dir ca
  st2sa certificate issue node-1 --role arbitrator --host node-1.example.org --host 10.0.0.1 --ca ca --dir node-1
  st2sa certificate issue web-1 --role container --host node-1.example.org --ca ca --dir node-1
  st2sa certificate issue anna --role operator --ca ca --dir anna
Each node gets its own certificates and keys, and ca.pem; ca-key.pem belongs on no node. Then, in st2.conf:
  [sensorarbitrator]                           [sensorcontainer]
  listen = 0.0.0.0:9110                        tls_cert_file = /etc/st2sa/tls/web-1.pem
  tls_cert_file = /etc/st2sa/tls/node-1.pem    tls_key_file = /etc/st2sa/tls/web-1-key.pem
  tls_key_file = /etc/st2sa/tls/node-1-key.pem tls_ca_file = /etc/st2sa/tls/ca.pem
  tls_ca_file = /etc/st2sa/tls/ca.pem
Any other authority will do that writes a URI st2sa://ROLE/NAME among a certificate's names; docs/security.md says more.";

const AFTER_TOKEN: &str = "\
Example:
  st2sa token create anna --role operator --days 90
  st2sa token create web --role container --container 'web-*' --sensor 'aws.*' --out web.token
The arbitrator reads the file that its tokens_file names; a token that is new or revoked counts within seconds. The file has
no secrets in it: a token is shown once, when it is made.";

/// What is to be done with certificates.
#[derive(Args)]
#[command(after_help = AFTER_CERTIFICATE)]
pub(crate) struct CertificateOptions {
    #[command(subcommand)]
    what: CertificateOrder,
}

/// About certificates.
#[derive(Subcommand)]
enum CertificateOrder {
    /// Make an authority: whatever it issues is trusted wherever its ca.pem is
    Init {
        /// Where ca.pem and ca-key.pem are to be
        #[arg(long, value_name = "DIR", default_value = FOLDER)]
        dir: PathBuf,
        /// How many days it is valid
        #[arg(long, value_name = "DAYS", default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36500))]
        days: u32,
    },
    /// Issue a certificate: NAME.pem, and its key NAME-key.pem
    Issue {
        /// Whose it is; a container's is its sensor node's name
        name: String,
        /// What it is
        #[arg(long, value_enum)]
        role: RoleName,
        /// A host name or address by which others reach it; may be given several times [default: NAME, for arbitrators and
        /// containers]
        #[arg(long = "host", value_name = "HOST")]
        hosts: Vec<String>,
        /// A sensor that a container may offer, or a glob; may be given several times [default: all]
        #[arg(long = "sensor", value_name = "REF")]
        sensors: Vec<String>,
        /// How many days it is valid
        #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36500))]
        days: u32,
        /// Where ca.pem and ca-key.pem are
        #[arg(long, value_name = "DIR", default_value = FOLDER)]
        ca: PathBuf,
        /// Where the certificate and its key are to be
        #[arg(long, value_name = "DIR", default_value = FOLDER)]
        dir: PathBuf,
        /// Replace those that are there: programs that use them read the new ones within seconds
        #[arg(long)]
        renew: bool,
    },
}

/// What is to be done with tokens.
#[derive(Args)]
#[command(after_help = AFTER_TOKEN)]
pub(crate) struct TokenOptions {
    #[command(subcommand)]
    what: TokenOrder,
    /// The file of tokens, which `tokens_file` of an arbitrator names
    #[arg(long, value_name = "FILE", default_value = TOKENS_FILE, env = "ST2SA_TOKENS_FILE", global = true)]
    tokens_file: PathBuf,
}

/// About tokens.
#[derive(Subcommand)]
enum TokenOrder {
    /// Make a token; it is printed, and kept nowhere
    Create {
        /// Whom it is for
        name: String,
        /// What its holder is
        #[arg(long, value_enum)]
        role: RoleName,
        /// The name that a container may have by it, or a glob; may be given several times [default: NAME]
        #[arg(long = "container", value_name = "NAME")]
        containers: Vec<String>,
        /// A sensor that it may offer, or a glob; may be given several times [default: all]
        #[arg(long = "sensor", value_name = "REF")]
        sensors: Vec<String>,
        /// How many days it is good for [default: until it is revoked]
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36500))]
        days: Option<u32>,
        /// Write it into a file that its owner alone may read, and do not print it
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// List the tokens
    List,
    /// Revoke a token: whoever holds it is let in no more, and shown out
    Revoke {
        /// Its name, or its id
        name: String,
    },
}

/// A role.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum RoleName {
    /// Offers sensors under its name
    Container,
    /// Sees how things are, history and logs
    Viewer,
    /// Gives orders, too, and reads and writes the datastore
    Operator,
    /// Another arbitrator
    Arbitrator,
}

/// Makes an authority or a certificate.
pub(crate) fn certificate(options: CertificateOptions) -> anyhow::Result<ExitCode> {
    let written = match options.what {
        CertificateOrder::Init { dir, days } => authority::init(&dir, days),
        CertificateOrder::Issue { name, role, mut hosts, sensors, days, ca, dir, renew } => {
            let role = Role::from(role);
            if hosts.is_empty() && matches!(role, Role::Arbitrator | Role::Container) {
                hosts.push(name.clone());
            }
            authority::issue(&ca, &dir, &authority::Wanted { name, role, hosts, sensors, days }, renew)
        }
    };
    let Written { certificate, key } = written.map_err(|error| wrong(&error))?;
    println!("{}", certificate.display());
    println!("{}", key.display());
    if key.file_name().is_some_and(|name| name == AUTHORITY_KEY) {
        eprintln!("Keep the key away from the nodes: whoever has it can issue a certificate for anything.");
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes, lists or revokes tokens.
pub(crate) fn token(options: TokenOptions) -> anyhow::Result<ExitCode> {
    let file = &options.tokens_file;
    match options.what {
        TokenOrder::Create { name, role, containers, sensors, days, out } => {
            let mut limits = Limits::of(&name);
            if !containers.is_empty() {
                limits.containers = containers;
            }
            if !sensors.is_empty() {
                limits.sensors = sensors;
            }
            if out.as_ref().is_some_and(|out| out.exists()) {
                return Err(BadSetting::new("--out names a file that is there already").into());
            }
            let token = tokens::create(file, tokens::Wanted { name, role: role.into(), limits, days })
                .map_err(|error| wrong(&error))?;
            match out {
                Some(out) => files::write_secret(&out, format!("{token}\n").as_bytes())?,
                None => println!("{token}"),
            }
        }
        TokenOrder::List => print!("{}", listed(&Tokens::read(file).map_err(|error| wrong(&error))?)),
        TokenOrder::Revoke { name } => {
            let revoked = tokens::revoke(file, &name).map_err(|error| wrong(&error))?;
            println!("{} ({}) is let in no more", one_line(&revoked.name), revoked.role);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn listed(tokens: &Tokens) -> String {
    let day = |seconds: i64| Timestamp::from_second(seconds).map(|at| at.to_string()).unwrap_or_default();
    let row = |token: &Token| {
        let expired = token.expires.is_some_and(|expires| expires <= Timestamp::now().as_second());
        let until = match token.expires {
            None => "revoked".to_owned(),
            Some(expires) if expired => format!("{} (expired)", day(expires)),
            Some(expires) => day(expires),
        };
        let limits = match token.role {
            Role::Container => {
                format!("; containers {}, sensors {}", token.containers.join(","), token.sensors.join(","))
            }
            _ => String::new(),
        };
        let line = format!(
            "{}  {}  id {}, made {}, until {until}{limits}",
            token.name,
            token.role,
            token.id,
            day(token.created)
        );
        one_line(&line) + "\n"
    };
    tokens.tokens.iter().map(row).collect()
}

fn wrong(error: &DoorError) -> BadSetting {
    BadSetting::new(with_causes(error))
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Container => Self::Container,
            RoleName::Viewer => Self::Viewer,
            RoleName::Operator => Self::Operator,
            RoleName::Arbitrator => Self::Arbitrator,
        }
    }
}
