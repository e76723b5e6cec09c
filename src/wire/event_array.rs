//! Several events as one, whose data is `{"batch":[…],"count":n}`: a page parses one text and draws once.
//!
//! Each payload that is JSON stands in the list as it is, any other as a string. The id is that of the last,
//! so a client that resumes after it misses nothing. Knows no topic.

use serde_json::value::RawValue;

use crate::base::id::EventId;
use crate::wire::frame::{Draft, Frame};

/// Makes one event of several, at least one, in publish order. It has their name if all have the same.
pub(crate) fn array_of<'a>(frames: impl Iterator<Item = &'a Frame> + Clone) -> Frame {
    let mut data = String::from("{\"batch\":[");
    let (mut count, mut id) = (0u64, EventId::ZERO);
    for frame in frames.clone() {
        if count > 0 {
            data.push(',');
        }
        push_payload(&mut data, &frame.payload());
        (count, id) = (count + 1, frame.id());
    }
    data.push_str(&format!("],\"count\":{count}}}"));
    let mut names = frames.map(Frame::given_name);
    let name = names.next().flatten().filter(|first| names.all(|name| name == Some(*first)));
    Draft::new(name, None, &data, None).seal(id)
}

fn push_payload(data: &mut String, payload: &str) {
    match serde_json::from_str::<&RawValue>(payload) {
        Ok(json) => data.push_str(json.get()),
        Err(_) => data.push_str(&serde_json::Value::from(payload).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(events: &[(Option<&str>, &str)]) -> String {
        let seal = |(nth, (name, data)): (usize, &(Option<&str>, &str))| {
            Draft::new(*name, Some(5), data, Some("k".into())).seal(EventId::at_ms(nth as u64 + 1))
        };
        let frames: Vec<Frame> = events.iter().enumerate().map(seal).collect();
        String::from_utf8(array_of(frames.iter()).bare().to_vec()).expect("text")
    }

    #[test]
    fn json_stands_as_it_is_and_other_text_as_a_string() {
        let rows = [
            ("{\"a\": 1}", "{\"a\": 1}"),
            (" [1,2] ", "[1,2]"),
            ("4.20", "4.20"),
            ("null", "null"),
            ("", "\"\""),
            ("{\"a\":", "\"{\\\"a\\\":\""),
            ("1 2", "\"1 2\""),
            ("two\r\nlines", "\"two\\nlines\""),
            ("ü\u{2028}", "\"ü\u{2028}\""),
        ];
        for (payload, expected) in rows {
            let expected = format!("id: 1-0\ndata: {{\"batch\":[{expected}],\"count\":1}}\n\n");
            assert_eq!(array(&[(None, payload)]), expected, "{payload:?}");
        }
        let lines = array(&[(None, "{\n\"a\":\n1}"), (None, "x")]);
        assert_eq!(lines, "id: 2-0\ndata: {\"batch\":[{\ndata: \"a\":\ndata: 1},\"x\"],\"count\":2}\n\n");
    }

    #[test]
    fn it_has_the_name_that_all_of_its_events_have() {
        let name = |names: &[Option<&str>]| {
            let events: Vec<(Option<&str>, &str)> = names.iter().map(|name| (*name, "1")).collect();
            let text = array(&events);
            text.lines().find_map(|line| line.strip_prefix("event: ")).map(str::to_owned)
        };
        assert_eq!(name(&[Some("a"), Some("a")]), Some("a".to_owned()));
        assert_eq!(name(&[Some("a"), Some("b")]), None);
        assert_eq!(name(&[Some("a"), None]), None);
        assert_eq!(name(&[None, Some("a")]), None);
    }
}
