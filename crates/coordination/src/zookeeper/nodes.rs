//! Nodes, read in one go and written in one go.

use std::future::Future;

use zookeeper_client::{Acls, Client, CreateMode, Error, MultiWriteError, MultiWriteResult, Stat};

use super::trouble::Trouble;

/// Reads that are under way at once: as many as hide the way there and back, and few enough that a renewal does not
/// wait long behind them.
const READS_AT_ONCE: usize = 256;

/// What ZooKeeper takes for "at any version, as long as it is there".
const ANY_VERSION: i32 = -1;

/// One step of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The node must be there, at this version if one is given.
    Check(String, Option<i32>),
    /// Sets the node, which must be there, at this version if one is given.
    Set(String, Vec<u8>, Option<i32>),
    /// Makes the node, which must not be there.
    Create(String, Vec<u8>),
    /// Makes the node, which must not be there, and which goes with the session.
    CreateEphemeral(String, Vec<u8>),
    /// Removes the node, which must be there, at this version if one is given.
    Delete(String, Option<i32>),
}

/// What came of a write that was answered.
#[derive(Debug)]
pub(super) enum Written {
    /// It is done, whole.
    Done(Vec<MultiWriteResult>),
    /// Nothing of it is done: this step found the node otherwise than it was to.
    Refused {
        /// Its place among the steps.
        step: usize,
    },
}

/// Writes all steps or none. The servers' quorum has agreed to whatever is answered, a refusal included; every error
/// leaves open whether it was written, or will be.
pub(super) async fn write(client: &Client, acls: Acls<'static>, steps: &[Step]) -> Result<Written, Trouble> {
    let mut writer = client.new_multi_writer();
    for step in steps {
        match step {
            Step::Check(path, version) => writer.add_check_version(path, version.unwrap_or(ANY_VERSION)),
            Step::Set(path, data, version) => writer.add_set_data(path, data, *version),
            Step::Create(path, data) => writer.add_create(path, data, &CreateMode::Persistent.with_acls(acls)),
            Step::CreateEphemeral(path, data) => writer.add_create(path, data, &CreateMode::Ephemeral.with_acls(acls)),
            Step::Delete(path, version) => writer.add_delete(path, *version),
        }?;
    }
    match writer.commit().await {
        Ok(results) => Ok(Written::Done(results)),
        Err(MultiWriteError::OperationFailed {
            index,
            source: Error::NoNode | Error::BadVersion | Error::NodeExists | Error::NotEmpty,
        }) => Ok(Written::Refused { step: index }),
        Err(error) => Err(error.into()),
    }
}

/// The node as a step that set it has left it.
pub(super) fn set_by(results: &[MultiWriteResult], step: usize) -> Option<Stat> {
    match results.get(step) {
        Some(MultiWriteResult::SetData { stat }) => Some(*stat),
        _ => None,
    }
}

/// A node's content, where there is one.
pub(super) async fn content(
    read: impl Future<Output = Result<(Vec<u8>, Stat), Error>>,
) -> Result<Option<(Vec<u8>, Stat)>, Trouble> {
    match read.await {
        Ok(found) => Ok(Some(found)),
        Err(Error::NoNode) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The contents of many nodes, in their order. The client hands a read over when it is called, not when its answer is
/// waited for: so they are all on their way together.
pub(super) async fn contents(client: &Client, paths: &[String]) -> Result<Vec<Option<(Vec<u8>, Stat)>>, Trouble> {
    let mut found = Vec::with_capacity(paths.len());
    for some in paths.chunks(READS_AT_ONCE) {
        let reads: Vec<_> = some.iter().map(|path| client.get_data(path)).collect();
        for read in reads {
            found.push(content(read).await?);
        }
    }
    Ok(found)
}

/// What is known of many nodes without their contents, in their order.
pub(super) async fn stats(client: &Client, paths: &[String]) -> Result<Vec<Option<Stat>>, Trouble> {
    let mut found = Vec::with_capacity(paths.len());
    for some in paths.chunks(READS_AT_ONCE) {
        let looks: Vec<_> = some.iter().map(|path| client.check_stat(path)).collect();
        for look in looks {
            found.push(look.await?);
        }
    }
    Ok(found)
}

/// The version of a node as core knows it: the number of the transaction that wrote it last. All nodes that one
/// transaction writes have the same, it only rises, and a node that is made anew gets another one; ZooKeeper's own
/// version of a node would begin at 0 again.
pub(super) fn version(stat: &Stat) -> u64 {
    u64::try_from(stat.mzxid).unwrap_or(0)
}
