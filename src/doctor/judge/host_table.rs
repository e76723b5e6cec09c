//! Requirements on a host for a number of connections: the rows of `tuning/host.table`, which the scripts
//! read too.
//!
//! Pure: numbers in, numbers out. Knows no file of a host, and no words for people but those of the table.

/// Text of the table, part of the program so that the binary works alone.
pub const TEXT: &str = include_str!("../../../tuning/host.table");

/// A requirement on a value, as the table states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostRequirement<'a> {
    /// The floor, or this share of the connections if that is more, up to a ceiling.
    AtLeast {
        /// Smallest value that suffices.
        floor: u64,
        /// Share of the number of connections.
        percent: u64,
        /// Largest value that is ever needed.
        ceiling: u64,
    },
    /// A number that must not be exceeded.
    AtMost(u64),
    /// Three numbers of pages, explained at the head of the table.
    Memory {
        /// Smallest last number that suffices.
        floor: u64,
        /// Share of the number of connections.
        percent: u64,
    },
    /// A range that reaches at least from the first to the last.
    Span(u64, u64),
    /// One of several words, the best first.
    Choice(&'a str),
    /// No requirement: the value is only shown.
    Shown,
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostTableRow<'a> {
    /// A sysctl, or a path under `/sys` in which `*` stands for any name.
    pub key: &'a str,
    /// Word behind the value, such as `files`.
    pub unit: String,
    /// The requirement on the value.
    pub need: HostRequirement<'a>,
    /// `limits`, a group that is only applied when asked for, or `look`.
    pub group: &'a str,
    /// Number of connections from which it matters.
    pub from: u64,
    /// The trouble that an unmet requirement causes.
    pub why: String,
    /// The price of meeting it.
    pub price: String,
}

/// Reads all rows of a table's text. A test holds the compiled table to be whole.
///
/// # Errors
/// The first block that lacks a field, or has one that is malformed.
pub fn rows(text: &str) -> Result<Vec<HostTableRow<'_>>, String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let blocks = lines.split(|line| line.trim().is_empty()).filter(|block| !block.is_empty());
    blocks.map(|block| row(block).ok_or_else(|| block.join("\n"))).collect()
}

fn row<'a>(block: &[&'a str]) -> Option<HostTableRow<'a>> {
    let fields = |name: &'a str| {
        block.iter().filter_map(move |line| {
            let (word, text) = line.split_once(' ')?;
            (word == name).then(|| text.trim())
        })
    };
    let joined = |name| Some(fields(name).collect::<Vec<_>>().join(" ")).filter(|text| !text.is_empty());
    Some(HostTableRow {
        key: fields("key").next()?,
        unit: joined("unit")?,
        need: need(fields("need").next()?)?,
        group: fields("group").next()?,
        from: fields("from").next()?.parse().ok()?,
        why: joined("why")?,
        price: joined("price")?,
    })
}

fn need(text: &str) -> Option<HostRequirement<'_>> {
    let (how, rest) = text.split_once(' ').unwrap_or((text, ""));
    if how == "choice" {
        return Some(HostRequirement::Choice(rest));
    }
    let numbers: Option<Vec<u64>> = rest.split_whitespace().map(|word| word.parse().ok()).collect();
    match (how, &numbers?[..]) {
        ("at-least", &[floor, percent]) => {
            Some(HostRequirement::AtLeast { floor, percent, ceiling: u64::MAX })
        }
        ("at-least", &[floor, percent, ceiling]) => {
            Some(HostRequirement::AtLeast { floor, percent, ceiling })
        }
        ("at-most", &[most]) => Some(HostRequirement::AtMost(most)),
        ("memory", &[floor, percent]) => Some(HostRequirement::Memory { floor, percent }),
        ("span", &[first, last]) => Some(HostRequirement::Span(first, last)),
        ("shown", []) => Some(HostRequirement::Shown),
        _ => None,
    }
}

impl HostRequirement<'_> {
    /// Returns the required value for a number of connections on a host with that memory, as the kernel's
    /// file shows it; a choice lists its words.
    pub fn value(self, connections: u64, memory_pages: u64) -> String {
        let share = |floor: u64, percent: u64| floor.max(connections.saturating_mul(percent) / 100);
        match self {
            HostRequirement::AtLeast { floor, percent, ceiling } => {
                share(floor, percent).min(ceiling).to_string()
            }
            HostRequirement::AtMost(most) => most.to_string(),
            HostRequirement::Memory { floor, percent } => {
                let high = share(floor, percent).min(memory_pages / 4);
                format!("{} {} {high}", high / 2, high * 2 / 3)
            }
            HostRequirement::Span(first, last) => format!("{first} {last}"),
            HostRequirement::Choice(words) => words.to_owned(),
            HostRequirement::Shown => String::new(),
        }
    }

    /// Returns the value to write so that the requirement is met. Of several numbers those that suffice stay,
    /// and none is lowered; of a choice it is the first word.
    pub(crate) fn raised(self, found: &str, connections: u64, memory_pages: u64) -> String {
        let value = self.value(connections, memory_pages);
        let both =
            |found: &str, needed: &str| Some((found.parse::<u64>().ok()?, needed.parse::<u64>().ok()?));
        let numbers: Option<Vec<(u64, u64)>> =
            found.split(' ').zip(value.split(' ')).map(|(found, needed)| both(found, needed)).collect();
        match (self, numbers.as_deref()) {
            (HostRequirement::Choice(words), _) => words.split(' ').next().unwrap_or_default().to_owned(),
            (HostRequirement::Span(..), Some(&[first, last])) => {
                format!("{} {}", first.0.min(first.1), last.0.max(last.1))
            }
            (HostRequirement::Memory { .. }, Some(pairs)) => {
                let larger = pairs.iter().map(|(found, needed)| found.max(needed).to_string());
                larger.collect::<Vec<_>>().join(" ")
            }
            _ => value,
        }
    }

    /// Returns whether a value holds so many connections although it is below the floor, which is room for
    /// growth.
    pub(crate) fn holds(self, found: &str, connections: u64) -> bool {
        match self {
            HostRequirement::AtLeast { percent, ceiling, .. } if percent > 0 => {
                let share = connections.saturating_mul(percent) / 100;
                found.parse::<u64>().is_ok_and(|found| found >= share.min(ceiling))
            }
            _ => false,
        }
    }

    /// Returns whether a value, words with one space between them, meets the requirement; none when it is
    /// malformed.
    pub(crate) fn is_met(self, found: &str, connections: u64, memory_pages: u64) -> Option<bool> {
        let value = self.value(connections, memory_pages);
        let numbers = |text: &str| -> Option<Vec<u64>> {
            text.split_whitespace().map(|word| word.parse().ok()).collect()
        };
        match self {
            HostRequirement::Shown => return Some(true),
            HostRequirement::Choice(words) => return Some(words.split(' ').any(|word| word == found)),
            _ => {}
        }
        let (found, needed) = (numbers(found)?, numbers(&value)?);
        if found.is_empty() || found.len() != needed.len() {
            return None;
        }
        Some(match self {
            HostRequirement::AtMost(_) => found[0] <= needed[0],
            HostRequirement::Span(..) => found[0] <= needed[0] && found[1] >= needed[1],
            _ => found.iter().zip(&needed).all(|(found, needed)| found >= needed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole_and_each_key_stands_once() {
        let rows = rows(TEXT).expect("each block is understood");
        let mut keys: Vec<&str> = rows.iter().map(|row| row.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert!(keys.len() == rows.len() && keys.len() > 20, "{keys:?}");
        // The scripts take rows apart at this sign.
        assert!(!TEXT.lines().any(|line| !line.starts_with('#') && line.contains('|')));
        let known = ["limits", "timeouts", "congestion", "pages", "governor", "steering", "look"];
        for row in &rows {
            assert!(known.contains(&row.group), "{row:?}");
        }
    }

    #[test]
    fn a_block_that_is_not_whole_is_told() {
        for text in
            ["key a\nunit b\n", "key a\nunit b\nneed at-least x\ngroup limits\nfrom 1\nwhy c\nprice d"]
        {
            assert!(rows(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_follow_from_connections_and_memory() {
        let rows = [
            (
                HostRequirement::AtLeast { floor: 4_096, percent: 10, ceiling: 65_535 },
                "4096",
                "10000",
                "65535",
            ),
            (HostRequirement::AtMost(600), "600", "600", "600"),
            (
                HostRequirement::Memory { floor: 65_536, percent: 400 },
                "32768 43690 65536",
                "131072 174762 262144",
                "131072 174762 262144",
            ),
            (HostRequirement::Span(10_240, 65_535), "10240 65535", "10240 65535", "10240 65535"),
            (HostRequirement::Choice("fq cake"), "fq cake", "fq cake", "fq cake"),
        ];
        for (need, small, middle, large) in rows {
            let values = [100, 100_000, 99_999_999].map(|connections| need.value(connections, 1 << 20));
            assert_eq!(values, [small, middle, large], "{need:?}");
        }
    }

    #[test]
    fn what_is_written_lowers_nothing() {
        let memory = HostRequirement::Memory { floor: 60, percent: 0 };
        let rows = [
            (memory, "90 1 2", "90 40 60"),
            (memory, "unreadable", "30 40 60"),
            (HostRequirement::Span(10, 20), "5 15", "5 20"),
            (HostRequirement::Span(10, 20), "15 30", "10 30"),
            (HostRequirement::AtMost(5), "6", "5"),
            (HostRequirement::Choice("fq cake"), "pfifo", "fq"),
        ];
        for (need, found, expected) in rows {
            assert_eq!(need.raised(found, 1, 1 << 20), expected, "{need:?} {found:?}");
        }
    }

    #[test]
    fn judgement_knows_the_direction() {
        let least = HostRequirement::AtLeast { floor: 10, percent: 0, ceiling: 99 };
        let memory = HostRequirement::Memory { floor: 60, percent: 0 };
        let rows = [
            (least, "10", Some(true)),
            (least, "9", Some(false)),
            (least, "9223372036854775807", Some(true)),
            (least, "", None),
            (least, "max", None),
            (least, "10 10", None),
            (HostRequirement::AtMost(5), "6", Some(false)),
            (HostRequirement::AtMost(5), "5", Some(true)),
            (HostRequirement::Span(10, 20), "9 21", Some(true)),
            (HostRequirement::Span(10, 20), "11 21", Some(false)),
            (HostRequirement::Span(10, 20), "9 19", Some(false)),
            (memory, "30 40 60", Some(true)),
            (memory, "30 39 60", Some(false)),
            (HostRequirement::Choice("fq cake"), "cake", Some(true)),
            (HostRequirement::Choice("fq cake"), "pfifo", Some(false)),
            (HostRequirement::Choice("fq cake"), "fq cake", Some(false)),
            (HostRequirement::Shown, "anything", Some(true)),
        ];
        for (need, found, expected) in rows {
            assert_eq!(need.is_met(found, 1, 1 << 20), expected, "{need:?} {found:?}");
        }
    }
}
