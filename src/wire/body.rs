//! The chunked transfer coding, decoded strictly and incrementally (RFC 9112 §7.1).
//!
//! Owns where a chunked body ends. Never holds body bytes: they go to the caller's buffer.

use crate::wire::problem::Problem;

/// A decoder for one body.
#[derive(Clone, Debug, Default)]
pub struct Chunked {
    decoded: usize,
}

/// What became of one piece of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    /// Bytes taken from the input: all of it, unless the body ended within it.
    pub consumed: usize,
    /// The body is whole; what follows belongs to the next request.
    pub done: bool,
}

impl Chunked {
    /// A decoder at the start of a body.
    pub fn new() -> Chunked {
        Chunked::default()
    }

    /// Appends the body bytes of `input` to `out`. Errors are final: [`Problem::BadChunk`], or
    /// [`Problem::BodyTooLarge`] as soon as a chunk's size would take the body over `bytes_max`.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>, bytes_max: usize) -> Result<Fed, Problem> {
        let _ = (input, out, bytes_max);
        Ok(Fed { consumed: 0, done: false })
    }

    /// Body bytes decoded so far.
    pub fn decoded(&self) -> usize {
        self.decoded
    }
}
