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
        let Ok(value) = pair.value() else {
            bad += 1;
            continue;
        };
        assert!(pair.name.len() + value.len() <= data.len());
        let again = format!("{}={}", encode(&pair.name), encode(&value));
        let mut again = pairs(again.as_bytes());
        let first = again.next().expect("one pair");
        assert_eq!((&first.name, first.value()), (&pair.name, Ok(value)));
        assert_eq!(again.next(), None);
    }
    assert_eq!(count, data.split(|&b| b == b'&').filter(|pair| !pair.is_empty()).count());
    // The slow twin of "is any escape broken".
    let broken = |pair: &&[u8]| {
        let equals = pair.iter().position(|&b| b == b'=');
        equals.is_some_and(|equals| decode(&pair[equals + 1..]).is_err())
    };
    assert_eq!(bad, data.split(|&b| b == b'&').filter(broken).count());
    let escapes_whole = data.iter().enumerate().filter(|(_, b)| **b == b'%').all(|(at, _)| {
        data.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    assert!(bad == 0 || !escapes_whole);
});
