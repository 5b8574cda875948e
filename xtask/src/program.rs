//! Starts other programs in the workspace root and says plainly what went wrong with them.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Error, Result, bail};

use crate::workspace;

/// A program with its arguments, about to be started.
pub(crate) struct Program {
    command: Command,
    hint: &'static str,
}

impl Program {
    /// A program found in `PATH`, or an absolute path.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.current_dir(workspace::root());
        Self { command, hint: "install it, or put it into PATH" }
    }

    /// The cargo that runs this task.
    pub(crate) fn cargo() -> Self {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Self::new(cargo).hint("install Rust with rustup and put ~/.cargo/bin into PATH")
    }

    /// What to do when the program is not there.
    pub(crate) fn hint(mut self, hint: &'static str) -> Self {
        self.hint = hint;
        self
    }

    /// Adds arguments.
    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it with its output streamed and without input; anything but success is an error.
    pub(crate) fn run(mut self) -> Result<()> {
        self.command.stdin(Stdio::null());
        let status = self.status()?;
        if !status.success() {
            bail!("`{self}` ended with {status}");
        }
        Ok(())
    }

    /// Runs it on this task's own input and output and gives its exit code, as a shell would.
    pub(crate) fn run_through(mut self) -> Result<u8> {
        Ok(exit_code(self.status()?))
    }

    /// Runs it silently and gives what it wrote to standard output.
    pub(crate) fn read(mut self) -> Result<String> {
        let output = self
            .command
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| self.not_started(error))?;
        if !output.status.success() {
            bail!("`{self}` ended with {}", output.status);
        }
        String::from_utf8(output.stdout).with_context(|| format!("`{self}` did not write valid UTF-8"))
    }

    /// What it answers on standard output, or nothing if it is not there or fails.
    pub(crate) fn answer(mut self) -> Option<String> {
        let output = self.command.stdin(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn status(&mut self) -> Result<ExitStatus> {
        eprintln!("$ {self}");
        self.command.status().map_err(|error| self.not_started(error))
    }

    fn not_started(&self, error: io::Error) -> Error {
        let name = shown(self.command.get_program());
        let advice = if error.kind() == io::ErrorKind::NotFound { format!(": {}", self.hint) } else { String::new() };
        Error::new(error).context(format!("failed to start `{name}`{advice}"))
    }
}

/// As one would type it in the workspace root.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.command.get_envs() {
            if let Some(value) = value {
                write!(f, "{}={} ", name.display(), shown(value))?;
            }
        }
        let program = self.command.get_program();
        if env::var_os("CARGO").is_some_and(|cargo| cargo == program) {
            f.write_str("cargo")?;
        } else {
            f.write_str(&shown(program))?;
        }
        for arg in self.command.get_args() {
            write!(f, " {}", shown(arg))?;
        }
        Ok(())
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

fn shown(word: &OsStr) -> String {
    let path = Path::new(word);
    let near: OsString = path.strip_prefix(workspace::root()).map_or_else(|_| word.to_owned(), OsString::from);
    let text = near.to_string_lossy();
    let plain = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_./=:+,@".contains(c));
    if plain { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_shown_as_it_would_be_typed() {
        let tool = workspace::root().join("target/tools/bin/tool");
        let program = Program::new(tool).env("FLAGS", "-D warnings").args(["check", "*.py", "it's", ""]);
        assert_eq!(program.to_string(), r"FLAGS='-D warnings' target/tools/bin/tool check '*.py' 'it'\''s' ''");
    }

    #[test]
    fn a_missing_program_is_named_with_what_to_do() {
        let Err(error) = Program::new("no-such-program-here").hint("build it").run() else {
            panic!("it was started");
        };
        let text = format!("{error:#}");
        assert!(text.starts_with("failed to start `no-such-program-here`: build it: "), "{text}");
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(exit_code(ExitStatus::from_raw(0)), 0);
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
    }
}
