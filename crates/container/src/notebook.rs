//! What journaled sensors do, until it is an entry of the journal: collected while they poll, and seen by them at once.
//!
//! A notebook is one process's, from its activation on. It has the sensor's own values as the journal's record has them: those
//! are what the sensor reads. What others see is a copy, which may be late (see [`own`]).

mod own;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use st2sa_core::engine::Body;
use st2sa_core::names::{EntryId, SensorRef};
use st2sa_core::session::Work;
use st2sa_machine::identity;

use crate::datastore::Stored;
use crate::effects::{Effect, ValueWrite};
use crate::input::Whose;
use own::Own;

/// Effects of one poll, in bytes: a sensor that finds more at once is asked to look at less. The next holder reads them all at
/// once, within a heartbeat.
const POLL_BYTES_AT_MOST: usize = 8 << 20;
/// Triggers and writes of one poll.
const POLL_EFFECTS_AT_MOST: usize = 100_000;
/// Effects of all polls that go on in a container, in bytes: with them it stays small enough for its node.
const ALL_BYTES_AT_MOST: usize = 160 << 20;

/// Why a process that is about to be ended does nothing more.
const DISCARDED: &str = "a poll has raised, and what it did is thrown away: this process ends, and does nothing more";

/// The notebooks of a container.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notebooks {
    open: Arc<Mutex<BTreeMap<Whose, Notebook>>>,
    bytes: Arc<AtomicUsize>,
}

/// How an effect was taken.
#[derive(Debug)]
pub(crate) enum Taken {
    /// The process has no notebook: it is direct, or not ACTIVE.
    Direct(Effect),
    /// It is written down: it goes out with its poll's entry.
    Noted,
    /// It was done outside a poll: an entry of its own, which the loop makes, in its turn ([`Notebooks::alone`]).
    Alone(Effect),
    /// It is refused, and why.
    Refused(String),
}

/// What a sensor sees of a value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// This, or that there is none.
    Here(Option<String>),
    /// Whatever the datastore says.
    Elsewhere,
}

/// What a poll leaves behind.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// What it did, if it did anything and returned well.
    pub(crate) work: Option<Work>,
    /// It did something that is thrown away, since it raised.
    pub(crate) withheld: bool,
}

#[derive(Debug)]
struct Notebook {
    /// The sensor's own values after the last entry that was made.
    own: Own,
    /// A poll that goes on.
    poll: Option<Poll>,
    /// What is to be written with the next poll, before it has done anything.
    restores: Draft,
    /// What it did was thrown away, and the process with it.
    discarded: bool,
    /// Writes to names that are not the sensor's own, or with a time to live, as it is to see them until they are stored: none
    /// where deleted; with the entry that they went into.
    elsewhere: BTreeMap<String, (Option<String>, Option<EntryId>)>,
}

/// What a poll has done so far: nothing of it counts before it returns.
#[derive(Debug)]
struct Poll {
    own: Own,
    draft: Draft,
    elsewhere: BTreeMap<String, Option<String>>,
}

/// The effects since the last entry: an array of JSON without its end.
#[derive(Debug, Default)]
struct Draft {
    text: Vec<u8>,
    effects: usize,
    /// Bytes that count in all notebooks together.
    counted: usize,
}

impl Notebooks {
    /// A process begins to act, from its sensor's own values as the journal has them, and as they are found in the datastore.
    pub(crate) fn open(&self, whose: Whose, sensor: &SensorRef, values: &Body, copy: Option<Vec<Stored>>) {
        let mut own = Own::read(values, sensor);
        let mut restores = Draft::default();
        for name in copy.map(|copy| own.take(copy)).unwrap_or_default() {
            // A late write of ours has turned the copy back.
            let write = ValueWrite { value: own.get(&name).flatten(), name, ttl_ms: None };
            restores.add(&Effect::Write(write));
        }
        self.close(whose);
        let notebook = Notebook { own, poll: None, restores, discarded: false, elsewhere: BTreeMap::new() };
        self.all().insert(whose, notebook);
    }

    /// The process is gone: what it did and nobody committed is thrown away.
    pub(crate) fn close(&self, whose: Whose) {
        let closed = self.all().remove(&whose).and_then(|closed| closed.poll);
        self.give_back(closed.as_ref());
    }

    /// A poll begins.
    pub(crate) fn begin(&self, whose: Whose) {
        if let Some(notebook) = self.all().get_mut(&whose) {
            let (own, elsewhere) = (notebook.own.clone(), BTreeMap::new());
            notebook.poll = Some(Poll { own, draft: std::mem::take(&mut notebook.restores), elsewhere });
        }
    }

    /// A poll did not begin after all.
    pub(crate) fn not_begun(&self, whose: Whose) {
        if let Some(notebook) = self.all().get_mut(&whose)
            && let Some(poll) = notebook.poll.take()
        {
            notebook.restores = poll.draft;
        }
    }

    /// A poll has returned.
    pub(crate) fn end(&self, whose: Whose, well: bool) -> Left {
        let mut all = self.all();
        let Some(notebook) = all.get_mut(&whose) else { return Left::default() };
        let Some(poll) = notebook.poll.take() else { return Left::default() };
        self.give_back(Some(&poll));
        if poll.draft.effects == 0 {
            return Left::default();
        }
        if !well {
            // The process may remember what it did, and is ended; what it does until then counts no more.
            notebook.discarded = true;
            return Left { work: None, withheld: true };
        }
        let id = EntryId(identity::random_wide());
        notebook.own = poll.own;
        notebook.elsewhere.extend(poll.elsewhere.into_iter().map(|(name, value)| (name, (value, Some(id)))));
        let work = Work { id, values: notebook.own.body(), effects: poll.draft.body() };
        Left { work: Some(work), withheld: false }
    }

    /// A sensor does something: in its poll, or beside it in a thread of its own.
    pub(crate) fn act(&self, whose: Whose, effect: Effect, beside: bool) -> Taken {
        let mut all = self.all();
        let Some(notebook) = all.get_mut(&whose) else { return Taken::Direct(effect) };
        if notebook.discarded {
            return Taken::Refused(DISCARDED.to_owned());
        }
        let Some(poll) = notebook.poll.as_mut().filter(|_| !beside) else { return Taken::Alone(effect) };
        let bytes = effect.to_json().len() + 1;
        if poll.draft.effects >= POLL_EFFECTS_AT_MOST || poll.draft.text.len() + bytes > POLL_BYTES_AT_MOST {
            let bound = POLL_BYTES_AT_MOST >> 20;
            return Taken::Refused(format!(
                "one poll may dispatch and store {POLL_EFFECTS_AT_MOST} times and {bound} MiB: look at less at once, or set \
                 `effects: direct` for this sensor in the policy"
            ));
        }
        if self.bytes.load(Ordering::Relaxed) + bytes > ALL_BYTES_AT_MOST {
            let bound = ALL_BYTES_AT_MOST >> 20;
            return Taken::Refused(format!("the polls of this container do more than {bound} MiB at once"));
        }
        if let Effect::Write(write) = &effect {
            match poll.own.see(write) {
                Ok(true) => drop(poll.elsewhere.remove(&write.name)),
                Ok(false) => drop(poll.elsewhere.insert(write.name.clone(), write.value.clone())),
                Err(problem) => return Taken::Refused(problem),
            }
        }
        poll.draft.add(&effect);
        poll.draft.counted += bytes;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Taken::Noted
    }

    /// What was done outside a poll becomes an entry. On the loop, as every entry: they follow one another as they are made.
    pub(crate) fn alone(&self, whose: Whose, effect: &Effect) -> Result<Work, String> {
        let mut all = self.all();
        let notebook = all.get_mut(&whose).filter(|notebook| !notebook.discarded).ok_or(DISCARDED)?;
        let id = EntryId(identity::random_wide());
        if let Effect::Write(write) = effect {
            if notebook.own.see(write)? {
                notebook.elsewhere.remove(&write.name);
            } else {
                notebook.elsewhere.insert(write.name.clone(), (write.value.clone(), Some(id)));
            }
            // The poll that goes on sees it, too; where it has no room for it, it ends with that.
            if let Some(poll) = &mut notebook.poll {
                poll.own.see(write)?;
            }
        }
        let mut draft = Draft::default();
        draft.add(effect);
        Ok(Work { id, values: notebook.own.body(), effects: draft.body() })
    }

    /// What a sensor sees of a value.
    pub(crate) fn see(&self, whose: Whose, name: &str) -> Seen {
        let all = self.all();
        let Some(notebook) = all.get(&whose) else { return Seen::Elsewhere };
        if let Some(value) = notebook.poll.as_ref().and_then(|poll| poll.elsewhere.get(name)) {
            return Seen::Here(value.clone());
        }
        if let Some((value, _)) = notebook.elsewhere.get(name) {
            return Seen::Here(value.clone());
        }
        notebook.newest().get(name).map_or(Seen::Elsewhere, Seen::Here)
    }

    /// What a sensor sees of a list.
    pub(crate) fn see_all(&self, whose: Whose, prefix: &str, listed: Vec<(String, String)>) -> Vec<(String, String)> {
        let all = self.all();
        let Some(notebook) = all.get(&whose) else { return listed };
        let mut seen: BTreeMap<String, String> = listed.into_iter().collect();
        let elsewhere = notebook.elsewhere.iter().map(|(name, (value, _))| (name.clone(), value.clone()));
        let in_poll = notebook.poll.iter().flat_map(|poll| poll.elsewhere.clone());
        let known = notebook.newest().all().chain(elsewhere).chain(in_poll);
        for (name, value) in known.filter(|(name, _)| name.starts_with(prefix)) {
            match value {
                Some(value) => drop(seen.insert(name, value)),
                None => drop(seen.remove(&name)),
            }
        }
        seen.into_iter().collect()
    }

    /// An entry is applied: what it stored elsewhere is there now.
    pub(crate) fn applied(&self, entry: EntryId) {
        for notebook in self.all().values_mut() {
            notebook.elsewhere.retain(|_, (_, of)| *of != Some(entry));
        }
    }

    fn give_back(&self, poll: Option<&Poll>) {
        self.bytes.fetch_sub(poll.map_or(0, |poll| poll.draft.counted), Ordering::Relaxed);
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Whose, Notebook>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notebook {
    /// The values as the sensor sees them.
    fn newest(&self) -> &Own {
        self.poll.as_ref().map_or(&self.own, |poll| &poll.own)
    }
}

impl Draft {
    fn add(&mut self, effect: &Effect) {
        self.text.push(if self.effects == 0 { b'[' } else { b',' });
        self.text.extend_from_slice(&effect.to_json());
        self.effects += 1;
    }

    fn body(mut self) -> Body {
        self.text.push(b']');
        Body::new(&self.text)
    }
}

impl Effect {
    /// As it stands in an entry.
    fn to_json(&self) -> Vec<u8> {
        // Texts and JSON values can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Whether an entry's body is that of a journal's: an array; a direct effect is an object.
pub(crate) fn read(body: &Body) -> Option<Result<Vec<Effect>, serde_json::Error>> {
    (body.bytes().first() == Some(&b'[')).then(|| serde_json::from_slice(body.bytes()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::effects::Dispatch;

    const ME: Whose = Whose::Sensor(1);

    fn x() -> SensorRef {
        SensorRef::new("p.X")
    }

    fn opened(values: &Body, copy: Vec<Stored>) -> Notebooks {
        let notebooks = Notebooks::default();
        notebooks.open(ME, &x(), values, Some(copy));
        notebooks
    }

    fn set(name: &str, value: Option<&str>) -> Effect {
        Effect::Write(ValueWrite { name: name.to_owned(), value: value.map(str::to_owned), ttl_ms: None })
    }

    fn dispatch() -> Effect {
        Effect::Dispatch(Dispatch { trigger: json!("p.t"), payload: json!({"n": 1}), trace_context: Value::Null })
    }

    fn stored(name: &str, value: &str) -> Stored {
        Stored { name: name.to_owned(), value: value.to_owned(), ends: false }
    }

    fn polled(notebooks: &Notebooks, effects: Vec<Effect>) -> Work {
        notebooks.begin(ME);
        for effect in effects {
            assert!(matches!(notebooks.act(ME, effect, false), Taken::Noted));
        }
        notebooks.end(ME, true).work.unwrap()
    }

    fn here(value: &str) -> Seen {
        Seen::Here(Some(value.to_owned()))
    }

    #[test]
    fn a_poll_is_one_entry_and_sees_its_own_writes() {
        let notebooks = opened(&Body::default(), Vec::new());
        assert_eq!(notebooks.see(ME, "p.X:cursor"), Seen::Elsewhere);
        let work = polled(&notebooks, vec![dispatch(), set("p.X:cursor", Some("5"))]);
        assert_eq!(notebooks.see(ME, "p.X:cursor"), here("5"));
        assert_eq!(read(&work.effects).unwrap().unwrap().len(), 2);
        // The next activation begins with what the last entry left.
        let next = opened(&work.values, vec![stored("p.X:cursor", "5")]);
        assert_eq!(next.see(ME, "p.X:cursor"), here("5"));
        next.begin(ME);
        assert!(next.end(ME, true).work.is_none(), "a poll that does nothing is no entry");
    }

    #[test]
    fn what_a_raising_poll_did_is_withheld() {
        let notebooks = opened(&Body::default(), Vec::new());
        notebooks.begin(ME);
        assert!(matches!(notebooks.act(ME, dispatch(), false), Taken::Noted));
        let left = notebooks.end(ME, false);
        assert!(left.withheld && left.work.is_none());
        // cleanup(), or a thread: it knows of what was thrown away.
        let Taken::Refused(problem) = notebooks.act(ME, set("p.X:cursor", Some("5")), false) else { panic!("taken") };
        assert!(problem.contains("thrown away") && notebooks.alone(ME, &dispatch()).is_err());
        let quiet = opened(&Body::default(), Vec::new());
        quiet.begin(ME);
        assert!(!quiet.end(ME, false).withheld);
    }

    #[test]
    fn what_is_done_outside_a_poll_is_an_entry_of_its_own() {
        let notebooks = opened(&Body::default(), Vec::new());
        let Taken::Alone(effect) = notebooks.act(ME, set("p.X:cursor", Some("1")), false) else { panic!("not alone") };
        let work = notebooks.alone(ME, &effect).unwrap();
        assert_eq!(read(&work.effects).unwrap().unwrap().len(), 1);
        assert_eq!(notebooks.see(ME, "p.X:cursor"), here("1"));
    }

    #[test]
    fn what_another_thread_does_commits_nothing_of_the_poll_that_goes_on() {
        let notebooks = opened(&Body::default(), Vec::new());
        notebooks.begin(ME);
        assert!(matches!(notebooks.act(ME, set("p.X:cursor", Some("5")), false), Taken::Noted));
        let Taken::Alone(effect) = notebooks.act(ME, set("p.X:beside", Some("1")), true) else { panic!("not alone") };
        let work = notebooks.alone(ME, &effect).unwrap();
        let after = opened(&work.values, vec![stored("p.X:beside", "1")]);
        assert_eq!((after.see(ME, "p.X:beside"), after.see(ME, "p.X:cursor")), (here("1"), Seen::Elsewhere));
        // The poll's own entry has both.
        assert_eq!(notebooks.see(ME, "p.X:beside"), here("1"));
        let work = notebooks.end(ME, true).work.unwrap();
        let after = opened(&work.values, vec![stored("p.X:beside", "1"), stored("p.X:cursor", "5")]);
        assert_eq!((after.see(ME, "p.X:beside"), after.see(ME, "p.X:cursor")), (here("1"), here("5")));
    }

    #[test]
    fn a_poll_that_did_not_begin_leaves_what_is_to_be_restored() {
        let first = opened(&Body::default(), Vec::new());
        let work = polled(&first, vec![set("p.X:cursor", Some("1"))]);
        let work = polled(&opened(&work.values, vec![stored("p.X:cursor", "1")]), vec![set("p.X:cursor", Some("2"))]);
        let late = opened(&work.values, vec![stored("p.X:cursor", "1")]);
        late.begin(ME);
        late.not_begun(ME);
        assert!(matches!(late.act(ME, dispatch(), false), Taken::Alone(_)), "no poll goes on");
        late.begin(ME);
        assert!(late.end(ME, true).work.is_some());
    }

    #[test]
    fn a_value_that_does_not_fit_and_was_never_kept_is_left_alone() {
        let large = "x".repeat(300 * 1024);
        let notebooks = opened(&Body::default(), vec![stored("p.X:seen", &large)]);
        assert_eq!(notebooks.see(ME, "p.X:seen"), Seen::Elsewhere);
        notebooks.begin(ME);
        assert!(notebooks.end(ME, true).work.is_none());
    }

    #[test]
    fn whoever_has_no_notebook_is_direct() {
        let notebooks = Notebooks::default();
        assert!(matches!(notebooks.act(ME, dispatch(), false), Taken::Direct(_)));
        assert_eq!(notebooks.see(ME, "p.X:cursor"), Seen::Elsewhere);
    }

    #[test]
    fn a_late_write_of_ours_is_written_over_and_somebody_elses_is_taken() {
        let first = opened(&Body::default(), Vec::new());
        let work = polled(&first, vec![set("p.X:cursor", Some("1"))]);
        let second = opened(&work.values, vec![stored("p.X:cursor", "1")]);
        let work = polled(&second, vec![set("p.X:cursor", Some("2"))]);
        // Late: the copy is at 1 again.
        let third = opened(&work.values, vec![stored("p.X:cursor", "1")]);
        assert_eq!(third.see(ME, "p.X:cursor"), here("2"));
        third.begin(ME);
        let restored = third.end(ME, true).work.unwrap();
        assert!(String::from_utf8_lossy(restored.effects.bytes()).contains("\"2\""));
        // An operator's: neither the record's nor an earlier one.
        let fourth = opened(&work.values, vec![stored("p.X:cursor", "99")]);
        assert_eq!(fourth.see(ME, "p.X:cursor"), here("99"));
        // Deleted by an operator.
        let fifth = opened(&work.values, Vec::new());
        assert_eq!(fifth.see(ME, "p.X:cursor"), Seen::Here(None));
    }

    #[test]
    fn without_a_copy_the_record_holds() {
        let first = opened(&Body::default(), Vec::new());
        let work = polled(&first, vec![set("p.X:cursor", Some("1"))]);
        let next = Notebooks::default();
        next.open(ME, &x(), &work.values, None);
        assert_eq!(next.see(ME, "p.X:cursor"), here("1"));
    }

    #[test]
    fn a_deleted_value_is_gone_though_the_copy_is_late() {
        let first = opened(&Body::default(), Vec::new());
        let work = polled(&first, vec![set("p.X:a", Some("1"))]);
        let second = opened(&work.values, vec![stored("p.X:a", "1")]);
        let work = polled(&second, vec![set("p.X:a", None)]);
        assert_eq!(second.see(ME, "p.X:a"), Seen::Here(None));
        let third = opened(&work.values, vec![stored("p.X:a", "1")]);
        assert_eq!(third.see(ME, "p.X:a"), Seen::Here(None));
        assert!(third.see_all(ME, "p.X:", vec![("p.X:a".into(), "1".into())]).is_empty());
    }

    #[test]
    fn what_is_not_its_own_is_seen_until_it_is_stored() {
        let notebooks = opened(&Body::default(), Vec::new());
        let work = polled(&notebooks, vec![set("shared", Some("1"))]);
        assert_eq!(notebooks.see(ME, "shared"), here("1"));
        assert_eq!(notebooks.see_all(ME, "sh", Vec::new()), [("shared".to_owned(), "1".to_owned())]);
        notebooks.applied(work.id);
        assert_eq!(notebooks.see(ME, "shared"), Seen::Elsewhere);
    }

    #[test]
    fn what_ends_by_itself_is_no_part_of_the_record() {
        let notebooks = opened(&Body::default(), Vec::new());
        let ends = ValueWrite { name: "p.X:token".into(), value: Some("t".into()), ttl_ms: Some(9) };
        let work = polled(&notebooks, vec![set("p.X:token", Some("s")), Effect::Write(ends)]);
        assert_eq!(notebooks.see(ME, "p.X:token"), here("t"));
        notebooks.applied(work.id);
        assert_eq!(notebooks.see(ME, "p.X:token"), Seen::Elsewhere);
        let found = Stored { ends: true, ..stored("p.X:token", "t") };
        let next = opened(&work.values, vec![found]);
        assert_eq!(next.see(ME, "p.X:token"), Seen::Elsewhere);
    }

    #[test]
    fn too_much_is_refused_with_the_bound_and_its_bytes_are_given_back() {
        let notebooks = opened(&Body::default(), Vec::new());
        notebooks.begin(ME);
        let large = || {
            let payload = json!({ "text": "x".repeat(1 << 20) });
            Effect::Dispatch(Dispatch { trigger: json!("p.t"), payload, trace_context: Value::Null })
        };
        for _ in 0..7 {
            assert!(matches!(notebooks.act(ME, large(), false), Taken::Noted));
        }
        let Taken::Refused(problem) = notebooks.act(ME, large(), false) else { panic!("it was taken") };
        assert!(problem.contains("8 MiB"), "{problem}");
        notebooks.close(ME);
        assert_eq!(notebooks.bytes.load(Ordering::Relaxed), 0);
        let own = opened(&Body::default(), Vec::new());
        own.begin(ME);
        let value = "x".repeat(300 * 1024);
        assert!(matches!(own.act(ME, set("p.X:large", Some(&value)), false), Taken::Refused(_)));
    }
}
