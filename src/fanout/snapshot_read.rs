//! The snapshot that a stream may begin with: of each of its topics the newest kept event, or the newest of
//! each key.
//!
//! ```text
//! log   k1 k2 k1 – k2 │ k1 k3          – has no key; the newest events are left for changes
//!           ·  k1   k2 │ k1 k3          "fanwheel.snapshot-end" comes at │
//! ```
//!
//! A snapshot is a walk through the logs that leaves out each event for which a newer one of its key comes
//! later, and an event without a key unless it is the newest of its topic. So it takes no memory of its own.
//! An event that comes meanwhile takes the place of the older one. The snapshot ends where the walk first
//! finds nothing more, so that everything newer follows it.

use super::hub::{FollowedTopics, HubState};
use super::shared_frame::SharedFrame;
use crate::base::id::EventId;

/// The part of a stream that only a snapshot needs, until it ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SnapshotRead {
    /// Events after this id are changes, which come behind the end.
    pub(crate) until: EventId,
    /// Events give way to newer ones. Not if the client goes on after an id: it gets all that it missed.
    pub(crate) newest_only: bool,
}

impl SnapshotRead {
    /// Whether an event of these topics gives way to newer ones.
    pub(super) fn leaves_out(&self, hub: &HubState, topics: &FollowedTopics, frame: &SharedFrame) -> bool {
        let has_newer = |index| {
            let log = hub.log(index);
            match frame.key() {
                Some(_) => log.superseder(frame).is_some(),
                None => log.newest().is_some_and(|newest| newest > frame.id()),
            }
        };
        self.newest_only && frame.id() <= self.until && topics.keeping(hub, frame).all(has_newer)
    }
}

#[cfg(test)]
mod tests {
    use crate::base::settings::Settings;
    use crate::fanout::hub::NewEvent;
    use crate::fanout::stage_tests::Stage;
    use crate::wire::frame::Draft;

    /// Publishes events of topic `a`, each as `key=data`; one without a key has none.
    fn publish(stage: &mut Stage, events: &[&str]) {
        for event in events {
            let (key, data) = event.split_once('=').unwrap_or(("", event));
            let key = Some(key).filter(|key| !key.is_empty());
            let event = NewEvent {
                topics: vec!["a".into()],
                draft: Draft::new(None, None, data, key.map(Box::from)),
            };
            stage.publish_event(event);
        }
    }

    /// The payloads that a stream has been sent, and `|` for the end of its snapshot, whose data is checked.
    fn brought(stage: &mut Stage, slot: u32, topics: usize) -> String {
        for _ in 0..200 {
            stage.write();
            stage.send_rounds();
        }
        let sent = stage.take_sent(slot);
        let mut parts: Vec<&str> = Vec::new();
        for line in sent.lines().filter_map(|line| line.strip_prefix("data: ")) {
            if line.starts_with("{\"topics\":") {
                let events = parts.iter().filter(|part| !part.starts_with('{')).count();
                assert_eq!(line, format!("{{\"topics\":{topics},\"events\":{events}}}"));
                parts.push("|");
            } else {
                parts.push(line);
            }
        }
        assert_eq!(sent.matches("event: fanwheel.snapshot-end\n").count(), 1, "{sent}");
        parts.join(" ")
    }

    #[test]
    fn a_snapshot_is_the_newest_event_of_each_key_then_come_changes() {
        let rows = [
            ("", &["x=1", "y=2", "x=3", "4", "y=5", "6", "z=7"][..], "3 5 7 |"),
            ("", &["1", "2", "x=3", "4"], "3 4 |"),
            ("", &[], "|"),
            ("&last=2", &["x=1", "y=2", "x=3", "y=4", "z=5"], "3 | 4 5"),
            ("&last=9", &["x=1", "x=2"], "| 1 2"),
            ("&last=1", &["1", "2", "3"], "| 3"),
        ];
        for (query, events, expected) in rows {
            let mut stage = Stage::new(Settings::default());
            publish(&mut stage, events);
            let slot = stage.subscribe(&format!("topic=a&snapshot=1{query}"));
            assert_eq!(brought(&mut stage, slot, 1), expected, "{query} {events:?}");
            let stream = stage.stream(slot);
            assert!(stream.is_live() && stream.selection.is_none(), "an ordinary stream from now on");
            publish(&mut stage, &["x=8", "x=9"]);
            stage.send_rounds();
            assert_eq!(stage.take_sent(slot).matches("data: ").count(), 2, "changes all come");
        }
    }

    #[test]
    fn a_long_snapshot_goes_in_pieces_and_ends_although_events_go_on_coming() {
        let mut stage = Stage::new(Settings::default());
        (0..3_000).for_each(|n| publish(&mut stage, &[&format!("k{}={n}", n % 700)]));
        let slot = stage.subscribe("topic=a&topic=b&snapshot=1");
        for n in 3_000..3_100 {
            publish(&mut stage, &[&format!("k{n}={n}")]);
            stage.write();
        }
        let sent = brought(&mut stage, slot, 2);
        let (state, changes) = sent.split_once(" | ").expect("its end");
        let state: Vec<u32> = state.split(' ').map(|n| n.parse().expect("a number")).collect();
        assert!(state.len() >= 700 && state[0] == 2_300 && state.is_sorted(), "{state:?}");
        let last = state[state.len() - 1];
        let expected: Vec<String> = (last + 1..3_100).map(|n| n.to_string()).collect();
        assert_eq!(changes, expected.join(" "));
    }

    #[test]
    fn after_an_id_all_comes_that_was_missed_and_after_a_gap_the_newest() {
        let mut stage = Stage::new(Settings { history_events: 4, ..Settings::default() });
        publish(&mut stage, &["x=1", "x=2", "x=3", "x=4"]);
        let head = stage.node.hub.lock().head();
        let query = |id| format!("topic=a&snapshot=1&last=1&last_event_id={id}");
        publish(&mut stage, &["x=5", "x=6"]);
        let slot = stage.subscribe(&query(head));
        assert_eq!(brought(&mut stage, slot, 1), "5 6 |");
        publish(&mut stage, &["y=7", "y=8", "x=9"]);
        let slot = stage.subscribe(&query(head));
        let sent = brought(&mut stage, slot, 1);
        assert!(sent.starts_with("{\"topic\":\"a\"") && sent.ends_with(" 8 9 |"), "{sent}");
    }

    #[test]
    fn a_poll_gets_its_snapshot_whole_and_once() {
        let mut stage = Stage::new(Settings::default());
        publish(&mut stage, &["x=1", "x=2", "y=3"]);
        let slot = stage.subscribe("topic=a&snapshot=1&wait_ms=9000");
        let sent = stage.take_sent(slot);
        let end = "data: 3\n\nevent: fanwheel.snapshot-end\ndata: {\"topics\":1,\"events\":2}\n\n";
        assert!(sent.ends_with(end), "{sent}");
        let head = stage.node.hub.lock().head();
        let next = stage.subscribe(&format!("topic=a&snapshot=1&wait_ms=9000&last_event_id={head}"));
        assert_eq!(stage.take_sent(next), "", "it has had its snapshot");
    }

    #[test]
    fn the_answer_to_a_poll_has_changes_behind_the_end_of_its_snapshot() {
        for (last, expected) in [(2, "2 | 3 4"), (4, "| 1 2 3 4"), (9, "| 1 2 3 4")] {
            let mut stage = Stage::new(Settings::default());
            publish(&mut stage, &["x=1", "y=2", "x=3", "x=4"]);
            let slot = stage.subscribe(&format!("topic=a&snapshot=1&last={last}&wait_ms=9000"));
            assert_eq!(brought(&mut stage, slot, 1), expected, "{last}");
        }
    }
}
