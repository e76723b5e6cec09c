//! The scripts that run in Redis: their calls and their answers as values.
//!
//! | script | does |
//! | --- | --- |
//! | `join.lua` | founds a fleet, or tells how far it is |
//! | `publish.lua` | finds known keys, gives ids, appends to the stream |
//!
//! Sends nothing.

use redis::{Cmd, Script, Value};

use super::entry::StreamId;
use super::keys::FleetKeys;
use crate::base::id::EventId;
use crate::fanout::hub::PublishReceipt;

/// Version of entries and of the fleet's hash that this program reads and writes.
pub(super) const VERSION: &[u8] = b"1";

/// A script, known to Redis by its hash.
#[derive(Debug)]
pub(super) struct StoredScript {
    text: &'static str,
    hash: String,
}

impl StoredScript {
    fn new(text: &'static str) -> StoredScript {
        StoredScript { text, hash: Script::new(text).get_hash().to_owned() }
    }

    /// Makes the script by which a node joins the fleet.
    pub(super) fn join() -> StoredScript {
        StoredScript::new(include_str!("join.lua"))
    }

    /// Makes the script that orders publishes.
    pub(super) fn publish() -> StoredScript {
        StoredScript::new(include_str!("publish.lua"))
    }

    /// Makes the command of a call; with its whole text where Redis does not know it.
    pub(super) fn command(&self, arguments: &ScriptArguments, form: ScriptForm) -> Cmd {
        let mut command = match form {
            ScriptForm::ByHash => redis::cmd("EVALSHA"),
            ScriptForm::WithText => redis::cmd("EVAL"),
        };
        command.arg(match form {
            ScriptForm::ByHash => self.hash.as_str(),
            ScriptForm::WithText => self.text,
        });
        command.arg(arguments.keys.len());
        arguments.keys.iter().for_each(|key| {
            command.arg(key.as_slice());
        });
        arguments.values.iter().for_each(|value| {
            command.arg(value.as_slice());
        });
        command
    }
}

/// The form in which a script is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScriptForm {
    /// By the hash of its text.
    ByHash,
    /// By its text, which Redis knows from then on.
    WithText,
}

/// Keys and values of one call.
#[derive(Clone, Debug)]
pub(super) struct ScriptArguments {
    keys: Vec<Vec<u8>>,
    values: Vec<Vec<u8>>,
}

/// A publish as the script takes it.
#[derive(Debug)]
pub(super) struct ScriptPublish<'a> {
    /// Ids that it needs.
    pub(super) places: usize,
    /// Its entry.
    pub(super) payload: Vec<u8>,
    /// Its idempotency key, if it has one.
    pub(super) key: Option<ScriptKey<'a>>,
}

/// The idempotency key of a publish, and the answer that it will stand for.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScriptKey<'a> {
    /// The key as it came.
    pub(super) text: &'a [u8],
    /// Hash of all else that the request would publish.
    pub(super) fingerprint: u64,
    /// Subscribers of its topics at this node.
    pub(super) subscribers: u64,
}

/// The answer to one publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScriptAnswer {
    /// It is in the stream; the id of its last event.
    Ordered(EventId),
    /// Its key stands for an earlier publish.
    Known {
        /// Hash of that publish.
        fingerprint: u64,
        /// The answer to it.
        receipt: PublishReceipt,
    },
}

impl ScriptArguments {
    /// Arguments of `join.lua`; `tag` is that of a new fleet.
    pub(super) fn join(keys: &FleetKeys, tag: u64) -> ScriptArguments {
        ScriptArguments { keys: keys.shared(), values: vec![tag.to_string().into_bytes()] }
    }

    /// Arguments of `publish.lua` without a publish. `floor` is the greatest id that the node knows.
    pub(super) fn publish(keys: &FleetKeys, floor: EventId, tag: u64, key_ms: u64) -> ScriptArguments {
        let numbers = [tag, floor.ms(), floor.n(), key_ms];
        let values = numbers.iter().map(|number| number.to_string().into_bytes()).collect();
        ScriptArguments { keys: keys.shared(), values }
    }

    /// Adds a publish.
    pub(super) fn add(&mut self, keys: &FleetKeys, publish: ScriptPublish<'_>) {
        let mut at = 0;
        let (mut fingerprint, mut subscribers) = (0, 0);
        if let Some(key) = publish.key {
            self.keys.push(keys.idempotency(key.text));
            at = self.keys.len();
            (fingerprint, subscribers) = (key.fingerprint, key.subscribers);
        }
        self.values.push(publish.places.to_string().into_bytes());
        self.values.push(publish.payload);
        self.values.push(at.to_string().into_bytes());
        self.values.push(fingerprint.to_string().into_bytes());
        self.values.push(subscribers.to_string().into_bytes());
    }
}

/// Reads the answer of `publish.lua`; none when it is not of its form.
pub(super) fn read_answers(value: Value) -> Option<Vec<ScriptAnswer>> {
    let Value::Array(items) = value else { return None };
    items.iter().map(read_answer).collect()
}

fn read_answer(item: &Value) -> Option<ScriptAnswer> {
    let Value::BulkString(text) = item else { return None };
    match text.strip_prefix(b"=") {
        None => EventId::parse(text).map(ScriptAnswer::Ordered),
        Some(known) => {
            let mut words = std::str::from_utf8(known).ok()?.split(' ');
            let fingerprint = words.next()?.parse().ok()?;
            let id = EventId::parse(words.next()?.as_bytes())?;
            let (events, subscribers) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let receipt = PublishReceipt { id, events, subscribers };
            words.next().is_none().then_some(ScriptAnswer::Known { fingerprint, receipt })
        }
    }
}

/// A fleet as `join.lua` tells of it.
#[derive(Clone, Debug)]
pub(super) struct FleetState {
    /// Version of its entries.
    pub(super) version: Vec<u8>,
    /// Id of its newest entry.
    pub(super) last: StreamId,
}

/// Reads the answer of `join.lua`; none when it is not of its form.
pub(super) fn read_fleet(value: Value) -> Option<FleetState> {
    let Value::Array(items) = value else { return None };
    let [Value::BulkString(version), Value::BulkString(last)] = items.as_slice() else { return None };
    Some(FleetState { version: version.clone(), last: StreamId(last.clone()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_broken_ones_are_none() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let id = EventId::parse(b"5-1031").expect("an id");
        let receipt = PublishReceipt { id, events: 2, subscribers: 9 };
        let read = |items: Vec<Value>| read_answers(Value::Array(items));
        assert_eq!(
            read(vec![text("5-1031"), text("=77 5-1031 2 9")]),
            Some(vec![ScriptAnswer::Ordered(id), ScriptAnswer::Known { fingerprint: 77, receipt }])
        );
        for broken in ["", "5", "=", "=77 5-1031 2", "=77 5-1031 2 9 1", "=x 5-1031 2 9", "=77 5_1 2 9"] {
            assert_eq!(read(vec![text(broken)]), None, "{broken}");
        }
        assert_eq!((read_answers(Value::Nil), read(vec![Value::Int(1)])), (None, None));
    }
}
