//! Tables of raw requests and the answers allowed for them, each sent whole and in pieces, each followed by
//! a canary request that must never be answered, and by the witness's check.
//!
//! Owns how a row is run. The tables belong to the modules that use it.

use crate::harness::{Conn, Fail, SOON, Server, Witness, assert_problem, ms};

/// In a row's list of statuses: the server may also hang up without an answer.
pub const CLOSE: u16 = 0;

/// A request that must be refused.
pub struct Row {
    /// For failure messages.
    pub name: String,
    /// Everything that is sent.
    pub bytes: Vec<u8>,
    /// Allowed statuses, or [`CLOSE`].
    pub allowed: Vec<u16>,
}

/// A row.
pub fn row(name: impl Into<String>, bytes: impl AsRef<[u8]>, allowed: &[u16]) -> Row {
    Row { name: name.into(), bytes: bytes.as_ref().to_vec(), allowed: allowed.to_vec() }
}

/// A head of a publish request with further header lines, complete with its blank line, and what follows.
pub fn publish(server: &Server, lines: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let head = format!("POST /publish?topic=target HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", server.control);
    [head.as_bytes(), body.as_ref()].concat()
}

/// A good request that publishes to the topic on which nothing may ever arrive.
pub fn canary(server: &Server) -> Vec<u8> {
    server.publish_bytes("topic=canary", "", b"smuggled")
}

/// Runs every row: whole, one byte a write where that is affordable, and seven bytes a write for a sample.
/// The answer must come at once, be the only one, and be followed by the end of the connection.
pub fn assert_all_refused(server: &Server, rows: &[Row]) {
    let mut witness = Witness::of(server);
    for (n, row) in rows.iter().enumerate() {
        let bytes = [row.bytes.clone(), canary(server)].concat();
        let mut sizes = vec![usize::MAX];
        if bytes.len() <= 700 {
            sizes.push(1);
        }
        if n % 3 == 0 && bytes.len() <= 8_000 {
            sizes.push(7);
        }
        for size in sizes {
            let case = format!("{} ({size} bytes a write)", row.name);
            assert_refused(&case, &mut server.connect_control(), &bytes, size, &row.allowed);
            witness.check(&case);
        }
    }
}

/// Sends bytes in pieces of a size; asserts one allowed answer, or a silent end, and nothing else.
pub fn assert_refused(case: &str, conn: &mut Conn, bytes: &[u8], size: usize, allowed: &[u16]) {
    let aside = if size >= bytes.len() {
        Some(conn.send_aside(bytes.to_vec()))
    } else {
        conn.send_pieces(bytes, size);
        None
    };
    match conn.answer(SOON) {
        Ok(answer) => {
            assert!(allowed.contains(&answer.status), "{case}: {} {}", answer.status, answer.text());
            if answer.status >= 400 {
                assert_problem(case, &answer, allowed);
            }
            conn.assert_ends(case, SOON);
        }
        Err(Fail::Ended(_)) => assert!(allowed.contains(&CLOSE), "{case}: hung up without an answer"),
        Err(fail) => panic!("{case}: {fail:?} instead of one of {allowed:?}"),
    }
    if let Some(sender) = aside {
        sender.join().expect("sending does not panic");
    }
}

/// Runs rows whose answer may leave the connection open: the first answer must be allowed, a second one
/// must not come.
pub fn assert_answered_once(server: &Server, rows: &[Row]) {
    let mut witness = Witness::of(server);
    for row in rows {
        let mut conn = server.connect_control();
        conn.send(&row.bytes);
        let method = String::from_utf8_lossy(&row.bytes).split(' ').next().unwrap_or("").to_owned();
        match conn.answer_to(&method, SOON) {
            Ok(answer) => {
                let status = answer.status;
                assert!(row.allowed.contains(&status), "{}: {status} {}", row.name, answer.text());
                let (more, _) = conn.rest(ms(20));
                assert!(more.is_empty(), "{}: a second answer: {}", row.name, String::from_utf8_lossy(&more));
            }
            Err(Fail::Ended(_)) => assert!(row.allowed.contains(&CLOSE), "{}: hung up", row.name),
            Err(fail) => panic!("{}: {fail:?}", row.name),
        }
        drop(conn);
        witness.check(&row.name);
    }
}
