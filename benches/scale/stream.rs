//! A subscriber's strict reading of its stream: every byte must be one that the contract allows there.
//!
//! Knows the wire and nothing of sockets. Not a general SSE parser: it accepts only what this server may send
//! to these subscribers, so a byte that belongs to somebody else is found at once.

/// An item of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// The head of a stream.
    Opened,
    /// The head of a refusal, with its status.
    Refused(u16),
    /// The greeting.
    Greeting,
    /// A heartbeat.
    Heartbeat,
    /// A whole event. No id: a gap.
    Event {
        /// Its id as it stands on the wire; empty if there is none.
        id: &'a [u8],
        /// Its one line of data.
        data: &'a [u8],
    },
    /// The orderly end.
    End,
}

/// A byte that the server may not send there, with the bytes around it.
#[derive(Debug, PartialEq, Eq)]
pub struct Foreign(pub String);

/// One stream.
#[derive(Default)]
pub struct Stream {
    head_read: bool,
    /// Bytes of something that has not come whole.
    rest: Vec<u8>,
}

impl Stream {
    /// Reads on.
    pub fn feed(&mut self, bytes: &[u8], take: &mut impl FnMut(Item<'_>)) -> Result<(), Foreign> {
        if self.rest.is_empty() {
            let used = self.read_all(bytes, take)?;
            self.rest.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut whole = std::mem::take(&mut self.rest);
        whole.extend_from_slice(bytes);
        let used = self.read_all(&whole, take)?;
        if used < whole.len() {
            whole.drain(..used);
            self.rest = whole;
        }
        Ok(())
    }

    fn read_all(&mut self, bytes: &[u8], take: &mut impl FnMut(Item<'_>)) -> Result<usize, Foreign> {
        let mut used = 0;
        while used < bytes.len() {
            let left = &bytes[used..];
            let read = if self.head_read { read_chunk(left, take)? } else { self.read_head(left, take)? };
            if read == 0 {
                break;
            }
            used += read;
        }
        Ok(used)
    }

    fn read_head(&mut self, bytes: &[u8], take: &mut impl FnMut(Item<'_>)) -> Result<usize, Foreign> {
        let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(0) };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let status = head.strip_prefix("http/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        match status {
            Some(200) => {
                let wanted = ["content-type: text/event-stream", "transfer-encoding: chunked"];
                if !wanted.iter().all(|line| head.contains(line)) {
                    return Err(foreign(bytes));
                }
                self.head_read = true;
                take(Item::Opened);
                Ok(end + 4)
            }
            // The body of a refusal is of no interest, and nothing comes after it.
            Some(status) => {
                take(Item::Refused(status));
                Ok(bytes.len())
            }
            None => Err(foreign(bytes)),
        }
    }
}

/// Reads one chunk if it is there whole; returns its bytes.
fn read_chunk(bytes: &[u8], take: &mut impl FnMut(Item<'_>)) -> Result<usize, Foreign> {
    let Some(line) = find(&bytes[..bytes.len().min(12)], b"\r\n") else {
        return if bytes.len() < 12 { Ok(0) } else { Err(foreign(bytes)) };
    };
    let digits = std::str::from_utf8(&bytes[..line]).map_err(|_| foreign(bytes))?;
    let size = usize::from_str_radix(digits, 16).map_err(|_| foreign(bytes))?;
    let whole = line + 2 + size + 2;
    if bytes.len() < whole {
        return Ok(0);
    }
    if &bytes[whole - 2..whole] != b"\r\n" {
        return Err(foreign(bytes));
    }
    match &bytes[line + 2..line + 2 + size] {
        b"" => take(Item::End),
        b":\n" => take(Item::Heartbeat),
        content if content.starts_with(b":ok\n") => {
            read_retry(&content[4..])?;
            take(Item::Greeting);
        }
        content if content.starts_with(b"retry: ") && !content.ends_with(b"\n\n") => read_retry(content)?,
        content => take(read_event(content)?),
    }
    Ok(whole)
}

fn read_retry(line: &[u8]) -> Result<(), Foreign> {
    let number = line.strip_prefix(b"retry: ").and_then(|rest| rest.strip_suffix(b"\n"));
    let good = number.is_some_and(|digits| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit));
    if good { Ok(()) } else { Err(foreign(line)) }
}

fn read_event(content: &[u8]) -> Result<Item<'_>, Foreign> {
    let event = || {
        let block = content.strip_suffix(b"\n\n")?;
        let (id, rest) = match block.strip_prefix(b"id: ") {
            Some(rest) => rest.split_at(rest.iter().position(|&byte| byte == b'\n')?),
            None => (&b""[..], block.strip_prefix(b"event: fanwheel.gap")?),
        };
        let data = rest.strip_prefix(b"\ndata: ")?;
        (!data.contains(&b'\n')).then_some(Item::Event { id, data })
    };
    event().ok_or_else(|| foreign(content))
}

fn foreign(bytes: &[u8]) -> Foreign {
    Foreign(bytes[..bytes.len().min(120)].escape_ascii().to_string())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(content: &str) -> String {
        format!("{:x}\r\n{content}\r\n", content.len())
    }

    fn stream(chunks: &[&str]) -> Vec<u8> {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        let body: String = chunks.iter().map(|content| chunk(content)).collect();
        [head, &body].concat().into_bytes()
    }

    fn names(pieces: &[&[u8]]) -> Result<Vec<String>, Foreign> {
        let (mut stream, mut names) = (Stream::default(), Vec::new());
        for piece in pieces {
            stream.feed(piece, &mut |item| names.push(format!("{item:?}")))?;
        }
        Ok(names)
    }

    #[test]
    fn a_stream_reads_the_same_in_any_pieces() {
        let gap = "event: fanwheel.gap\ndata: {}\n\n";
        let good = stream(&[":ok\nretry: 1999\n", "id: 1-0\ndata: a b\n\n", ":\n", gap, "retry: 1\n", ""]);
        let whole = names(&[&good]).expect("a good stream");
        assert_eq!(whole.len(), 6, "{whole:?}");
        for cut in 1..good.len() {
            assert_eq!(names(&[&good[..cut], &good[cut..]]).expect("the same stream"), whole, "cut at {cut}");
        }
        let single: Vec<&[u8]> = good.chunks(1).collect();
        assert_eq!(names(&single).expect("the same stream"), whole);
    }

    #[test]
    fn foreign_bytes_are_found() {
        let rows = [
            "id: 1-0\ndata: a\n",
            "data: a\n\n",
            "id: 1-0\ndata: a\ndata: b\n\n",
            "\n",
            ":ok\n",
            "12:00 INFO",
        ];
        for content in rows {
            assert!(names(&[&stream(&[content])]).is_err(), "{content:?}");
        }
        for tail in ["12:00 INFO opened\r\n", "HTTP/1.1 200 OK\r\n", "\r\n", "2\r\n:\nx\n"] {
            let all = [&stream(&[":\n"]), tail.as_bytes()].concat();
            assert!(names(&[&all]).is_err(), "{tail:?}");
        }
    }
}
