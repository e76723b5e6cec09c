//! What `Accept` says about one media type, `text/event-stream` (RFC 9110 §12.5.1).
//!
//! Knows no other header and no other type. Lenient: what cannot be read never excludes the stream, and
//! parameters other than `q` are passed over.

/// The verdict of all `Accept` lines of one request so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accept {
    present: bool,
    /// For each precision of range, whether one of it has a quality above 0.
    exact: Option<bool>,
    text: Option<bool>,
    any: Option<bool>,
}

impl Accept {
    /// Takes in one field line.
    pub fn add(&mut self, value: &[u8]) {
        for element in value.split(|&b| b == b',') {
            let mut parts = element.split(|&b| b == b';').map(<[u8]>::trim_ascii);
            let range = parts.next().unwrap_or_default();
            if range.is_empty() {
                continue;
            }
            self.present = true;
            let verdict = if range.eq_ignore_ascii_case(b"text/event-stream") {
                &mut self.exact
            } else if range.eq_ignore_ascii_case(b"text/*") {
                &mut self.text
            } else if range == b"*/*" || range == b"*" {
                &mut self.any
            } else {
                continue;
            };
            let wanted = !parts.any(is_zero_quality);
            *verdict = Some(wanted || *verdict == Some(true));
        }
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

/// `q=0`, `q=0.` and up to any number of zeros after the point.
fn is_zero_quality(parameter: &[u8]) -> bool {
    let Some(equals) = parameter.iter().position(|&b| b == b'=') else { return false };
    let (name, value) = (parameter[..equals].trim_ascii(), parameter[equals + 1..].trim_ascii());
    let zeros = value.strip_prefix(b"0.").or(value.strip_prefix(b"0"));
    name.eq_ignore_ascii_case(b"q") && zeros.is_some_and(|rest| rest.iter().all(|&b| b == b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_range_decides() {
        // Lines, whether a stream may be sent, whether it is named.
        let rows: &[(&[&str], bool, bool)] = &[
            (&[], true, false),
            (&[""], true, false),
            (&[" , "], true, false),
            (&["text/event-stream"], true, true),
            (&["TEXT/Event-Stream"], true, true),
            (&["text/event-stream; charset=utf-8"], true, true),
            (&["text/event-stream;q=0.5"], true, true),
            (&["text/event-stream;q=0.001"], true, true),
            (&["text/event-stream;q=0"], false, false),
            (&["text/event-stream; Q=0.000"], false, false),
            (&["text/event-stream ; q = 0."], false, false),
            (&["*/*, text/event-stream;q=0"], false, false),
            (&["text/event-stream;q=0, */*"], false, false),
            (&["*/*"], true, false),
            (&["*"], true, false),
            (&["*/*;q=0.1"], true, false),
            (&["*/*;q=0"], false, false),
            (&["text/*"], true, false),
            (&["text/*;q=0, */*"], false, false),
            (&["*/*;q=0, text/*"], true, false),
            (&["text/html"], false, false),
            (&["application/json, text/html;q=0.9"], false, false),
            (&["text/html, application/xml;q=0.9, */*;q=0.8"], true, false),
            (&["application/json", "text/event-stream"], true, true),
            (&["application/json, text/event-stream"], true, true),
            (&["text/event-streams"], false, false),
            (&["text/event-stream;q=nonsense"], true, true),
            (&["nonsense"], false, false),
        ];
        for (lines, takes, names) in rows {
            let mut accept = Accept::default();
            lines.iter().for_each(|line| accept.add(line.as_bytes()));
            assert_eq!(accept.takes_event_stream(), *takes, "{lines:?}");
            assert_eq!(accept.names_event_stream(), *names, "{lines:?}");
        }
    }
}
