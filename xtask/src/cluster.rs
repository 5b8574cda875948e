//! Scenes on clusters over network namespaces: links are cut, and sensors go on.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use crate::needs;
use crate::program::Program;

/// Builds the product and the scenes, and plays them with `args`. Only root may: the gate compiles them and plays none.
pub(crate) fn pass_through(args: &[OsString]) -> Result<ExitCode> {
    for need in [needs::NAMESPACES, needs::ETCD, needs::ZOOKEEPER, needs::REDIS] {
        need.ensure()?;
    }
    Program::cargo().args(["build", "--locked", "--package", "st2sa", "--package", "st2sa-cluster"]).run()?;
    let code = Program::cargo()
        .args(["run", "--locked", "--quiet", "--package", "st2sa-cluster", "--"])
        .args(args)
        .run_through()?;
    Ok(ExitCode::from(code))
}
