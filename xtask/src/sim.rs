//! Builds the simulation in release and runs it.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use crate::flags;
use crate::program::Program;
use crate::workspace;

/// Runs the simulation with the caller's arguments; the exit code is the simulation's.
pub(crate) fn pass_through(args: &[OsString]) -> Result<ExitCode> {
    let code = simulate(args)?.run_through()?;
    Ok(ExitCode::from(code))
}

/// Runs the simulation as a step of the gate.
pub(crate) fn check(args: &[&str]) -> Result<()> {
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    simulate(&args)?.run()
}

/// Runs the subcommand that compares or writes the generated table of guards.
pub(crate) fn guards(args: &[&str]) -> Result<()> {
    Build::Sound.cargo("run").args(["--", "guards"]).args(args).run()
}

fn simulate(args: &[OsString]) -> Result<Program> {
    let build = Build::wanted_by(args);
    build.cargo("build").run()?;
    // `cargo run` knows where the binary is, whatever the caller's settings, and becomes it: the
    // exit code is the binary's.
    Ok(build.cargo("run").args(["--quiet", "--", "simulate"]).args(args))
}

/// Which build of the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Build {
    /// The code as it ships.
    Sound,
    /// With switches that take single guards out.
    Breakable,
}

impl Build {
    fn wanted_by(args: &[OsString]) -> Self {
        let breaks = |arg: &OsString| arg == "--broken" || arg.as_encoded_bytes().starts_with(b"--broken=");
        if args.iter().any(breaks) { Self::Breakable } else { Self::Sound }
    }

    fn cargo(self, subcommand: &str) -> Program {
        let cargo = Program::cargo().args([subcommand, "--release", "--locked", "-p", "st2sa-sim"]);
        match self {
            Self::Sound => cargo,
            Self::Breakable => {
                let (variable, flags) = flags::appended("RUSTFLAGS", &["--cfg", "st2sa_broken"]);
                cargo.env(variable, flags).args(["--target-dir".into(), workspace::target_dir().join("broken")])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_broken_guard_asks_for_the_breakable_build() {
        for (line, build) in [
            ("", Build::Sound),
            ("--seed 7", Build::Sound),
            ("--scenario broken", Build::Sound),
            ("--brokenness 3", Build::Sound),
            ("--help", Build::Sound),
            ("--broken all", Build::Breakable),
            ("--seeds 5 --broken=lease_margin", Build::Breakable),
        ] {
            let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            assert_eq!(Build::wanted_by(&args), build, "{line}");
        }
    }

    #[test]
    fn the_breakable_build_does_not_mix_with_the_sound_one() {
        let sound = Build::Sound.cargo("build").to_string();
        let breakable = Build::Breakable.cargo("build").to_string();
        assert!(!sound.contains("st2sa_broken"), "{sound}");
        assert!(breakable.contains("--cfg"), "{breakable}");
        assert!(breakable.contains("st2sa_broken"), "{breakable}");
        assert!(breakable.contains("--target-dir"), "{breakable}");
    }
}
