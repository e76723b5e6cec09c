//! The log: any thread writes a line into a bounded queue and never waits; one thread owns the output.
//!
//! Owns the queue, the output and the count of dropped lines. A line is a time, a level and a message in
//! logfmt. Text of strangers goes through [`crate::base::logfmt::LogValue`]; control characters that are left
//! in a message are escaped here, so one event is one line.
//!
//! The output is opened by the log's own thread, which must start after the workers have their private file
//! tables: a descriptor opened earlier would stay open in each of them, and a rotated file would never leave
//! the disk. Until then lines wait in the queue. A full disk, a full pipe or a closed one costs lines, which
//! are counted, never a worker's time. [`RepeatedErrors`] gathers errors that come in floods.

pub(crate) mod repeats;
pub(crate) mod tail;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use log::{Level, LevelFilter, Log, Metadata, Record};
use simplelog::{ConfigBuilder, LevelPadding, WriteLogger};

use crate::base::limits::{KIB, LOG_LINES_MAX};
use crate::base::logfmt::{EscapedText, LogValue};
use crate::daemon::logging::repeats::RepeatedErrors;
use crate::daemon::logging::tail::LogTail;
use crate::sys::disk;

/// Bytes of one log line's message; a longer one is cut. Bounds a full queue to 4 MiB.
pub(crate) const LOG_LINE_BYTES_MAX: usize = 4 * KIB;
/// Bytes free on the log's disk below which it counts as full: the longest line would not fit.
const LOG_DISK_BYTES_MIN: u64 = 2 * LOG_LINE_BYTES_MAX as u64;
/// Milliseconds at exit in which the log may write the lines that wait.
const LOG_FLUSH_MS: u64 = 1_000;

/// Lines that never reached the output, for any reason.
static DROPPED: AtomicU64 = AtomicU64::new(0);
/// Whether the output has refused the last line.
static FAILS: AtomicBool = AtomicBool::new(false);
/// Whether the disk has no room for the next line.
static FULL: AtomicBool = AtomicBool::new(false);
/// The prefix of lines that are logged: libraries judge importance by other measures than this program.
const TARGET_PREFIX: &str = "fanwheel";

/// A command to the log's thread.
enum LogCommand {
    Line(Level, String),
    Reopen,
    /// Checks whether the disk has room, and whether an output that failed takes lines again.
    Check,
    Flush(Sender<()>),
}

/// Returns the number of lines dropped since the start.
pub(crate) fn lines_dropped() -> u64 {
    DROPPED.load(Relaxed)
}

/// Whether lines are being lost, as far as the log's thread has seen.
pub(crate) fn is_failing() -> bool {
    FAILS.load(Relaxed) || FULL.load(Relaxed)
}

/// The logger behind the `log` macros in every thread: puts lines into the queue.
struct QueueLogger(Sender<LogCommand>);

impl Log for QueueLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level() && metadata.target().starts_with(TARGET_PREFIX)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = clean_line(&record.args().to_string());
        if self.0.try_send(LogCommand::Line(record.level(), line)).is_err() {
            DROPPED.fetch_add(1, Relaxed);
        }
    }

    fn flush(&self) {}
}

/// Escapes control characters of a message and cuts it to its bound.
fn clean_line(message: &str) -> String {
    let mut line = EscapedText(message).to_string();
    if line.len() > LOG_LINE_BYTES_MAX {
        let end = (0..=LOG_LINE_BYTES_MAX).rev().find(|&end| line.is_char_boundary(end)).unwrap_or(0);
        line.truncate(end);
        line.push('…');
    }
    line
}

/// Returns the level that a `log_level` word names.
pub(crate) fn parse_level(word: &str) -> LevelFilter {
    word.parse().unwrap_or(LevelFilter::Info)
}

/// The main thread's handle on the log.
#[derive(Clone, Debug)]
pub(crate) struct LogHandle {
    commands: Sender<LogCommand>,
}

/// The log's queue before its thread is started.
#[derive(Debug)]
pub(crate) struct PendingLog {
    handle: LogHandle,
    received: Receiver<LogCommand>,
    file: Option<PathBuf>,
    tail: LogTail,
}

impl std::fmt::Debug for LogCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            LogCommand::Line(..) => "Line",
            LogCommand::Reopen => "Reopen",
            LogCommand::Check => "Check",
            LogCommand::Flush(_) => "Flush",
        })
    }
}

/// Makes the queue and becomes the process's logger. An empty `file` means standard error.
///
/// # Errors
/// When the file cannot be opened: it is opened and closed once, so that the start fails rather than the log.
pub(crate) fn install_logger(file: &str, level: LevelFilter) -> io::Result<PendingLog> {
    let file = (!file.is_empty()).then(|| PathBuf::from(file));
    if let Some(path) = &file {
        open_file(path)?;
    }
    let (commands, received) = bounded(LOG_LINES_MAX);
    // Fails only when a logger is set already, which a second server in one test process would do.
    let _ = log::set_boxed_logger(Box::new(QueueLogger(commands.clone())));
    log::set_max_level(level);
    Ok(PendingLog { handle: LogHandle { commands }, received, file, tail: LogTail::default() })
}

impl PendingLog {
    /// Returns the newest lines, those that the thread will write among them.
    pub(crate) fn tail(&self) -> LogTail {
        self.tail.clone()
    }

    /// Starts the thread, which opens the output and writes the lines that wait.
    pub(crate) fn start(self) -> io::Result<LogHandle> {
        let (received, file, tail) = (self.received, self.file, self.tail);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || run_log_thread(received, file.as_deref(), tail))?;
        Ok(self.handle)
    }
}

impl LogHandle {
    /// Opens the file again, so that a rotated log continues under its old name.
    pub(crate) fn reopen(&self) {
        // Given up when the queue stays full: then the output is stuck, and no new one would help.
        let _ = self.commands.send_timeout(LogCommand::Reopen, Duration::from_millis(LOG_FLUSH_MS));
    }

    /// Asks for a check of the output; never waits.
    pub(crate) fn check_output(&self) {
        // A full queue has its own count of lost lines, and its thread is at work.
        let _ = self.commands.try_send(LogCommand::Check);
    }

    /// Waits until all earlier lines are written, but not for long: a stuck output must not hold up the exit.
    pub(crate) fn flush(&self) -> bool {
        let deadline = Instant::now() + Duration::from_millis(LOG_FLUSH_MS);
        let (done, written) = bounded(1);
        let asked = self.commands.send_deadline(LogCommand::Flush(done), deadline);
        asked.is_ok() && written.recv_deadline(deadline).is_ok()
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    // O_NONBLOCK: opening a named pipe without a reader must fail, not wait.
    OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(libc::O_NONBLOCK).open(path)
}

/// The places that the log's thread writes a line to.
struct LineWriter {
    logger: Box<WriteLogger<LogOutput>>,
    tail: LogTail,
}

impl LineWriter {
    /// Writes a line. What the output does not take is still in the tail.
    fn write_line(&self, level: Level, line: &str) {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.tail.keep(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX), level, line);
        write_line(&self.logger, level, line);
    }
}

fn run_log_thread(received: Receiver<LogCommand>, file: Option<&Path>, tail: LogTail) {
    let logger = open_logger(file).unwrap_or_else(|| line_logger(LogOutput::new(io::stderr())));
    let mut writer = LineWriter { logger, tail };
    let (mut repeats, begun) = (RepeatedErrors::default(), Instant::now());
    loop {
        let now_ms = ms_since(begun);
        for (level, line) in repeats.due_lines(now_ms) {
            writer.write_line(level, &line);
        }
        let command = match repeats.ms_until_due(now_ms) {
            Some(ms) => match received.recv_timeout(Duration::from_millis(ms)) {
                Err(RecvTimeoutError::Timeout) => continue,
                command => command.ok(),
            },
            None => received.recv().ok(),
        };
        let Some(command) = command else { return };
        match command {
            LogCommand::Line(level, line) => {
                if let Some(line) = repeats.admit_line(ms_since(begun), level, line) {
                    writer.write_line(level, &line);
                }
            }
            LogCommand::Reopen => {
                if let Some(reopened) = file.and_then(|path| open_logger(Some(path))) {
                    writer.logger = reopened;
                }
            }
            LogCommand::Check => check_output(&writer, file),
            LogCommand::Flush(done) => {
                for (level, line) in repeats.take_held_lines() {
                    writer.write_line(level, &line);
                }
                writer.logger.flush();
                let _ = done.try_send(());
            }
        }
    }
}

fn ms_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Checks the disk and retries a failed output. A log with few lines would notice a full disk late, and room
/// on it never.
fn check_output(writer: &LineWriter, file: Option<&Path>) {
    let free = file.and_then(|path| disk::bytes_free(path).ok());
    let full = free.is_some_and(|bytes| bytes < LOG_DISK_BYTES_MIN);
    FULL.store(full, Relaxed);
    if !full && FAILS.load(Relaxed) {
        // A line that is taken says by itself that lines are taken again.
        writer.write_line(Level::Warn, &format!("event=log_writes_again lines_lost={}", lines_dropped()));
    }
}

/// Opens a logger on the file, or on standard error when there is none. A file that cannot be opened is
/// reported by a line in the log that stays in use.
fn open_logger(file: Option<&Path>) -> Option<Box<WriteLogger<LogOutput>>> {
    let Some(path) = file else { return Some(line_logger(LogOutput::new(io::stderr()))) };
    match open_file(path) {
        Ok(file) => Some(line_logger(LogOutput::new(file))),
        Err(error) => {
            let path = path.to_string_lossy();
            log::error!("event=log_open_failed file={} error=\"{error}\"", LogValue(&path));
            None
        }
    }
}

fn line_logger(output: LogOutput) -> Box<WriteLogger<LogOutput>> {
    let config = ConfigBuilder::new()
        .set_time_format_rfc3339()
        .set_time_level(LevelFilter::Error)
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .set_level_padding(LevelPadding::Off)
        .build();
    WriteLogger::new(LevelFilter::Trace, config, output)
}

fn write_line(logger: &WriteLogger<LogOutput>, level: Level, line: &str) {
    logger.log(&Record::builder().level(level).args(format_args!("{line}")).build());
}

/// Gathers a line, so that it reaches the kernel in one write, and outlives an output that takes nothing.
struct LogOutput {
    sink: Box<dyn Write + Send>,
    line: Vec<u8>,
    /// Whether an error cut the last line short, so that the next must not continue it.
    torn: bool,
}

impl LogOutput {
    fn new(sink: impl Write + Send + 'static) -> LogOutput {
        LogOutput { sink: Box::new(sink), line: Vec::new(), torn: false }
    }

    fn write_line(&mut self) {
        let mut rest = self.line.as_slice();
        while !rest.is_empty() {
            match self.sink.write(rest) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => break,
                Ok(written) => rest = &rest[written..],
            }
        }
        FAILS.store(!rest.is_empty(), Relaxed);
        if !rest.is_empty() {
            DROPPED.fetch_add(1, Relaxed);
            self.torn |= rest.len() < self.line.len();
        } else {
            self.torn = false;
        }
        self.line.clear();
    }
}

impl Write for LogOutput {
    /// Takes everything: the logger that calls this has no use for an error.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.line.is_empty() && self.torn {
            self.line.push(b'\n');
        }
        self.line.extend_from_slice(bytes);
        if self.line.ends_with(b"\n") && self.line.len() > 1 {
            self.write_line();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A disk with so many bytes left.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Disk {
        fn with_room(bytes: usize) -> Disk {
            Disk(Arc::new(Mutex::new((Vec::new(), bytes))))
        }

        fn make_room(&self, bytes: usize) {
            self.0.lock().unwrap().1 = bytes;
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (written, room) = &mut *self.0.lock().unwrap();
            let taken = bytes.len().min(*room);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            written.extend_from_slice(&bytes[..taken]);
            *room -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_a_time_a_level_and_a_message() {
        let disk = Disk::with_room(1_000);
        let logger = line_logger(LogOutput::new(disk.clone()));
        write_line(&logger, Level::Warn, "event=test n=1");
        let text = disk.text();
        let (time, rest) = text.split_once(' ').unwrap();
        assert!(time.len() > 20 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
        assert_eq!(rest, "[WARN] event=test n=1\n");
    }

    #[test]
    fn messages_lose_their_control_characters_and_what_is_too_long() {
        assert_eq!(clean_line("a\nb\u{1b}[0m"), "a\\nb\\x1b[0m");
        let long = clean_line(&"ü".repeat(LOG_LINE_BYTES_MAX));
        assert!(long.len() <= LOG_LINE_BYTES_MAX + '…'.len_utf8() && long.ends_with("ü…"));
    }

    #[test]
    fn a_full_disk_costs_lines_and_the_next_line_starts_anew() {
        let disk = Disk::with_room(0);
        let logger = line_logger(LogOutput::new(disk.clone()));
        let before = lines_dropped();
        write_line(&logger, Level::Info, "lost");
        disk.make_room(10);
        write_line(&logger, Level::Info, "torn");
        disk.make_room(1_000);
        write_line(&logger, Level::Info, "whole");
        write_line(&logger, Level::Info, "whole too");
        assert!(lines_dropped() >= before + 2);
        let text = disk.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[1].ends_with("[INFO] whole") && lines[2].ends_with("[INFO] whole too"), "{text}");
    }

    #[test]
    fn a_writer_that_is_behind_loses_lines_and_never_the_time_of_who_logs() {
        let (commands, received) = bounded(2);
        let front = QueueLogger(commands);
        log::set_max_level(LevelFilter::Info);
        let before = lines_dropped();
        for _ in 0..5 {
            let message = format_args!("event=x");
            front.log(&Record::builder().level(Level::Error).target("fanwheel::x").args(message).build());
        }
        front.log(&Record::builder().level(Level::Error).target("mio::poll").args(format_args!("x")).build());
        assert_eq!(received.len(), 2);
        assert!(lines_dropped() >= before + 3);
    }

    #[test]
    fn a_rotated_file_goes_on_under_its_old_name() {
        let path = std::env::temp_dir().join(format!("fanwheel-{}-rotated.log", std::process::id()));
        let moved = path.with_extension("1");
        let (commands, received) = bounded(8);
        let handle = LogHandle { commands: commands.clone() };
        let pending = PendingLog { handle, received, file: Some(path.clone()), tail: LogTail::default() };
        let handle = pending.start().unwrap();
        let line = |text: &str| commands.send(LogCommand::Line(Level::Info, text.to_owned())).unwrap();
        line("first");
        assert!(handle.flush());
        std::fs::rename(&path, &moved).unwrap();
        line("second");
        handle.reopen();
        line("third");
        assert!(handle.flush());
        let (old, new) = (std::fs::read_to_string(&moved).unwrap(), std::fs::read_to_string(&path).unwrap());
        let _ = (std::fs::remove_file(&moved), std::fs::remove_file(&path));
        assert!(old.contains("first") && old.contains("second") && !old.contains("third"), "{old}");
        assert!(new.ends_with("[INFO] third\n") && new.lines().count() == 1, "{new}");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_told_at_the_start() {
        for path in ["/nonexistent/fanwheel.log", "/"] {
            assert!(install_logger(path, LevelFilter::Info).is_err(), "{path}");
        }
    }
}
