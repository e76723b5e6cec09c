//! The token of a client, from a file: on a command line everybody on the host could read it.

use std::path::Path;

use zeroize::Zeroizing;

use crate::base::failure::CommandFailure;
use crate::base::logfmt::shown;
use crate::host::named_file::{PipeWait, read_secret_file};

/// Bytes of a file with one token; tokens of web applications may have some thousand.
const CLIENT_TOKEN_BYTES_MAX: usize = 16_384;

/// Reads the first line of a file that is not empty.
///
/// # Errors
/// When it cannot be read, or holds no text that a header field can carry. The line repeats nothing of it.
pub(crate) fn read_token(path: &str) -> Result<Zeroizing<String>, CommandFailure> {
    let refuse = |why: &str| CommandFailure::Usage(format!("token file {}: {why}", shown(path)));
    let bytes = read_secret_file(Path::new(path), CLIENT_TOKEN_BYTES_MAX, PipeWait::Allowed)
        .map_err(|error| refuse(&format!("cannot read it: {error}")))?;
    let lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let token = lines.into_iter().find(|line| !line.is_empty()).ok_or_else(|| refuse("it is empty"))?;
    let text = std::str::from_utf8(token).ok().filter(|text| text.bytes().all(|b| b.is_ascii_graphic()));
    text.map(|text| Zeroizing::new(text.to_owned())).ok_or_else(|| refuse("its first line is no token"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_token_and_a_refusal_keeps_it_secret() {
        let path = std::env::temp_dir().join(format!("fanwheel-{}-client.token", std::process::id()));
        let path = path.display().to_string();
        let read = |text: &str| {
            std::fs::write(&path, text).expect("a writable temporary directory");
            read_token(&path).map(|token| token.to_string())
        };
        assert_eq!(read("\n  abc.def-1  \nmore\n"), Ok("abc.def-1".to_owned()));
        for text in ["", "\n\n", "sec ret\n", "sec\u{e9}ret", "s\u{1}ecret"] {
            let Err(CommandFailure::Usage(line)) = read(text) else { panic!("{text:?} is no token") };
            assert!(line.starts_with("token file ") && !line.contains("ret"), "{line}");
        }
        let _ = std::fs::remove_file(&path);
        assert!(read_token(&path).is_err(), "no file");
    }
}
