//! Queries: no panic, and what is decoded can be encoded and decoded again.
#![no_main]

use fanwheel::wire::query::{decode, pairs};
use libfuzzer_sys::fuzz_target;

fn encode(text: &[u8]) -> String {
    text.iter().map(|byte| format!("%{byte:02x}")).collect()
}

fuzz_target!(|data: &[u8]| {
    let mut bad = 0;
    let mut count = 0;
    for pair in pairs(data) {
        count += 1;
        let Ok((name, value)) = pair else {
            bad += 1;
            continue;
        };
        assert!(name.len() + value.len() <= data.len());
        let again = format!("{}={}", encode(&name), encode(&value));
        let mut again = pairs(again.as_bytes());
        assert_eq!(again.next(), Some(Ok((name, value))));
        assert_eq!(again.next(), None);
    }
    assert_eq!(count, data.split(|&b| b == b'&').filter(|pair| !pair.is_empty()).count());
    // The slow twin of "is any escape broken".
    let broken = data.split(|&b| matches!(b, b'&' | b'=')).any(|part| decode(part).is_err());
    assert!(bad == 0 || broken);
    let escapes_whole = data.iter().enumerate().filter(|(_, b)| **b == b'%').all(|(at, _)| {
        data.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    assert_eq!(bad == 0, escapes_whole);
});
