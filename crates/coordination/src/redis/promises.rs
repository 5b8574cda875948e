//! What a server promises to keep: read from its settings, and said to people.

/// A server's settings, as far as they can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Promises {
    /// Its own words about itself; empty where it does not tell.
    info: String,
    /// When it syncs its file to the disk; `None` where it does not tell.
    appendfsync: Option<String>,
}

impl Promises {
    /// From the answers to `INFO` and `CONFIG GET appendfsync`, where it gave any.
    pub(super) fn new(info: Option<String>, appendfsync: Option<String>) -> Self {
        Self { info: info.unwrap_or_default(), appendfsync }
    }

    /// Why it cannot be used at all.
    pub(super) fn refusal(&self) -> Option<String> {
        /// Scripts that ask the time and then write need replication by effects, which is the default from here on.
        const OLDEST: u64 = 5;
        let version = self.field("redis_version").unwrap_or_default();
        if let Some(major) = version.split('.').next().and_then(|major| major.parse::<u64>().ok())
            && major < OLDEST
        {
            return Some(format!("it is Redis {version}; Redis {OLDEST} or later is needed"));
        }
        if self.field("redis_mode") == Some("cluster") {
            return Some("it is a node of a Redis Cluster, which cannot write our keys together".to_owned());
        }
        let policy = self.field("maxmemory_policy").filter(|policy| policy.starts_with("allkeys-"))?;
        Some(format!(
            "its maxmemory-policy is {policy}: it may throw away the term and the register; set it to noeviction"
        ))
    }

    /// Whether it takes writes; taken for granted where it does not tell.
    pub(super) fn is_master(&self) -> bool {
        self.field("role").is_none_or(|role| role == "master")
    }

    /// How many replicas have all that it has.
    pub(super) fn replicas(&self) -> usize {
        self.info.lines().filter(|line| line.starts_with("slave") && line.contains("state=online")).count()
    }

    /// What is kept, in a few words: for whoever asks which store this is.
    pub(super) fn words(&self) -> String {
        match (self.field("aof_enabled"), self.appendfsync.as_deref()) {
            (Some("0"), _) => "appendonly no: a restart forgets".to_owned(),
            (Some(_), Some("always")) => "appendonly yes, appendfsync always".to_owned(),
            (Some(_), Some(other)) => {
                format!("appendonly yes, appendfsync {other}: a crash of its machine forgets the last writes")
            }
            (Some(_), None) => "appendonly yes, appendfsync cannot be read".to_owned(),
            (None, _) => "whether a restart forgets, and whether there are replicas, cannot be read".to_owned(),
        }
    }

    /// What to change, where something is better changed.
    pub(super) fn advice(&self) -> Option<&'static str> {
        if self.field("aof_enabled") != Some("1") || self.appendfsync.as_deref() != Some("always") {
            return Some("only with `appendonly yes` and `appendfsync always` does a restart keep what was confirmed");
        }
        let evicts = self.field("maxmemory").is_some_and(|bytes| bytes != "0");
        let policy = self.field("maxmemory_policy").unwrap_or_default();
        (evicts && policy.starts_with("volatile-"))
            .then_some("its maxmemory-policy may end a leadership early: noeviction does not")
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promises(info: &str, appendfsync: Option<&str>) -> Promises {
        Promises::new(Some(info.replace(' ', "\r\n")), appendfsync.map(str::to_owned))
    }

    #[test]
    fn a_server_that_may_throw_the_term_away_is_refused() {
        let evicting = promises("redis_version:7.0.15 maxmemory_policy:allkeys-lru", Some("always"));
        assert!(evicting.refusal().unwrap().contains("set it to noeviction"));
        assert!(promises("redis_version:4.0.1", None).refusal().unwrap().contains("Redis 5 or later"));
        assert!(promises("redis_mode:cluster", None).refusal().unwrap().contains("Cluster"));
        let good = promises("redis_version:7.0.15 redis_mode:standalone maxmemory_policy:noeviction", Some("always"));
        assert_eq!(good.refusal(), None);
        assert_eq!(Promises::default().refusal(), None);
    }

    #[test]
    fn what_is_kept_is_said() {
        let words = |info: &str, appendfsync| promises(info, appendfsync).words();
        assert_eq!(words("aof_enabled:0", Some("always")), "appendonly no: a restart forgets");
        assert_eq!(words("aof_enabled:1", Some("always")), "appendonly yes, appendfsync always");
        assert!(words("aof_enabled:1", Some("everysec")).contains("everysec: a crash"));
        assert!(words("aof_enabled:1", None).contains("cannot be read"));
        assert!(Promises::default().words().contains("cannot be read"));
        assert!(Promises::default().advice().is_some());
        assert_eq!(promises("aof_enabled:1 maxmemory:0", Some("always")).advice(), None);
        let evicting = "aof_enabled:1 maxmemory:9 maxmemory_policy:volatile-ttl";
        assert!(promises(evicting, Some("always")).advice().unwrap().contains("end a leadership early"));
    }

    #[test]
    fn replicas_count_once_they_have_everything() {
        let info = "role:master connected_slaves:2 slave0:ip=h,port=1,state=online,offset=1,lag=0 \
                    slave1:ip=h,port=2,state=wait_bgsave,offset=0,lag=0";
        assert_eq!(promises(info, None).replicas(), 1);
        assert!(promises(info, None).is_master() && !promises("role:slave", None).is_master());
    }
}
