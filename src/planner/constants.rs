//! The measured constants of a plan, and the origin of their measurement.
//!
//! Owns the form of their file. `benches/compare` measures them and writes the file.

use serde::{Deserialize, Serialize};

/// Text of the file that was written last, on the machine that it names.
const RECORDED: &str = include_str!("../../benches/record/constants.toml");

/// The constants of one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredConstants {
    /// Machine, date and command of the measurement.
    pub origin: MeasurementOrigin,
    /// Resident memory of the server.
    pub memory: MemoryConstants,
    /// Memory of the kernel for sockets.
    pub kernel: KernelConstants,
    /// Processor time of the server.
    pub processor: ProcessorConstants,
}

/// Machine, date and command of a measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the names say it")]
pub struct MeasurementOrigin {
    pub machine: String,
    pub kernel: String,
    pub date: String,
    pub commit: String,
    pub command: String,
}

/// Resident bytes of the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryConstants {
    /// The process without connections.
    pub process_bytes: f64,
    /// An idle subscriber on a topic that others have too.
    pub connection_bytes: f64,
    /// A topic with a subscriber and without history.
    pub topic_bytes: f64,
}

/// Bytes of the kernel's memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelConstants {
    /// The server's end of an idle connection: socket, file, place in epoll.
    pub connection_bytes: f64,
    /// Both ends, as a load on the same host sees it.
    pub both_ends_bytes: f64,
    /// Overhead of a sent frame that is not yet acknowledged.
    pub frame_bytes: f64,
}

/// Microseconds of processor time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessorConstants {
    /// Time of a delivery of a small event.
    pub delivery_us: f64,
    /// Time that each KiB of an event adds to its delivery.
    pub delivery_kib_us: f64,
    /// Time of one publish.
    pub publish_us: f64,
    /// Time of one heartbeat.
    pub heartbeat_us: f64,
    /// Time of a newcomer, from its connection to the response head.
    pub subscribe_us: f64,
    /// Time of a newcomer that resumes over ten missed events.
    pub resume_us: f64,
    /// Time of the process in an idle second.
    pub idle_us_per_s: f64,
}

impl MeasuredConstants {
    /// Returns the constants that the program carries.
    pub fn recorded() -> MeasuredConstants {
        MeasuredConstants::parse(RECORDED).expect("the recorded file is read by a test")
    }

    /// Reads the text of a file of constants.
    ///
    /// # Errors
    /// The reason, in words, when a field is missing, unknown or no number from 0 on.
    pub fn parse(text: &str) -> Result<MeasuredConstants, String> {
        let constants: MeasuredConstants =
            toml::from_str(text).map_err(|error| error.message().to_owned())?;
        match constants.named().into_iter().find(|(_, value)| !value.is_finite() || *value < 0.0) {
            Some((name, value)) => Err(format!("{name} = {value} is not a number from 0 on")),
            None => Ok(constants),
        }
    }

    fn named(&self) -> [(&'static str, f64); 13] {
        let MeasuredConstants { memory, kernel, processor, .. } = self;
        [
            ("process_bytes", memory.process_bytes),
            ("connection_bytes", memory.connection_bytes),
            ("topic_bytes", memory.topic_bytes),
            ("connection_bytes", kernel.connection_bytes),
            ("both_ends_bytes", kernel.both_ends_bytes),
            ("frame_bytes", kernel.frame_bytes),
            ("delivery_us", processor.delivery_us),
            ("delivery_kib_us", processor.delivery_kib_us),
            ("publish_us", processor.publish_us),
            ("heartbeat_us", processor.heartbeat_us),
            ("subscribe_us", processor.subscribe_us),
            ("resume_us", processor.resume_us),
            ("idle_us_per_s", processor.idle_us_per_s),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_file_is_complete_and_says_where_it_comes_from() {
        let constants = MeasuredConstants::recorded();
        assert!(constants.origin.date.starts_with("20"), "{:?}", constants.origin);
        // A difference of two measurements may be lost in their noise.
        let differences = ["topic_bytes", "delivery_kib_us", "publish_us", "idle_us_per_s"];
        let lost = |(name, value): &(&str, f64)| *value == 0.0 && !differences.contains(name);
        assert_eq!(constants.named().into_iter().find(lost), None);
    }

    #[test]
    fn unknown_missing_and_negative_numbers_are_refused() {
        let with = |from: &str, to: &str| MeasuredConstants::parse(&RECORDED.replace(from, to)).unwrap_err();
        assert!(with("heartbeat_us", "hartbeat_us").contains("hartbeat_us"));
        assert!(with("[kernel]", "[kernel]\nother = 1").contains("other"));
        assert!(with("\npublish_us = ", "\npublish_us = -").starts_with("publish_us = -"));
    }
}
