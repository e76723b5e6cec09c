//! A program of the operator's, run for one message: no shell, no descriptor but its standard streams, an end
//! after a deadline, and always waited for.
//!
//! Every descriptor of this process is closed on exec, whatever table it is in, so the child of a thread gets
//! none of them; a test looks. The child leads a process group, so that its own children end with it when it
//! takes too long.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mio::unix::pipe;

use crate::base::limits::ALERT_TRY_MS;
use crate::config::resolved::VARIABLE_PREFIX;
use crate::sys::process::kill_group;

/// Bytes of a failing command's output that are told in the log.
const ALERT_WORDS_BYTES_MAX: usize = 256;

/// The interval between two checks of a program that runs.
const LOOK: Duration = Duration::from_millis(10);

/// Bytes of one read of standard error: a page, as pipes keep them.
const READ_BYTES: usize = 4_096;

/// Reads of standard error at each check: more than a pipe holds.
const READS_PER_LOOK: usize = 64;

/// A program of the operator's, by its path.
#[derive(Debug)]
pub(crate) struct AlertProgram {
    path: String,
    patience: Duration,
}

impl AlertProgram {
    /// Names a program without checking that it exists: it may be installed later than the server starts.
    pub(crate) fn new(path: &str) -> AlertProgram {
        AlertProgram { path: path.to_owned(), patience: Duration::from_millis(ALERT_TRY_MS) }
    }

    /// Runs the program once to its end. `input` is small enough for any pipe, so writing it never waits.
    pub(crate) fn run(
        &self,
        arguments: &[String],
        variables: Vec<(String, String)>,
        input: &[u8],
    ) -> Result<(), String> {
        let mut command = Command::new(&self.path);
        command.args(arguments).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        // Settings may hold secrets, and the service manager's socket is this process's alone.
        for (name, _) in std::env::vars_os() {
            let known = name.to_string_lossy();
            if known.starts_with(VARIABLE_PREFIX) || known == "NOTIFY_SOCKET" {
                command.env_remove(name);
            }
        }
        command.envs(variables);
        let mut child = command.spawn().map_err(|error| format!("cannot run {}: {error}", self.path))?;
        let ended = self.wait(&mut child, input);
        if !matches!(ended, Ok(Some(_))) {
            // The program still runs, or its state is unknown.
            let _ = kill_group(&child);
            let _ = child.kill();
            let _ = child.wait();
        }
        match ended {
            Ok(Some(result)) => result,
            Ok(None) => Err(format!("it did not end within {} ms", self.patience.as_millis())),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Waits for the program's end and returns its result; none when the deadline came first.
    fn wait(&self, child: &mut Child, input: &[u8]) -> std::io::Result<Option<Result<(), String>>> {
        let deadline = Instant::now() + self.patience;
        if let Some(mut pipe) = child.stdin.take() {
            // A program that does not care for its input may be gone already: its exit code tells.
            let _ = pipe.write_all(input);
        }
        let mut words = StderrExcerpt::from_stderr(child.stderr.take())?;
        loop {
            let status = child.try_wait()?;
            words.read();
            match status {
                Some(status) if status.success() => return Ok(Some(Ok(()))),
                Some(status) => return Ok(Some(Err(words.append_to(&status.to_string())))),
                None if Instant::now() >= deadline => return Ok(None),
                None => thread::sleep(LOOK),
            }
        }
    }
}

/// The beginning of a program's standard error. All of it is read, so that the program never waits.
struct StderrExcerpt {
    pipe: Option<pipe::Receiver>,
    kept: Vec<u8>,
}

impl StderrExcerpt {
    fn from_stderr(stderr: Option<ChildStderr>) -> std::io::Result<StderrExcerpt> {
        let pipe = stderr.map(pipe::Receiver::from);
        if let Some(pipe) = &pipe {
            pipe.set_nonblocking(true)?;
        }
        Ok(StderrExcerpt { pipe, kept: Vec::new() })
    }

    fn read(&mut self) {
        let mut buffer = [0; READ_BYTES];
        // One that never stops talking is left to its deadline, not listened to until then.
        for _ in 0..READS_PER_LOOK {
            let Some(pipe) = &mut self.pipe else { return };
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(bytes) => {
                    let room = ALERT_WORDS_BYTES_MAX.saturating_sub(self.kept.len());
                    self.kept.extend_from_slice(&buffer[..bytes.min(room)]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn append_to(&self, status: &str) -> String {
        let words = String::from_utf8_lossy(&self.kept);
        let words = words.trim();
        if words.is_empty() { status.to_owned() } else { format!("{status}: {words}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::keep_files_from_children;

    fn shell(script: &str, patience_ms: u64, input: &[u8]) -> Result<(), String> {
        let program =
            AlertProgram { path: "/bin/sh".to_owned(), patience: Duration::from_millis(patience_ms) };
        let variables = vec![("ALERT_NAME".to_owned(), "x y".to_owned())];
        program.run(&["-c".to_owned(), script.to_owned()], variables, input)
    }

    #[test]
    fn a_program_gets_its_input_and_variables_and_nothing_else() {
        assert_eq!(
            shell("test \"$(cat)\" = hello && test \"$ALERT_NAME\" = 'x y'", 30_000, b"hello"),
            Ok(())
        );
        keep_files_from_children().unwrap();
        // 0, 1, 2, and the one with which `ls` reads the folder.
        assert_eq!(shell("test \"$(ls /proc/self/fd | wc -l)\" = 4", 30_000, b""), Ok(()));
        assert_eq!(shell("true", 30_000, &[b'x'; 4_000]), Ok(()));
    }

    #[test]
    fn a_failure_is_told_with_its_first_words() {
        assert_eq!(
            shell("echo no route >&2; exit 3", 30_000, b""),
            Err("exit status: 3: no route".to_owned())
        );
        assert_eq!(shell("exit 1", 30_000, b""), Err("exit status: 1".to_owned()));
        let long = shell("yes | head -c 200000 >&2; exit 1", 30_000, b"").unwrap_err();
        assert!(long.len() <= ALERT_WORDS_BYTES_MAX + 20, "{}", long.len());
        let missing = AlertProgram::new("/nonexistent/x").run(&[], Vec::new(), b"").unwrap_err();
        assert!(missing.starts_with("cannot run /nonexistent/x: No such file"), "{missing}");
    }

    #[test]
    fn a_program_that_never_stops_talking_is_killed_as_well() {
        let words = shell("yes >&2", 500, b"").unwrap_err();
        assert_eq!(words, "it did not end within 500 ms");
    }

    #[test]
    fn a_program_that_does_not_end_is_killed_with_all_it_started_and_leaves_no_zombie() {
        let mark = std::env::temp_dir().join(format!("fanwheel-{}-child", std::process::id()));
        let script = format!("sleep 30 & echo $! >{}; sleep 30", mark.display());
        let begun = Instant::now();
        let words = shell(&script, 2_000, b"").unwrap_err();
        assert_eq!(words, "it did not end within 2000 ms");
        assert!(begun.elapsed() < Duration::from_secs(10));
        let grandchild = std::fs::read_to_string(&mark).unwrap();
        let _ = std::fs::remove_file(&mark);
        let stat = format!("/proc/{}/stat", grandchild.trim());
        let gone = (0..200).any(|_| {
            thread::sleep(LOOK);
            // Its new parent may not have waited for it yet.
            std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
        });
        assert!(gone, "{grandchild} still runs");
        // Other tests have children as well, each for a moment.
        let waited_for = (0..200).any(|_| {
            thread::sleep(LOOK);
            zombies() == 0
        });
        assert!(waited_for, "{} zombies", zombies());
    }

    fn zombies() -> usize {
        let me = format!(" Z {} ", std::process::id());
        let stats = std::fs::read_dir("/proc").unwrap().flatten();
        stats
            .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
            .filter(|stat| stat.contains(&me))
            .count()
    }
}
