//! Asks for a stream over HTTP/2, as browsers do where TLS offers it: just enough of RFC 9113 to see that it
//! is spoken and that the first byte comes. Judges nothing.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use super::connection::connect;
use super::tls::handshake;
use super::url::StreamUrl;
use crate::doctor::judge::streams::Http2Result;
use crate::host::tls_trust::TlsTrust;

/// The preface of a client (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const ACK: u8 = 1;
const END_STREAM_AND_HEADERS: u8 = 0x1 | 0x4;
const MAX_CONCURRENT_STREAMS: u16 = 3;
/// Frames are no longer unless the receiver allows it, which this one does not (RFC 9113 §4.2).
const FRAME_BYTES_MAX: usize = 16_384;

/// Opens a stream over HTTP/2; returns whether the peer chooses it, speaks it, and sends a first byte.
///
/// # Errors
/// When nothing answers, or the peer has no TLS that is trusted.
pub(crate) fn probe_http2(
    address: &StreamUrl,
    trust: &TlsTrust,
    target: &str,
    patience: Duration,
) -> io::Result<Http2Result> {
    let mut session = handshake(connect(address)?, &address.host, trust, &["h2", "http/1.1"])?;
    if session.conn.alpn_protocol() != Some(b"h2") {
        return Ok(Http2Result::NotOffered);
    }
    let mut request = PREFACE.to_vec();
    request.extend(encode_frame(SETTINGS, 0, 0, &[]));
    request.extend(encode_frame(HEADERS, END_STREAM_AND_HEADERS, 1, &encode_fields(address, target)));
    let started = Instant::now();
    let mut spoken = None;
    let sent = session.write_all(&request).and_then(|()| session.flush());
    while let Some(left) =
        patience.checked_sub(started.elapsed()).filter(|left| sent.is_ok() && !left.is_zero())
    {
        session.sock.set_read_timeout(Some(left))?;
        let Some((kind, flags, stream, payload)) = read_frame(&mut session) else { break };
        match (kind, stream) {
            (SETTINGS, 0) if flags & ACK == 0 => {
                spoken.get_or_insert(find_streams_max(&payload));
                let _ =
                    session.write_all(&encode_frame(SETTINGS, ACK, 0, &[])).and_then(|()| session.flush());
            }
            (DATA, 1) if spoken.is_some() && !payload.is_empty() => {
                let first_byte_ms = u64::try_from(started.elapsed().as_millis()).ok();
                return Ok(Http2Result::Spoken { first_byte_ms, streams_max: spoken.flatten() });
            }
            // A server's first frame is its settings (RFC 9113 §3.4).
            _ if spoken.is_none() => break,
            _ => {}
        }
    }
    Ok(spoken.map_or(Http2Result::Unspoken, |streams_max| Http2Result::Spoken {
        first_byte_ms: None,
        streams_max,
    }))
}

fn encode_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("frames made here are short");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Reads the next frame: kind, flags, stream and payload. None at the end, or when it is no frame.
fn read_frame(from: &mut impl Read) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    from.read_exact(&mut head).ok()?;
    let [a, b, c, kind, flags, stream @ ..] = head;
    let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?;
    let mut payload = vec![0; Some(length).filter(|length| *length <= FRAME_BYTES_MAX)?];
    from.read_exact(&mut payload).ok()?;
    Some((kind, flags, u32::from_be_bytes(stream) & 0x7fff_ffff, payload))
}

/// Returns the streams that the peer lets be open at once; none when it does not say.
fn find_streams_max(settings: &[u8]) -> Option<u32> {
    let mut found =
        settings.chunks_exact(6).filter(|entry| entry[..2] == MAX_CONCURRENT_STREAMS.to_be_bytes());
    found.next_back().map(|entry| u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]))
}

/// Encodes the fields of the request, by the static table and as plain text (RFC 7541 §6.2.2, appendix A).
fn encode_fields(address: &StreamUrl, target: &str) -> Vec<u8> {
    let (get, https) = (0x82, 0x87);
    let mut block = vec![get, https];
    let (authority, path, accept) = (1, 4, 19);
    for (name, value) in [(authority, address.authority()), (path, target), (accept, "text/event-stream")] {
        push_integer(name, 0x0f, &mut block);
        push_integer(value.len(), 0x7f, &mut block);
        block.extend(value.as_bytes());
    }
    block
}

/// Encodes a number whose first byte has room for `room` (RFC 7541 §5.1).
fn push_integer(value: usize, room: u8, block: &mut Vec<u8>) {
    let low = |value: usize, mask: usize| u8::try_from(value & mask).expect("masked to a byte");
    if value < usize::from(room) {
        block.push(low(value, 0xff));
        return;
    }
    block.push(room);
    let mut rest = value - usize::from(room);
    while rest >= 0x80 {
        block.push(low(rest, 0x7f) | 0x80);
        rest >>= 7;
    }
    block.push(low(rest, 0x7f));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_rfc_shows_them() {
        for (value, room, expected) in [
            (10, 0x1f, &[10][..]),
            (1_337, 0x1f, &[31, 154, 10]),
            (19, 0x0f, &[15, 4]),
            (127, 0x7f, &[127, 0]),
        ] {
            let mut block = Vec::new();
            push_integer(value, room, &mut block);
            assert_eq!(block, expected, "{value} in {room}");
        }
    }

    #[test]
    fn frames_are_read_as_they_are_written_and_nothing_else_is() {
        let settings = [0, 2, 0, 0, 0, 0, 0, 3, 0, 0, 0, 128];
        let written = encode_frame(SETTINGS, ACK, 7, &settings);
        assert_eq!(read_frame(&mut &written[..]), Some((SETTINGS, ACK, 7, settings.to_vec())));
        assert_eq!(find_streams_max(&settings), Some(128));
        assert_eq!(find_streams_max(&settings[..6]), None);
        assert_eq!(read_frame(&mut &written[..12]), None, "cut short");
        assert_eq!(read_frame(&mut &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..]), None);
    }
}
