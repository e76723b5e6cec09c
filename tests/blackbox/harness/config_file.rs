//! The configuration file of a server, and its reload.

use super::{Server, ms, poll_until};

/// A configuration file of one test.
pub struct ConfigFile(pub String);

impl ConfigFile {
    /// Writes the first text, under a path of its own.
    pub fn new(name: &str, text: &str) -> ConfigFile {
        let path = format!("{}/{name}-{}.toml", env!("CARGO_TARGET_TMPDIR"), std::process::id());
        let file = ConfigFile(path);
        file.write(text);
        file
    }

    /// Writes another text; [`reload`] has it read.
    pub fn write(&self, text: &str) {
        std::fs::write(&self.0, text).expect("the scratch folder takes files");
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Has the file read again, and waits for the line that says so.
pub fn reload(server: &Server, line: &str) {
    let lines = |server: &Server| server.log().matches(line).count();
    let before = lines(server);
    server.signal("HUP");
    let told = poll_until(ms(5_000), || (lines(server) > before).then_some(()));
    assert!(told.is_some(), "no line {line} in\n{}", server.log());
}
