//! Alerts leave the process: the log, webhooks, a command, mail.
//!
//! Owns the destinations. Each has a thread and a bounded queue of its own, so that one that hangs holds up
//! neither the server nor the others, and messages reach it in their order. A message is tried again after
//! growing pauses, then counted as failed. The threads share the main thread's file table and are started
//! after the workers have theirs, so nothing they open is ever a subscriber's.

mod child;
mod retry;
mod webhook;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use log::{Level, error, warn};

use self::child::AlertProgram;
use self::retry::RetryingSender;
use self::webhook::AlertWebhook;
use crate::base::logfmt::LogValue;
use crate::base::settings::Settings;
use crate::base::webhook_url::mask_url;
use crate::monitor::alerts::{AlertChange, AlertNotice, Severity};

/// Messages that wait for one destination; further ones count as failed, so that a dead one costs no memory.
const ALERT_MESSAGES_MAX: usize = 64;

/// The interval at which a pause checks whether its notifier was replaced.
const LOOK: Duration = Duration::from_millis(500);
/// Messages that a destination took, and messages given up, since the start.
static SENT: AtomicU64 = AtomicU64::new(0);
static FAILED: AtomicU64 = AtomicU64::new(0);

/// Messages that no destination has taken and that are not given up.
static WAITING: AtomicU64 = AtomicU64::new(0);

/// Returns the number of messages that wait for their destinations or are being tried.
pub(crate) fn messages_waiting() -> u64 {
    WAITING.load(Relaxed)
}

/// Returns the number of messages that a destination took since the start.
pub(crate) fn messages_sent() -> u64 {
    SENT.load(Relaxed)
}

/// Returns the number of messages given up since the start.
pub(crate) fn messages_failed() -> u64 {
    FAILED.load(Relaxed)
}

/// The settings that say where messages go.
pub(crate) const DESTINATIONS: [&str; 4] =
    ["alert_webhook", "alert_command", "alert_email_to", "alert_sendmail"];

/// A way out of the process.
#[derive(Debug)]
enum AlertDestination {
    Webhook(AlertWebhook),
    Command { program: AlertProgram, host: Arc<str> },
    Mail { program: AlertProgram, to: Vec<String>, host: Arc<str> },
}

impl AlertDestination {
    /// Hands one message over; the error says why not, in words without secrets.
    fn deliver(&mut self, notice: &AlertNotice) -> Result<(), String> {
        match self {
            AlertDestination::Webhook(webhook) => webhook.post(notice),
            AlertDestination::Command { program, host } => {
                let json = format!("{}\n", notice.json(host));
                program.run(&[], notice.variables(host), json.as_bytes())
            }
            AlertDestination::Mail { program, to, host } => {
                // `-i`: a line with a single dot is text. Addresses are arguments and the head alike, so that
                // it matters to no program which of them it goes by.
                let arguments = [&["-i".to_owned()], to.as_slice()].concat();
                program.run(&arguments, Vec::new(), notice.mail(to, host).as_bytes())
            }
        }
    }
}

/// All destinations of alerts, each with its queue.
#[derive(Debug, Default)]
pub(crate) struct AlertNotifier {
    queues: Vec<DestinationQueue>,
    /// Whether another notifier has taken its place: waiting messages are tried once more and not again.
    replaced: Arc<AtomicBool>,
}

impl Drop for AlertNotifier {
    fn drop(&mut self) {
        self.replaced.store(true, Relaxed);
    }
}

#[derive(Debug)]
struct DestinationQueue {
    name: String,
    notices: Sender<AlertNotice>,
}

impl AlertNotifier {
    /// Starts a thread for each destination. `seed` is for the jitter of their pauses.
    pub(crate) fn new(settings: &Settings, seed: u64) -> AlertNotifier {
        let host: Arc<str> = host_name().into();
        let webhooks = settings.alert_webhook.iter().map(|url| {
            (
                format!("webhook {}", mask_url(url)),
                AlertDestination::Webhook(AlertWebhook::new(url, Arc::clone(&host))),
            )
        });
        let command = (!settings.alert_command.is_empty()).then(|| {
            let program = AlertProgram::new(&settings.alert_command);
            ("command".to_owned(), AlertDestination::Command { program, host: Arc::clone(&host) })
        });
        let mail = (!settings.alert_email_to.is_empty()).then(|| {
            let (program, to) =
                (AlertProgram::new(&settings.alert_sendmail), settings.alert_email_to.clone());
            ("mail".to_owned(), AlertDestination::Mail { program, to, host: Arc::clone(&host) })
        });
        let mut notifier = AlertNotifier::default();
        for (name, destination) in webhooks.chain(command).chain(mail) {
            notifier.start(name, destination, seed.wrapping_add(notifier.queues.len() as u64));
        }
        notifier
    }

    fn start(&mut self, name: String, destination: AlertDestination, seed: u64) {
        let (notices, received) = bounded(ALERT_MESSAGES_MAX);
        let courier = RetryingSender::new(name.clone(), seed);
        let (thread, replaced) = (thread::Builder::new().name("alerts".to_owned()), self.replaced.clone());
        match thread.spawn(move || run_destination(courier, destination, received, &replaced)) {
            Ok(_) => self.queues.push(DestinationQueue { name, notices }),
            Err(error) => {
                error!("event=alert_thread_failed destination={} error=\"{error}\"", LogValue(&name));
            }
        }
    }

    /// Writes messages into the log and gives them to every destination. Never waits.
    pub(crate) fn send_notices(&self, notices: &[AlertNotice]) {
        for notice in notices {
            log_notice(notice);
            for queue in &self.queues {
                WAITING.fetch_add(1, Relaxed);
                if queue.notices.try_send(notice.clone()).is_err() {
                    WAITING.fetch_sub(1, Relaxed);
                    FAILED.fetch_add(1, Relaxed);
                    let (name, alert) = (LogValue(&queue.name), &notice.rule.name);
                    warn!("event=alert_failed destination={name} alert={alert} error=\"too many wait\"");
                }
            }
        }
    }
}

/// Sends the messages of one destination until its notifier is replaced and its queue is empty.
fn run_destination(
    mut courier: RetryingSender,
    mut destination: AlertDestination,
    received: Receiver<AlertNotice>,
    replaced: &AtomicBool,
) {
    let pause = |whole: Duration| {
        let mut left = whole;
        while !left.is_zero() && !replaced.load(Relaxed) {
            let step = left.min(LOOK);
            thread::sleep(step);
            left -= step;
        }
        !replaced.load(Relaxed)
    };
    for notice in received {
        let carried = courier.send_with_retries(&notice, |notice| destination.deliver(notice), pause);
        let count = if carried { &SENT } else { &FAILED };
        count.fetch_add(1, Relaxed);
        WAITING.fetch_sub(1, Relaxed);
    }
}

fn log_notice(notice: &AlertNotice) {
    let level = match (notice.change, notice.rule.severity) {
        (AlertChange::Resolved, _) | (AlertChange::Firing, Severity::Info) => Level::Info,
        (AlertChange::Firing, Severity::Warning) => Level::Warn,
        (AlertChange::Firing, Severity::Critical) => Level::Error,
    };
    let (state, rule) = (notice.change.name(), &notice.rule);
    let text = crate::monitor::alerts::describe_alert(rule, notice.value, notice.why.as_deref());
    let (name, severity) = (&rule.name, rule.severity.name());
    log::log!(level, "event=alert state={state} alert={name} severity={severity} text={}", LogValue(&text));
}

/// Returns this machine's name, which tells alerts of several machines apart.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}
