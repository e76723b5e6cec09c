//! Chunked bodies: no panic, nothing consumed that was not there, within bounds, the same in any pieces.
#![no_main]

use fanwheel::wire::body::ChunkedDecoder;
use libfuzzer_sys::fuzz_target;

const BYTES_MAX: usize = 4_096;

/// Body, bytes consumed and whether it is whole; or the status.
fn decode(input: &[u8], piece: usize) -> Result<(Vec<u8>, usize, bool), u16> {
    let mut decoder = ChunkedDecoder::new();
    let mut out = Vec::new();
    let mut consumed = 0;
    for part in input.chunks(piece) {
        let fed = decoder.feed(part, &mut out, BYTES_MAX).map_err(|problem| problem.status())?;
        assert!(fed.consumed <= part.len() && (fed.done || fed.consumed == part.len()));
        consumed += fed.consumed;
        if fed.done {
            return Ok((out, consumed, true));
        }
    }
    assert_eq!(out.len(), decoder.decoded());
    Ok((out, consumed, false))
}

fuzz_target!(|data: &[u8]| {
    let Some((&piece, input)) = data.split_first() else { return };
    let whole = decode(input, input.len().max(1));
    assert_eq!(whole, decode(input, 1));
    assert_eq!(whole, decode(input, usize::from(piece).max(1)));
    match whole {
        Ok((out, consumed, done)) => {
            assert!(out.len() <= BYTES_MAX && out.len() <= consumed && consumed <= input.len());
            assert!(!done || input[..consumed].ends_with(b"\r\n"));
        }
        Err(status) => assert!(status == 400 || status == 413),
    }
});
