//! `st2sa arbitrator admit`: another arbitrator may lead, though every one that might is gone (rule 11).
//!
//! The list of those who may campaign is the leader's to change. So this leads for a moment, in the place of one of those that are
//! gone, by a campaign like any other: the store refuses it while anybody leads.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use st2sa_coordination::Shared;
use st2sa_coordination::store::Lengths;
use st2sa_core::engine::{Check, Electors, Key, Reply, Request, Token, Transaction, Value, Write};
use st2sa_core::names::{ArbitratorId, Incarnation, Term};
use st2sa_core::time::Span;
use st2sa_doors::Caller;
use st2sa_machine::{clock, identity};
use st2sa_proto::rest;

use crate::arbitrator::ArbitratorSettings;
use crate::settings::BadSetting;

/// An arbitrator that is there answers at once.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

const AFTER_HELP: &str = "\
For when every arbitrator in the store's list of electors is gone for good, and those that run say that they may not lead. An \
arbitrator that leads takes newcomers into the list by itself: nobody needs this then, and it is refused.

--force is your word that no arbitrator of the list runs any more anywhere, also none that this machine cannot reach: one that \
still leads without the store (fail-safe) would be a second leader.

Exit codes:
  0  it may lead, and does within seconds
  1  it was not admitted, and why
  2  a setting is wrong";

/// Who is to be admitted.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct AdmitOptions {
    /// The new arbitrator's id, as its log and `st2sa status` have it: NAME@HOST:PORT
    id: String,
    /// None of those that are listed runs any more anywhere
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    settings: ArbitratorSettings,
}

/// Admits it.
pub(crate) fn run(options: &AdmitOptions) -> anyhow::Result<()> {
    let files = options.settings.files()?;
    let read = options.settings.read(&files)?;
    let store = read.store.ok_or_else(|| {
        BadSetting::new("no store is named: there is no `url` in [coordination] of the --config-file")
    })?;
    let id = ArbitratorId::new(&options.id);
    if id.address().is_none() {
        return Err(BadSetting::new(format!("`{id}` is no arbitrator's id: it is written NAME@HOST:PORT")).into());
    }
    let caller = Caller::new(read.keys)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let lengths = Lengths { leader_ttl: read.timing.leader_ttl, deadline: read.timing.heartbeat };
        let store = st2sa_coordination::open(&store, lengths).await?;
        let granted = store.0.leader_ttl().unwrap_or(read.timing.leader_ttl);
        let still = read.timing.outlast(granted);
        admit(&store, &caller, &id, options.force, still, read.timing.session_ttl).await
    })
}

async fn admit(
    (engine, _): &Shared,
    caller: &Caller,
    id: &ArbitratorId,
    force: bool,
    still: Span,
    session_ttl: Span,
) -> anyhow::Result<()> {
    let silent = || anyhow!("{} does not answer", engine.describe());
    if let Reply::Observed { leader: Some(seen) } = engine.ask(Request::Observe).await {
        bail!("{} leads: it takes newcomers into the list by itself", seen.arbitrator);
    }
    let Reply::All(found) = engine.ask(Request::ReadAll).await else { return Err(silent()) };
    let members = found.electors.0.members;
    let Some(stand_in) = members.first().cloned() else {
        bail!("the store lists nobody: whoever comes first may lead");
    };
    if members.contains(id) {
        bail!("{id} is in the list already: it may lead");
    }
    if who_answers(caller, id).await != Answers::As(id.clone()) {
        bail!("nobody answers as {id}: start it, and take its id from its log or from `st2sa status`");
    }
    for member in &members {
        match who_answers(caller, member).await {
            Answers::As(found) if found == *member => {
                bail!("{member} is in the list, and answers: once it leads it takes newcomers in by itself")
            }
            Answers::Unknown if !force => {
                bail!(
                    "somebody is there where {member} was, and cannot be asked from here: make sure that it is not that one"
                )
            }
            Answers::As(_) | Answers::Unknown | Answers::Nobody => {}
        }
    }
    let listed: Vec<&str> = members.iter().map(ArbitratorId::as_str).collect();
    if !force {
        bail!(
            "none of those that may lead answers: {}; if none of them runs any more anywhere, add --force",
            listed.join(", ")
        );
    }
    // One of them may have given its word to a leader right before it ended (rule 11).
    eprintln!("waiting {still}: as long as any word that one of them gave can hold");
    tokio::time::sleep(clock::duration(still)).await;
    let token = Token { arbitrator: stand_in, incarnation: Incarnation(identity::random()), attempt: 1 };
    let campaign = Request::Campaign { token: token.clone(), above: Term(0), session_ttl, only_as_first: false };
    match engine.ask(campaign).await {
        Reply::Won { .. } => {}
        Reply::NotWon { leader: Some(seen), .. } => bail!("{} leads by now", seen.arbitrator),
        Reply::NotWon { leader: None, .. } => bail!("the list has changed meanwhile: ask again"),
        _ => bail!("it may have begun, and is over in {still}: {}", silent()),
    }
    let written = write(engine.as_ref(), &token, id).await;
    // Whoever is admitted need not wait until this ends by itself.
    engine.ask(Request::Resign { token }).await;
    written.with_context(|| format!("{id} is not admitted"))?;
    println!("{id} may lead; those that could are off the list: {}", listed.join(", "));
    Ok(())
}

async fn write(engine: &dyn st2sa_coordination::Engine, token: &Token, id: &ArbitratorId) -> anyhow::Result<()> {
    let Reply::All(found) = engine.ask(Request::ReadAll).await else { bail!("the store does not answer") };
    let (electors, version) = found.electors;
    let electors = Electors { members: [id.clone()].into(), ..electors };
    let transaction = Transaction {
        token: token.clone(),
        checks: vec![Check { key: Key::Electors, version }],
        writes: vec![Write::Put(Key::Electors, Value::Electors(electors))],
    };
    match engine.ask(Request::Transact(transaction)).await {
        Reply::Applied { .. } => Ok(()),
        Reply::Unknown => bail!("the store does not answer: it may be, or not; ask again"),
        _ => bail!("the list has changed meanwhile: ask again"),
    }
}

/// Who is where an arbitrator should be.
#[derive(Debug, PartialEq, Eq)]
enum Answers {
    /// Nobody listens there.
    Nobody,
    /// An arbitrator with this id.
    As(ArbitratorId),
    /// Somebody who does not say.
    Unknown,
}

async fn who_answers(caller: &Caller, arbitrator: &ArbitratorId) -> Answers {
    let Some(address) = arbitrator.address() else { return Answers::Nobody };
    let connected = tokio::time::timeout(ANSWER_WITHIN, tokio::net::TcpStream::connect(address)).await;
    if !matches!(connected, Ok(Ok(_))) {
        return Answers::Nobody;
    }
    let url = format!("{}://{address}{}", caller.scheme(), rest::STATUS);
    let Ok(answer) = caller.sign(caller.http().get(url)).timeout(ANSWER_WITHIN).send().await else {
        return Answers::Unknown;
    };
    let status = answer.json::<rest::Status>().await;
    status.map_or(Answers::Unknown, |status| Answers::As(ArbitratorId::new(status.arbitrator)))
}
