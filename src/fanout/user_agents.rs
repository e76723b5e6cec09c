//! The user agents of a worker's connections, each text once: thousands of subscribers have the same few.
//!
//! Bounded: with the table full, a connection with another text has none. Counts the holders of each text,
//! so that a text without holders makes room.

use std::collections::HashMap;

use super::hash::SeededHash;

/// Bytes kept of a user agent: enough to tell browser, version and system.
const USER_AGENT_BYTES_MAX: usize = 160;
/// User agents kept by a worker.
const USER_AGENTS_MAX: usize = 1_024;

/// The number of connections without a user agent.
pub(crate) const NO_USER_AGENT: u16 = 0;

const _: () = assert!(USER_AGENTS_MAX < u16::MAX as usize);

/// Table of user agents by number and by text.
#[derive(Debug)]
pub(crate) struct UserAgents {
    numbers: HashMap<Box<str>, u16, SeededHash>,
    /// Entries by number less one.
    entries: Vec<AgentEntry>,
    free: Vec<u16>,
}

/// A text and the number of connections that have it.
#[derive(Debug, Default)]
struct AgentEntry {
    /// Empty while the number is free.
    text: Box<str>,
    holders: u32,
}

impl UserAgents {
    /// Begins with an empty table.
    pub(crate) fn new(hash: SeededHash) -> UserAgents {
        UserAgents { numbers: HashMap::with_hasher(hash), entries: Vec::new(), free: Vec::new() }
    }

    /// Adds a holder of `text`, cut to its bound, and returns the number of it. Returns [`NO_USER_AGENT`] for
    /// an empty text and for a new one when the table is full.
    pub(crate) fn acquire(&mut self, text: &[u8]) -> u16 {
        let text = String::from_utf8_lossy(&text[..text.len().min(USER_AGENT_BYTES_MAX)]);
        let text = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
        if text.is_empty() {
            return NO_USER_AGENT;
        }
        if let Some(&number) = self.numbers.get(text) {
            self.entries[usize::from(number) - 1].holders += 1;
            return number;
        }
        let number = match self.free.pop() {
            Some(number) => number,
            None if self.entries.len() < USER_AGENTS_MAX => {
                self.entries.push(AgentEntry::default());
                self.entries.len() as u16
            }
            None => return NO_USER_AGENT,
        };
        self.entries[usize::from(number) - 1] = AgentEntry { text: text.into(), holders: 1 };
        self.numbers.insert(text.into(), number);
        number
    }

    /// Removes a holder of a number.
    pub(crate) fn release(&mut self, number: u16) {
        let Some(nth) = usize::from(number).checked_sub(1) else { return };
        let entry = &mut self.entries[nth];
        entry.holders -= 1;
        if entry.holders == 0 {
            self.numbers.remove(&entry.text);
            entry.text = Box::default();
            self.free.push(number);
        }
    }

    /// Returns the text of a number.
    pub(crate) fn text(&self, number: u16) -> Option<&str> {
        let entry = self.entries.get(usize::from(number).checked_sub(1)?)?;
        Some(&entry.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once_and_gone_with_its_last_holder() {
        let mut agents = UserAgents::new(SeededHash::new(1));
        let curl = agents.acquire(b"curl/8");
        assert_eq!((agents.acquire(b"curl/8"), agents.text(curl)), (curl, Some("curl/8")));
        agents.release(curl);
        assert_eq!(agents.text(curl), Some("curl/8"));
        agents.release(curl);
        assert_eq!((agents.acquire(b"other"), agents.text(curl)), (curl, Some("other")));
        assert_eq!(
            (agents.acquire(b""), agents.acquire(b"\xff\xfe"), agents.text(NO_USER_AGENT)),
            (0, 0, None)
        );
    }

    #[test]
    fn texts_and_their_number_are_bounded_and_room_comes_back() {
        let mut agents = UserAgents::new(SeededHash::new(1));
        let numbers: Vec<u16> =
            (0..USER_AGENTS_MAX).map(|nth| agents.acquire(format!("{nth}").as_bytes())).collect();
        assert!(numbers.iter().all(|&number| number != NO_USER_AGENT));
        assert_eq!(agents.acquire(b"one too many"), NO_USER_AGENT);
        assert_eq!(agents.acquire(b"7"), numbers[7]);
        agents.release(numbers[3]);
        let long = agents.acquire("ü".repeat(USER_AGENT_BYTES_MAX).as_bytes());
        assert_eq!(long, numbers[3]);
        assert!(
            agents.text(long).is_some_and(|text| text.len() <= USER_AGENT_BYTES_MAX && text.ends_with('ü'))
        );
    }
}
