//! The event `fanwheel.gap`, which tells a subscriber that it may have missed something, of which topics, and
//! why.
//!
//! Topics that share a reason and the event that follows share one gap event. A page that loads its state
//! anew then does so once, not once for each topic. Never decides whether there is a gap.

use crate::base::id::EventId;
use crate::wire::frame::FrameForm;
use crate::wire::reply::{append_chunk, append_json_string};

/// Cause of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GapReason {
    /// The client comes from another run of the server, or from another server.
    Restart,
    /// The history has moved on.
    Evicted,
    /// The client comes with something that no run has given: not an id, or one from the future.
    UnknownId,
}

/// A topic in which events may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicGap<'a> {
    /// Its name.
    pub(crate) topic: &'a str,
    /// The oldest of its events that still come; none if none is kept.
    pub(crate) oldest: Option<EventId>,
}

impl GapReason {
    fn name(self) -> &'static str {
        match self {
            GapReason::Restart => "restart",
            GapReason::Evicted => "evicted",
            GapReason::UnknownId => "unknown_id",
        }
    }
}

/// Tells that events after `after` may be missing in these topics. `after` is the last id that the client
/// gave, or the last event it was sent.
pub(crate) fn append_gap_events(
    out: &mut Vec<u8>,
    form: FrameForm,
    after: &str,
    reason: GapReason,
    gaps: &mut [TopicGap<'_>],
) {
    gaps.sort_by_key(|gap| gap.oldest);
    for gaps in gaps.chunk_by(|one, next| one.oldest == next.oldest) {
        append_chunk(out, form, |out| append_gap_event(out, after, reason, gaps));
    }
}

/// One event for topics of one `oldest`.
fn append_gap_event(out: &mut Vec<u8>, after: &str, reason: GapReason, gaps: &[TopicGap<'_>]) {
    out.extend_from_slice(b"event: fanwheel.gap\ndata: {");
    match gaps {
        [only] => {
            out.extend_from_slice(b"\"topic\":");
            append_json_string(out, only.topic);
        }
        several => {
            for (nth, gap) in several.iter().enumerate() {
                out.extend_from_slice(if nth == 0 { b"\"topics\":[" } else { b"," });
                append_json_string(out, gap.topic);
            }
            out.push(b']');
        }
    }
    out.extend_from_slice(b",\"after\":");
    append_json_string(out, after);
    out.extend_from_slice(b",\"oldest\":");
    match gaps.first().and_then(|gap| gap.oldest) {
        Some(id) => append_json_string(out, &id.to_string()),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"reason\":\"");
    out.extend_from_slice(reason.name().as_bytes());
    out.extend_from_slice(b"\"}\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: FrameForm, after: &str, reason: GapReason, gaps: &mut [TopicGap<'_>]) -> String {
        let mut out = Vec::new();
        append_gap_events(&mut out, form, after, reason, gaps);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn a_gap_is_a_chunk_of_single_lines_whatever_topic_and_id_hold() {
        let oldest = EventId::parse(b"9-1");
        let topic = "a\"b\\c\r\nid: 1\u{2028}<\u{1}\u{85}ä";
        let data = "{\"topic\":\"a\\\"b\\\\c\\r\\nid: 1\\u2028<\\u0001\\u0085ä\",\"after\":\"x\\n\",\
                    \"oldest\":\"9-1\",\"reason\":\"evicted\"}";
        let event = format!("event: fanwheel.gap\ndata: {data}\n\n");
        let mut gaps = [TopicGap { topic, oldest }];
        assert_eq!(written(FrameForm::Bare, "x\n", GapReason::Evicted, &mut gaps), event);
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        assert_eq!(written(FrameForm::Chunk, "x\n", GapReason::Evicted, &mut gaps), chunk);
        let parsed: serde_json::Value = serde_json::from_str(data).expect("JSON");
        assert_eq!(parsed["topic"], topic);
    }

    #[test]
    fn topics_that_go_on_with_the_same_event_share_a_gap() {
        let oldest = EventId::parse(b"9-1");
        let gap = |topic, oldest| TopicGap { topic, oldest };
        let mut gaps = [gap("a", None), gap("b", oldest), gap("c", None), gap("d", oldest), gap("e", None)];
        let shared = |topics: &str, oldest: &str| {
            format!(
                "event: fanwheel.gap\ndata: {{\"topics\":[{topics}],\"after\":\"\",\"oldest\":{oldest},\
                 \"reason\":\"unknown_id\"}}\n\n"
            )
        };
        let expected = shared("\"a\",\"c\",\"e\"", "null") + &shared("\"b\",\"d\"", "\"9-1\"");
        assert_eq!(written(FrameForm::Bare, "", GapReason::UnknownId, &mut gaps), expected);
        let data = "{\"topic\":\"t\",\"after\":\"\",\"oldest\":null,\"reason\":\"restart\"}";
        let expected = format!("event: fanwheel.gap\ndata: {data}\n\n");
        assert_eq!(written(FrameForm::Bare, "", GapReason::Restart, &mut [gap("t", None)]), expected);
        assert_eq!(written(FrameForm::Bare, "", GapReason::Restart, &mut []), "");
    }
}
