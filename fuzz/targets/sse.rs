//! Event streams: no panic, within the bound, the same events in any pieces and with any line end.
#![no_main]

use fanwheel::wire::sse::SseParser;
use libfuzzer_sys::fuzz_target;

const BYTES_MAX: usize = 512;

/// Name, data, id, own id.
type Event = (Vec<u8>, Vec<u8>, Vec<u8>, bool);

#[derive(Debug, PartialEq)]
struct Read {
    events: Vec<Event>,
    last_event_id: Vec<u8>,
    retry_ms: Option<u64>,
    comments: u64,
    too_long: bool,
}

fn read(stream: &[u8], piece: usize) -> Read {
    let mut parser = SseParser::new(BYTES_MAX);
    let mut events = Vec::new();
    let mut too_long = false;
    for part in stream.chunks(piece) {
        let fed = parser.feed(part, |event| {
            assert!(event.data.len() <= BYTES_MAX && !event.data.contains(&b'\r'));
            assert!(!event.name.is_empty() && !event.id.contains(&0));
            events.push((event.name.to_vec(), event.data.to_vec(), event.id.to_vec(), event.id_given));
        });
        if fed.is_err() {
            too_long = true;
            break;
        }
    }
    let (last_event_id, retry_ms) = (parser.last_event_id().to_vec(), parser.retry_ms());
    Read { events, last_event_id, retry_ms, comments: parser.comments(), too_long }
}

fuzz_target!(|data: &[u8]| {
    let Some((&piece, stream)) = data.split_first() else { return };
    let whole = read(stream, stream.len().max(1));
    assert_eq!(whole, read(stream, 1));
    assert_eq!(whole, read(stream, usize::from(piece).max(1)));
    if !stream.contains(&b'\r') {
        let crs: Vec<u8> = stream.iter().map(|&b| if b == b'\n' { b'\r' } else { b }).collect();
        assert_eq!(whole, read(&crs, usize::from(piece).max(1)));
    }
});
