//! Journal entries and records, to the wire and back.

use st2sa_core::engine::{Body, Entry, Journal, Record};

use crate::checked::{self, Malformed, Within};
use crate::names::{decode_entry_id, decode_fence, encode_entry_id, encode_fence};
use crate::v1;

pub(crate) fn encode_entry(entry: &Entry) -> v1::Entry {
    v1::Entry {
        id: encode_entry_id(entry.id),
        follows: entry.follows.map(encode_entry_id),
        sequence: entry.sequence,
        fence: Some(encode_fence(entry.fence)),
        values: entry.values.bytes().to_vec(),
        effects: entry.effects.bytes().to_vec(),
        part_of: entry.part_of.map(encode_entry_id),
    }
}

pub(crate) fn decode_entry(entry: v1::Entry) -> Result<Entry, Malformed> {
    Ok(Entry {
        id: decode_entry_id(&entry.id, "id")?,
        follows: entry.follows.map(|id| decode_entry_id(&id, "follows")).transpose()?,
        sequence: entry.sequence,
        fence: decode_fence(entry.fence, "fence")?,
        values: Body::new(&entry.values),
        effects: Body::new(&entry.effects),
        part_of: entry.part_of.map(|id| decode_entry_id(&id, "part_of")).transpose()?,
    })
}

pub(crate) fn encode_journal(journal: &Journal) -> v1::Journal {
    let Journal { record, version, unapplied } = journal;
    v1::Journal {
        record: Some(v1::Record {
            sequence: record.sequence,
            last: record.last.map(encode_entry_id),
            sealed: Some(encode_fence(record.sealed)),
            values: record.values.bytes().to_vec(),
        }),
        version: *version,
        unapplied: unapplied.iter().map(encode_entry).collect(),
    }
}

pub(crate) fn decode_journal(journal: v1::Journal) -> Result<Journal, Malformed> {
    Ok(Journal {
        record: decode_record(checked::required(journal.record, "record")?).within("record")?,
        version: journal.version,
        unapplied: checked::list(journal.unapplied, "unapplied", decode_entry)?,
    })
}

fn decode_record(record: v1::Record) -> Result<Record, Malformed> {
    Ok(Record {
        sequence: record.sequence,
        last: record.last.map(|id| decode_entry_id(&id, "last")).transpose()?,
        sealed: decode_fence(record.sealed, "sealed")?,
        values: Body::new(&record.values),
    })
}
