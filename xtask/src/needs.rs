//! What has to be on the machine and comes from Debian packages.

use std::fmt;

use anyhow::{Result, bail};

use crate::program::Program;

/// Rust links with it, and some dependencies compile C.
pub(crate) const C_COMPILER: Need =
    Need { what: "a C compiler (`cc`)", packages: &["gcc", "libc6-dev"], probe: &["cc", "--version"] };

/// Debian splits what `python3 -m venv` needs from Python itself.
pub(crate) const PYTHON_VENV: Need = Need {
    what: "Python 3 with its venv module",
    packages: &["python3", "python3-venv"],
    probe: &["python3", "-c", "import ensurepip, venv"],
};

/// Tests of the engine on it start servers of their own.
pub(crate) const ETCD: Need = Need {
    what: "etcd with its `etcdctl`",
    packages: &["etcd-server", "etcd-client"],
    probe: &["sh", "-c", "command -v etcd && command -v etcdctl"],
};

/// See [`ETCD`]; Java, and ZooKeeper's own jars without its service.
pub(crate) const ZOOKEEPER: Need = Need {
    what: "ZooKeeper, with Java",
    packages: &["default-jre-headless", "libzookeeper-java", "libnetty-java", "libslf4j-java"],
    probe: &[
        "sh",
        "-c",
        "command -v java && cd /usr/share/java && ls zookeeper.jar slf4j-simple.jar netty-codec.jar netty-resolver.jar",
    ],
};

/// See [`ETCD`].
pub(crate) const REDIS: Need = Need {
    what: "Redis with its `redis-cli`",
    packages: &["redis-server", "redis-tools"],
    probe: &["sh", "-c", "command -v redis-server && command -v redis-cli"],
};

/// Scenes on network namespaces.
pub(crate) const NAMESPACES: Need = Need {
    what: "iproute2 and nftables",
    packages: &["iproute2", "nftables"],
    probe: &["sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; command -v ip && command -v nft"],
};

/// Tests of the sink for it start servers of their own.
pub(crate) const RABBITMQ: Need = Need {
    what: "RabbitMQ",
    packages: &["rabbitmq-server"],
    probe: &["sh", "-c", "command -v epmd && ls /usr/lib/rabbitmq/bin/rabbitmq-server"],
};

/// Something that Debian packages bring, and the command that succeeds once it is there.
pub(crate) struct Need {
    what: &'static str,
    packages: &'static [&'static str],
    probe: &'static [&'static str],
}

impl Need {
    /// Makes sure that it is there: installs it where that is possible, else says what to install.
    pub(crate) fn ensure(&self) -> Result<()> {
        if self.is_met() {
            return Ok(());
        }
        if !can_install() {
            bail!("{self}");
        }
        eprintln!("{} is missing: installing {}", self.what, self.packages.join(" "));
        apt_get(&["update"])?;
        apt_get(
            &["install", "-y", "--no-install-recommends"]
                .into_iter()
                .chain(self.packages.iter().copied())
                .collect::<Vec<_>>(),
        )?;
        if !self.is_met() {
            bail!("{self}");
        }
        Ok(())
    }

    fn is_met(&self) -> bool {
        self.probe.split_first().is_some_and(|(program, args)| Program::new(program).args(args).answer().is_some())
    }
}

/// That it is missing, and what to do.
impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is missing: run `apt-get install -y --no-install-recommends {}` as root, \
             or install your system's equivalent",
            self.what,
            self.packages.join(" ")
        )
    }
}

fn can_install() -> bool {
    let root = Program::new("id").args(["-u"]).answer().as_deref() == Some("0");
    root && Program::new("apt-get").args(["--version"]).answer().is_some()
}

fn apt_get(args: &[&str]) -> Result<()> {
    Program::new("apt-get")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Services that a package brings are not started: tests start their own.
        .env("RUNLEVEL", "1")
        .run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_need_says_exactly_what_to_install() {
        assert_eq!(
            C_COMPILER.to_string(),
            "a C compiler (`cc`) is missing: run `apt-get install -y --no-install-recommends gcc libc6-dev` as root, \
             or install your system's equivalent"
        );
    }
}
