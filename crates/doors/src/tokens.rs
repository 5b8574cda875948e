//! A door's tokens: a file that keeps SHA-256 of each, for whom it is, and until when. `st2sa token` writes it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use st2sa_machine::files::{self, Lock};
use subtle::ConstantTimeEq;

use crate::identity::{Identity, Limits, Role, Via};
use crate::{DoorError, pem};

/// What every token begins with, so that a search for leaked secrets finds it.
const PREFIX: &str = "st2sa_";
/// Tokens of one file: more than anybody has nodes and colleagues.
const TOKENS_AT_MOST: usize = 2_000;
/// Bytes of a token's text at the most: a real one has 87.
const TEXT_BYTES_AT_MOST: usize = 200;

/// One token, as the file keeps it: without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Which one it is: part of its text.
    pub id: String,
    /// Whom it was made for: unique.
    pub name: String,
    /// What its holder is.
    pub role: Role,
    /// SHA-256 of its secret, hexadecimal.
    pub sha256: String,
    /// When it was made: seconds since 1970.
    pub created: i64,
    /// Until when it is good: seconds since 1970; for ever if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// The names that a container may have: globs.
    pub containers: Vec<String>,
    /// The sensors that it may offer: globs.
    pub sensors: Vec<String>,
}

/// What a new one is to be.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Whom it is for.
    pub name: String,
    /// What its holder is.
    pub role: Role,
    /// What a container may claim and offer by it.
    pub limits: Limits,
    /// How many days it is good for; for ever if not given.
    pub days: Option<u32>,
}

/// All tokens of a door.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// In the order in which they were made.
    pub tokens: Vec<Token>,
}

impl Tokens {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is not there, or holds something else.
    pub fn read(path: &Path) -> Result<Self, DoorError> {
        Self::understand(path, &pem::text(path)?)
    }

    /// Whose token this text is, if it is one of these. What is wrong with it is for this side's log alone.
    pub(crate) fn find(&self, text: &str, now: i64) -> Result<Identity, &'static str> {
        let parts = Some(text).filter(|text| text.len() <= TEXT_BYTES_AT_MOST);
        let parts = parts.and_then(|text| text.strip_prefix(PREFIX)).and_then(|rest| rest.split_once('_'));
        let Some((id, secret)) = parts else { return Err("what was shown is no token") };
        let token = self.tokens.iter().find(|token| token.id == id).ok_or("the token is unknown, or was revoked")?;
        if !bool::from(hash(secret).as_bytes().ct_eq(token.sha256.as_bytes())) {
            return Err("the token's secret is wrong");
        }
        if token.expires.is_some_and(|expires| now >= expires) {
            return Err("the token has expired");
        }
        let Token { name, role, containers, sensors, expires, .. } = token.clone();
        let limits = Limits { containers, sensors };
        Ok(Identity { role: Some(role), name, via: Via::Token(token.id.clone()), limits, expires })
    }

    /// Whether the token with this id is still one of these.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.tokens.iter().any(|token| token.id == id)
    }

    fn understand(path: &Path, text: &str) -> Result<Self, DoorError> {
        let read: Self = serde_json::from_str(text)
            .map_err(|error| DoorError::content(path, format!("it is no file of tokens: {error}")))?;
        if read.tokens.len() > TOKENS_AT_MOST {
            return Err(DoorError::content(path, format!("more than {TOKENS_AT_MOST} tokens")));
        }
        Ok(read)
    }
}

/// Adds a token to a file, which is made if it is not there; the token's text, which is nowhere else.
///
/// # Errors
/// When the name is taken, or the file cannot be used.
pub fn create(path: &Path, wanted: Wanted) -> Result<String, DoorError> {
    if wanted.name.is_empty() || wanted.name.len() > 64 || wanted.name.chars().any(char::is_control) {
        let problem = format!("`{}` is no name: 1 to 64 bytes without control characters", wanted.name.escape_debug());
        return Err(DoorError::Options(problem));
    }
    change(path, |tokens| {
        if tokens.tokens.iter().any(|token| token.name == wanted.name) {
            let problem = format!("there is a token `{}` already: revoke it first, or take another name", wanted.name);
            return Err(DoorError::content(path, problem));
        }
        if tokens.tokens.len() >= TOKENS_AT_MOST {
            return Err(DoorError::content(path, format!("there are {TOKENS_AT_MOST} tokens already: revoke some")));
        }
        let (id, secret) = (random::<8>()?, random::<32>()?);
        let created = now();
        let expires = wanted.days.map(|days| created + i64::from(days) * 24 * 60 * 60);
        let sha256 = hash(&secret);
        let Wanted { name, role, limits: Limits { containers, sensors }, .. } = wanted;
        tokens.tokens.push(Token { id: id.clone(), name, role, sha256, created, expires, containers, sensors });
        Ok(format!("{PREFIX}{id}_{secret}"))
    })
}

/// Takes a token out of a file, by its name or id.
///
/// # Errors
/// When there is none of that name, or the file cannot be used.
pub fn revoke(path: &Path, name: &str) -> Result<Token, DoorError> {
    change(path, |tokens| {
        let found = tokens.tokens.iter().position(|token| token.name == name || token.id == name);
        let found = found.ok_or_else(|| DoorError::content(path, format!("there is no token `{name}`")))?;
        Ok(tokens.tokens.remove(found))
    })
}

/// Seconds since 1970: what certificates and tokens expire by.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn change<T>(path: &Path, change: impl FnOnce(&mut Tokens) -> Result<T, DoorError>) -> Result<T, DoorError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(folder).map_err(files::FileError::io("create", folder))?;
    // Two that change it at once would lose one's token.
    let _lock = Lock::of(path, "another `st2sa token`")?;
    let mut tokens = if path.exists() { Tokens::read(path)? } else { Tokens::default() };
    let changed = change(&mut tokens)?;
    let mut text = serde_json::to_string_pretty(&tokens).unwrap_or_default();
    text.push('\n');
    files::write_secret(path, text.as_bytes())?;
    Ok(changed)
}

fn hash(secret: &str) -> String {
    hexadecimal(&Sha256::digest(secret.as_bytes()))
}

fn random<const BYTES: usize>() -> Result<String, DoorError> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| DoorError::Options(format!("there is no randomness: {error}")))?;
    Ok(hexadecimal(&bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(name: &str, days: Option<u32>) -> Wanted {
        Wanted { name: name.to_owned(), role: Role::Container, limits: Limits::of("web-*"), days }
    }

    #[test]
    fn a_token_is_found_by_its_text_alone_until_it_expires_or_is_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.json");
        let text = create(&path, wanted("web", Some(1))).unwrap();
        let tokens = Tokens::read(&path).unwrap();
        let identity = tokens.find(&text, now()).unwrap();
        assert!(identity.may_be("web-7") && !identity.may_be("db-1") && identity.role == Some(Role::Container));
        assert_eq!(tokens.find(&text, now() + 2 * 86_400), Err("the token has expired"));
        let mut other = text.clone();
        other.pop();
        assert_eq!(tokens.find(&other, now()), Err("the token's secret is wrong"));
        assert!(!std::fs::read_to_string(&path).unwrap().contains(text.rsplit_once('_').unwrap().1));
        revoke(&path, "web").unwrap();
        assert!(Tokens::read(&path).unwrap().find(&text, now()).is_err());
    }

    #[test]
    fn the_file_is_for_its_owner_alone_and_a_name_is_taken_once() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.json");
        create(&path, wanted("web", None)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = create(&path, wanted("web", None)).unwrap_err().to_string();
        assert!(error.contains("there is a token `web` already"), "{error}");
        assert!(revoke(&path, "db").unwrap_err().to_string().contains("there is no token `db`"));
    }

    #[test]
    fn what_is_no_token_is_none() {
        let tokens = Tokens::default();
        for text in ["", "st2sa_", "st2sa_x", "st2sa_x_", "Basic x", "st2sa_\u{0}_y", &"st2sa_a_".repeat(100)] {
            assert!(tokens.find(text, 0).is_err(), "{text}");
        }
    }
}
