//! The leader's side of the journal: commits in order, seals, marks (rule 10).

use super::leadership::Pending;
use super::sensor::{Holder, Log};
use super::{Answer, Arbiter, Command};
use crate::engine::{Body, Check, Entry, Journal, Key, Record, Reply, Request, Value, Write};
use crate::guard;
use crate::message::{Effects, ToContainer};
use crate::names::{EntryId, RequestId, SensorRef, StreamId};
use crate::time::Time;

/// Entries of one sensor that wait to be committed; a container sends no more than its own bound.
const COMMITS_AT_MOST: usize = 64;
/// Marks of one transaction: every store takes more.
const MARKS_AT_ONCE: usize = 64;

impl Arbiter {
    pub(super) fn on_commit(&mut self, stream: StreamId, sensor: &SensorRef, entry: Entry) {
        let Some(leadership) = self.leader() else { return };
        let Some(name) = leadership.bound_on(stream) else { return };
        let state = leadership.sensor(sensor);
        let Holder::Held(held) = &state.holder else {
            self.refuse(stream, sensor, entry.id);
            return;
        };
        if held.by != name || entry.fence > held.fence {
            self.refuse(stream, sensor, entry.id);
            return;
        }
        let waits = state.log.commits.iter().any(|waiting| waiting.id == entry.id);
        if !waits && state.log.commits.len() < COMMITS_AT_MOST {
            state.log.commits.push_back(entry);
        }
        self.pump(sensor);
    }

    pub(super) fn on_mark(&mut self, stream: StreamId, sensor: &SensorRef, entry: EntryId) {
        let Some(leadership) = self.leader() else { return };
        if leadership.streams.contains_key(&stream) {
            leadership.sensor(sensor).log.marks.insert(entry, stream);
            self.pump(sensor);
        }
    }

    /// Takes an entry out, as its mark would; answered when that is stored.
    pub(super) fn discard(&mut self, request: u64, sensor: &SensorRef, entry: EntryId) -> Option<Answer> {
        let Some(leadership) = self.leader() else { return Some(Answer::Unknown) };
        let log = &mut leadership.sensor(sensor).log;
        log.discards.insert(entry, request);
        log.marks.entry(entry).or_insert(StreamId(0));
        self.pump(sensor);
        None
    }

    /// Writes the next commit and the next marks of a sensor, reading the record first where it is unknown.
    pub(super) fn pump(&mut self, sensor: &SensorRef) {
        let Some(leadership) = self.leader() else { return };
        let log = &mut leadership.sensor(sensor).log;
        if log.commits.is_empty() && log.marks.is_empty() || log.reading || log.writing.is_some() {
            return;
        }
        if log.stored.is_none() {
            log.reading = true;
            let request = self.ask(Request::ReadJournal { sensor: sensor.clone() });
            if let Some(leadership) = self.leader() {
                leadership.pending.insert(request, Pending::Cache { sensor: sensor.clone() });
            }
            return;
        }
        let head = log.commits.front().cloned();
        if !log.marking {
            self.mark(sensor);
        }
        if let Some(entry) = head {
            self.commit(sensor, entry);
        }
    }

    /// Stores the marks that wait, the oldest entries' first: found without those before it, an entry would turn back what a later
    /// one has stored elsewhere.
    fn mark(&mut self, sensor: &SensorRef) {
        let Some(leadership) = self.leader() else { return };
        let log = &mut leadership.sensor(sensor).log;
        let Some(stored) = &log.stored else { return };
        let (mut marks, mut unknown) = (Vec::new(), Vec::new());
        for (mark, stream) in std::mem::take(&mut log.marks) {
            let named = stored.unapplied.iter().find(|entry| entry.id == mark);
            match guard!(MarkNamesEntry, named, else stored.unapplied.last()) {
                Some(entry) => marks.push((entry.sequence, mark, stream)),
                None => unknown.push((mark, stream)),
            }
        }
        marks.sort_unstable_by_key(|(sequence, ..)| *sequence);
        let later = marks.split_off(marks.len().min(MARKS_AT_ONCE));
        log.marks.extend(later.into_iter().map(|(_, mark, stream)| (mark, stream)));
        log.marking = !marks.is_empty();
        for (mark, stream) in unknown {
            let answer = Answer::NoSuch(format!("there is no entry {:032x} in its journal", mark.0));
            self.discarded(sensor, mark, answer);
            self.marked(sensor, mark, stream);
        }
        if !marks.is_empty() {
            let key = |sequence| Key::Entry(sensor.clone(), sequence);
            let writes = marks.iter().map(|(sequence, ..)| Write::Delete(key(*sequence))).collect();
            let entries = marks.into_iter().map(|(_, mark, stream)| (mark, stream)).collect();
            self.transact(Vec::new(), writes, Pending::Mark { sensor: sensor.clone(), entries });
        }
    }

    fn commit(&mut self, sensor: &SensorRef, entry: Entry) {
        let Some(leadership) = self.leader() else { return };
        let log = &mut leadership.sensor(sensor).log;
        let Some(stored) = &log.stored else { return };
        // Sent again, perhaps behind later ones: it is in the journal already.
        if stored.record.last == Some(entry.id) || stored.unapplied.iter().any(|known| known.id == entry.id) {
            log.commits.pop_front();
            self.committed(sensor, entry.id);
            self.pump(sensor);
            return;
        }
        let follows = stored.record.last == entry.follows && stored.record.sequence + 1 == entry.sequence;
        if !guard!(CommitFollowsLast, follows, else true) {
            // Only this one: it may have been sent again after it was marked, with live ones behind it.
            log.commits.pop_front();
            self.refuse_to_holder(sensor, entry.id);
            self.pump(sensor);
            return;
        }
        let check = Check { key: Key::Record(sensor.clone()), version: stored.version };
        let record = Record {
            sequence: entry.sequence,
            last: Some(entry.id),
            sealed: stored.record.sealed,
            values: entry.values.clone(),
        };
        let id = entry.id;
        log.writing = Some(id);
        let writes = vec![
            Write::Put(Key::Record(sensor.clone()), Value::Record(record)),
            // The record has its values.
            Write::Put(
                Key::Entry(sensor.clone(), entry.sequence),
                Value::Entry(Entry { values: Body::default(), ..entry }),
            ),
        ];
        let checks = guard!(CommitFollowsLast, vec![check], else Vec::new());
        self.transact(checks, writes, Pending::Commit { sensor: sensor.clone(), entry: id });
    }

    pub(super) fn commit_answered(&mut self, sensor: &SensorRef, entry: EntryId, reply: &Reply) {
        let Some(leadership) = self.leader() else { return };
        let state = leadership.sensor(sensor);
        let holding = matches!(state.holder, Holder::Held(_));
        let log = &mut state.log;
        let Some(id) = log.writing.take_if(|writing| *writing == entry) else {
            // Released meanwhile: the record is sealed before the next activation, whatever this says.
            return;
        };
        if let Reply::Applied { version } = reply {
            log.unanswered = false;
            let entry = log.commits.pop_front_if(|entry| entry.id == id);
            if let (Some(stored), Some(entry)) = (&mut log.stored, entry) {
                stored.record = Record {
                    sequence: entry.sequence,
                    last: Some(entry.id),
                    sealed: stored.record.sealed,
                    values: entry.values.clone(),
                };
                stored.version = *version;
                stored.unapplied.push(Entry { values: Body::default(), ..entry });
            }
            if holding {
                self.committed(sensor, id);
            }
        } else {
            // Refused by the check, or unknown: what is stored tells.
            log.stored = None;
            log.unanswered |= *reply == Reply::Unknown;
        }
        self.pump(sensor);
    }

    /// The journal as stored, for its holder's commits.
    pub(super) fn cached(&mut self, sensor: &SensorRef, reply: Reply) {
        let Some(leadership) = self.leader() else { return };
        let state = leadership.sensor(sensor);
        state.log.reading = false;
        // Where something newer is known meanwhile, this was read before it.
        if let Reply::Journal(journal) = reply
            && state.log.stored.is_none()
        {
            state.log.stored = Some(*journal);
        }
        self.pump(sensor);
    }

    pub(super) fn mark_answered(&mut self, sensor: &SensorRef, entries: Vec<(EntryId, StreamId)>, reply: &Reply) {
        let Some(leadership) = self.leader() else { return };
        let log = &mut leadership.sensor(sensor).log;
        log.marking = false;
        if !matches!(reply, Reply::Applied { .. }) {
            // Said again meanwhile on a newer stream: that one is to hear of it.
            for (entry, stream) in entries {
                let waits = log.marks.entry(entry).or_insert(stream);
                *waits = stream.max(*waits);
            }
            self.pump(sensor);
            return;
        }
        if let Some(stored) = &mut log.stored {
            stored.unapplied.retain(|unapplied| entries.iter().all(|(entry, _)| *entry != unapplied.id));
        }
        for (entry, stream) in entries {
            if self.discarded(sensor, entry, Answer::Done)
                && let Some(holder) = self.holder_stream(sensor).filter(|holder| *holder != stream)
            {
                // It is in nobody's hands but the holder's: to that one it is as good as applied.
                self.marked(sensor, entry, holder);
            }
            self.marked(sensor, entry, stream);
        }
        self.pump(sensor);
    }

    /// Reads the journal for the sensor's next holder.
    pub(super) fn read_for_activation(&mut self, sensor: &SensorRef) {
        let request = self.ask(Request::ReadJournal { sensor: sensor.clone() });
        let Some(leadership) = self.leader() else { return };
        leadership.pending.insert(request, Pending::Prepare { sensor: sensor.clone() });
        if let Holder::Preparing(preparing) = &mut leadership.sensor(sensor).holder {
            preparing.request = request;
        }
    }

    /// The next step towards an activation: read, sealed if a commit may still land, given.
    pub(super) fn prepared(&mut self, now: Time, request: RequestId, sensor: &SensorRef, reply: Reply) {
        let Some(leadership) = self.leader() else { return };
        let register = &leadership.register;
        let Some(state) = leadership.sensors.get_mut(sensor) else { return };
        let Holder::Preparing(preparing) = &mut state.holder else { return };
        if preparing.request != request {
            return;
        }
        let drained = leadership.drained.contains_key(&preparing.to);
        let back = state.last_on.as_ref() == Some(&preparing.to);
        let takes = |member: &super::Member| member.reachable() && (back || !member.draining && !drained);
        let fit = register.get(&preparing.to).is_some_and(takes);
        if !fit || leadership.paused.contains_key(sensor) {
            state.freed = Some((preparing.cause, preparing.who.clone()));
            state.holder = Holder::Free;
            leadership.dirty = true;
            return;
        }
        match reply {
            Reply::Journal(journal) if preparing.seal => {
                preparing.sealing = Some(*journal);
                self.seal(sensor);
            }
            Reply::Journal(journal) => self.give(now, sensor, *journal),
            Reply::Applied { version } => {
                let Some(mut journal) = preparing.sealing.take() else { return };
                journal.version = version;
                state.log.unanswered = false;
                self.give(now, sensor, journal);
            }
            _ => self.read_for_activation(sensor),
        }
    }

    /// Changes the record, so that no commit that is still on its way can follow it.
    fn seal(&mut self, sensor: &SensorRef) {
        let Some(leadership) = self.leader() else { return };
        let sealed = leadership.next_fence();
        let Holder::Preparing(preparing) = &mut leadership.sensor(sensor).holder else { return };
        let Some(journal) = &mut preparing.sealing else { return };
        journal.record.sealed = sealed;
        let key = Key::Record(sensor.clone());
        let check = Check { key: key.clone(), version: journal.version };
        let write = Write::Put(key, Value::Record(journal.record.clone()));
        self.transact(vec![check], vec![write], Pending::Prepare { sensor: sensor.clone() });
        let request = RequestId(self.requests);
        let Some(leadership) = self.leader() else { return };
        if let Holder::Preparing(preparing) = &mut leadership.sensor(sensor).holder {
            preparing.request = request;
        }
    }

    fn give(&mut self, now: Time, sensor: &SensorRef, journal: Journal) {
        let Some(leadership) = self.leader() else { return };
        let state = leadership.sensor(sensor);
        let Holder::Preparing(preparing) = std::mem::replace(&mut state.holder, Holder::Free) else { return };
        state.log.stored = Some(journal.clone());
        let policy = self.config.policy.of(sensor).clone();
        let offer = self.leader().and_then(|leadership| leadership.offer(&preparing.to, sensor));
        let direct = offer.is_some_and(|offer| policy.effects(offer) == Effects::Direct);
        // What a journaled life has left is applied first; the next activation is direct.
        let journal = Some(journal).filter(|journal| !direct || !journal.unapplied.is_empty());
        self.grant(now, sensor, &preparing.to, preparing.cause, &preparing.who, journal);
    }

    /// Answers whoever had an entry discarded, if anybody had.
    fn discarded(&mut self, sensor: &SensorRef, entry: EntryId, answer: Answer) -> bool {
        let request = self.leader().and_then(|leadership| leadership.sensor(sensor).log.discards.remove(&entry));
        let Some(request) = request else { return false };
        self.outbox.push(Command::Answer { request, answer });
        true
    }

    fn committed(&mut self, sensor: &SensorRef, entry: EntryId) {
        if let Some(stream) = self.holder_stream(sensor) {
            self.send(stream, ToContainer::Committed { sensor: sensor.clone(), entry });
        }
    }

    /// Tells whoever said the mark, holder or not.
    fn marked(&mut self, sensor: &SensorRef, entry: EntryId, stream: StreamId) {
        if self.leader().is_some_and(|leadership| leadership.streams.contains_key(&stream)) {
            self.send(stream, ToContainer::Marked { sensor: sensor.clone(), entry });
        }
    }

    fn refuse_to_holder(&mut self, sensor: &SensorRef, entry: EntryId) {
        if let Some(stream) = self.holder_stream(sensor) {
            self.refuse(stream, sensor, entry);
        }
    }

    fn refuse(&mut self, stream: StreamId, sensor: &SensorRef, entry: EntryId) {
        self.send(stream, ToContainer::CommitRefused { sensor: sensor.clone(), entry });
    }

    fn holder_stream(&mut self, sensor: &SensorRef) -> Option<StreamId> {
        let leadership = self.leader()?;
        let Holder::Held(held) = &leadership.sensors.get(sensor)?.holder else { return None };
        leadership.register.get(&held.by)?.live.map(|(stream, _)| stream)
    }
}

impl Log {
    /// The holder is gone: what it had asked for and nobody answered may land until the record is sealed.
    pub(super) fn released(&mut self) {
        self.unanswered |= self.writing.take().is_some();
        self.commits.clear();
        self.stored = None;
    }
}
