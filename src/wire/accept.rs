//! Whether `Accept` takes `text/event-stream`, and which form of `/metrics` it prefers (RFC 9110 §12.5.1).
//!
//! Knows no other header and no other type. Lenient: text that cannot be read never excludes the stream, and
//! parameters other than `q` are passed over.

/// The verdict of all `Accept` lines of one request so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AcceptHeader {
    present: bool,
    /// For each precision of range, whether one of it has a quality above 0.
    exact: Option<bool>,
    text: Option<bool>,
    any: Option<bool>,
    /// Qualities of the two forms of `/metrics`, in thousandths, where they are named.
    openmetrics: u16,
    plain: u16,
}

/// Quality of a range that is named without one.
const QUALITY_MOST: u16 = 1_000;

impl AcceptHeader {
    /// Takes in one field line.
    pub(crate) fn add(&mut self, value: &[u8]) {
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
                self.add_metrics(range, parts);
                continue;
            };
            let wanted = !parts.any(is_zero_quality);
            *verdict = Some(wanted || *verdict == Some(true));
        }
    }

    fn add_metrics<'a>(&mut self, range: &[u8], parts: impl Iterator<Item = &'a [u8]>) {
        let form = if range.eq_ignore_ascii_case(b"application/openmetrics-text") {
            &mut self.openmetrics
        } else if range.eq_ignore_ascii_case(b"text/plain") {
            &mut self.plain
        } else {
            return;
        };
        *form = parts.filter_map(quality).min().unwrap_or(QUALITY_MOST).max(*form);
    }

    /// Whether OpenMetrics is named, and liked no less than plain text.
    pub(crate) fn prefers_openmetrics(self) -> bool {
        self.openmetrics > 0 && self.openmetrics >= self.plain
    }

    /// Whether an event stream may be sent: no `Accept`, or the most specific range that covers it has a
    /// quality above 0.
    pub(crate) fn takes_event_stream(self) -> bool {
        !self.present || self.exact.or(self.text).or(self.any).unwrap_or(false)
    }

    /// Whether the type is named itself, as a browser's EventSource does.
    pub(crate) fn names_event_stream(self) -> bool {
        self.exact == Some(true)
    }
}

/// The quality that a parameter gives, in thousandths; none for another parameter and for a broken number.
fn quality(parameter: &[u8]) -> Option<u16> {
    let (name, value) = std::str::from_utf8(parameter).ok()?.split_once('=')?;
    let value: f32 = value.trim().parse().ok()?;
    let most = f32::from(QUALITY_MOST);
    name.trim().eq_ignore_ascii_case("q").then(|| (value * most).clamp(0.0, most) as u16)
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
            let mut accept = AcceptHeader::default();
            lines.iter().for_each(|line| accept.add(line.as_bytes()));
            assert_eq!(accept.takes_event_stream(), *takes, "{lines:?}");
            assert_eq!(accept.names_event_stream(), *names, "{lines:?}");
        }
    }

    #[test]
    fn metrics_are_openmetrics_only_for_those_who_name_it_first() {
        let rows = [
            ("", false),
            ("*/*", false),
            ("text/plain", false),
            ("application/openmetrics-text", true),
            ("Application/OpenMetrics-Text; version=1.0.0; charset=utf-8", true),
            ("application/openmetrics-text;q=0", false),
            ("application/openmetrics-text;q=0.5,text/plain;q=0.6", false),
            ("text/plain;version=0.0.4;q=0.5,application/openmetrics-text;q=0.5", true),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                true,
            ),
            ("text/plain;version=0.0.4;q=0.9,*/*;q=0.1", false),
            ("application/openmetrics-text;q=nonsense", true),
        ];
        for (line, expected) in rows {
            let mut accept = AcceptHeader::default();
            accept.add(line.as_bytes());
            assert_eq!(accept.prefers_openmetrics(), expected, "{line}");
        }
    }
}
