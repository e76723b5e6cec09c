//! `fanwheel serve`: starts the log, the node and the workers, then watches over them until they have ended.
//!
//! Owns the main thread: signals, the service manager, the sample of each second, the readiness probe. Holds
//! no connection.
//!
//! | state | SIGTERM, SIGINT, POST /drain | all workers ended | too late |
//! | --- | --- | --- | --- |
//! | serving | draining | fault, exit 1 | - |
//! | draining | stopping on the second signal, else stays | exit 0 | stopping |
//! | stopping | stays | exit: 128 + signal, or 0 when only late | the same, without waiting longer |
//!
//! `POST /drain` counts as no signal: a deployment hook that drains by it and then ends the service as usual
//! must not cut the streams.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::RecvTimeoutError;
use log::{debug, error, info, warn};

use crate::backplane::{BackplaneView, JoinedFleet};
use crate::base::failure::CommandFailure;
use crate::base::id::{EventId, IdTag};
use crate::base::logfmt::{LogValue, shown};
use crate::base::settings::Settings;
use crate::base::snapshot::Pages;
use crate::base::time::Now;
use crate::config::credentials::load_access;
use crate::config::resolve::SettingInputs;
use crate::config::resolved::ResolvedSettings;
use crate::daemon::authorizer::start_authorizer;
use crate::daemon::credential_watch::CredentialWatch;
use crate::daemon::logging;
use crate::daemon::notify::{self, AlertNotifier};
use crate::daemon::privileges::drop_privileges;
use crate::daemon::readiness_probe::ReadinessProbe;
use crate::daemon::reload::read_reload;
use crate::daemon::running_settings::{RunningSettings, SettingsInForce};
use crate::daemon::sampling::{HostSampler, SharedWatch};
use crate::daemon::signals::{SIGNAL_POLL_MS, SignalAction, SignalFlags};
use crate::daemon::systemd::ServiceManager;
use crate::daemon::{activation, backplane_start, start};
use crate::fanout::mail::ControlMessage;
use crate::fanout::node::Node;
use crate::host::memory::{MemoryLimit, MemoryReader};
use crate::host::named_file::PipeWait;
use crate::host::seed::random_seed;
use crate::monitor::watch::WatchBounds;
use crate::reactor::{self, Capacity, InheritedSocket, Server, ServerLaunch, WorkerNotice};
use crate::sys::process;
use crate::wire::auth::access::AccessRules;

/// Milliseconds beyond `drain_ms`: the last answers and closings take their time.
const DRAIN_GRACE_MS: u64 = 2_000;
/// Milliseconds for workers to close their connections once they are told to stop.
const STOP_MS: u64 = 1_000;

/// Starts the server and stays until it has ended.
///
/// # Errors
/// When it cannot start.
pub(crate) fn run_server(inputs: &SettingInputs) -> Result<ExitCode, CommandFailure> {
    // Before anything is opened: only then are the numbers those of passed descriptors.
    let passed = activation::take_passed()?;
    // Other open descriptors are not for the programs that alerts run; an old kernel cannot say which they
    // are.
    let _ = process::keep_files_from_children();
    let mut resolved = ResolvedSettings::read(inputs)?;
    let access = load_access(&resolved, PipeWait::Allowed)?;
    let (settings, inherited) = activation::join_listeners(passed, &mut resolved)?;
    drop_privileges(&settings.user)?;
    let pending = prepare_log(&settings)?;
    let signals =
        SignalFlags::take().map_err(|os| CommandFailure::Run(format!("cannot take signals over: {os}")))?;
    let capacity =
        reactor::capacity(&settings, inherited.len()).map_err(|error| start::start_failure(&error))?;
    let memory_limit = MemoryLimit::new(MemoryReader::real().limit_bytes(settings.memory_bytes_max as u64));
    let memory_limit_bytes = memory_limit.limit_bytes();
    let watch = SharedWatch::new(WatchBounds {
        memory_limit_bytes,
        worker_files_max: capacity.worker_max,
        heartbeat_ms: settings.heartbeat_ms,
        topics_max: settings.topics_max,
        idempotency_keys_max: settings.idempotency_keys_max,
        started_ms: wall_ms(),
    });
    let in_force = SettingsInForce::new(RunningSettings::new(resolved));
    let pages = watch.pages(in_force.clone(), pending.tail());
    let StartedServer { node, server, backplane } =
        start_server(&settings, access, inherited, capacity, pages)?;
    backplane.iter().cloned().for_each(|backplane| watch.show_backplane(backplane));
    // Only now have the workers their own file tables, so only now may the log open its file.
    let log_handle =
        pending.start().map_err(|os| CommandFailure::Run(format!("cannot start the log's thread: {os}")))?;
    log_panics(log_handle.clone());
    let readiness_probe = ReadinessProbe::start(Arc::clone(&node), &server, log_handle.clone(), backplane);
    info!("{}", start::started_line(&settings, &capacity, server.bound(), memory_limit_bytes));
    for doubt in start::doubt_lines(&settings, &capacity, server.bound(), memory_limit_bytes) {
        warn!("{doubt}");
    }
    if let Some(hint) = start::hint_line(&settings, server.bound()) {
        info!("{hint}");
    }
    start_authorizer(&settings.credentials.authorize_url, &node, server.clock(), &server.wakers());
    let service_manager = ServiceManager::from_environment(|name| std::env::var_os(name), std::process::id());
    service_manager.notify_ready();
    let mut sampler =
        HostSampler::new(Arc::clone(&node), server.clock(), server.wakers(), watch, memory_limit);
    let notifier = AlertNotifier::new(&settings, random_seed());
    sampler.replace_alerts(in_force.current().rules(), Some(notifier));
    let main_thread = MainThread {
        node,
        server,
        log_handle,
        signals,
        sampler,
        readiness_probe,
        service_manager,
        credential_watch: CredentialWatch::new(in_force.current().resolved(), Instant::now()),
        in_force,
        state: ServeState::Serving,
        workers_left: capacity.workers,
        drain_ms: settings.drain_ms,
    };
    Ok(main_thread.run_until_ended(inputs))
}

/// A node whose workers run.
struct StartedServer {
    node: Arc<Node>,
    server: Server,
    backplane: Option<BackplaneView>,
}

/// Installs the log of these settings; its file is opened later.
fn prepare_log(settings: &Settings) -> Result<logging::PendingLog, CommandFailure> {
    logging::install_logger(&settings.log_file, logging::parse_level(&settings.log_level)).map_err(|os| {
        let file = shown(&settings.log_file);
        CommandFailure::Run(format!(
            "cannot write log_file = {file}: {os}; choose another or mend its folder"
        ))
    })
}

fn start_server(
    settings: &Settings,
    access: AccessRules,
    inherited: Vec<InheritedSocket>,
    capacity: Capacity,
    pages: Pages,
) -> Result<StartedServer, CommandFailure> {
    let mut fleet = backplane_start::join_fleet(settings)?;
    let own_start = || EventId::start_of_run(wall_ms(), IdTag::from_random(random_seed()));
    let start = fleet.as_ref().map_or_else(own_start, |fleet| fleet.start());
    let (node, inboxes) =
        Node::new(settings.clone(), capacity.workers, capacity.connections_max, pages, start, random_seed());
    node.replace_access(Arc::new(access));
    if let Some(fleet) = &mut fleet {
        fleet.fill(&node, Now { mono_ms: 0, mono_us: 0, wall_ms: wall_ms() });
    }
    let shared_node = Arc::clone(&node);
    let launch =
        ServerLaunch { settings, inherited, capacity, node: shared_node, inboxes, seed: random_seed() };
    let server = reactor::start(launch).map_err(|error| start::start_failure(&error))?;
    // Only now, so that no worker's file table has its connections.
    let run = |fleet: JoinedFleet| fleet.run(Arc::clone(&node), server.clock(), server.wakers());
    let backplane = fleet
        .map(run)
        .transpose()
        .map_err(|os| CommandFailure::Run(format!("cannot start the threads of the backplane: {os}")))?;
    Ok(StartedServer { node, server, backplane })
}

/// Returns the time of day in Unix milliseconds.
fn wall_ms() -> u64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)
}

/// Writes panics into the log file as well, since one in any thread ends the process.
fn log_panics(log_handle: logging::LogHandle) {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        default(panic);
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let literal = payload.downcast_ref::<&str>().copied();
        let words = literal.or(payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words");
        error!("event=panic place={place} message={}", LogValue(words));
        log_handle.flush();
    }));
}

/// The stages of the server's end.
#[derive(Clone, Copy, Debug)]
enum ServeState {
    Serving,
    /// The workers end their streams in order.
    Draining {
        /// The workers may take their time until then.
        deadline: Instant,
        /// Whether a signal has asked for the end already.
        signalled: bool,
    },
    /// The workers close their connections at once.
    Stopping {
        /// The process ends then, even if a worker does not.
        deadline: Instant,
        /// The process's exit code.
        exit_code: u8,
    },
}

/// Origin of a drain.
enum DrainOrigin {
    /// A signal, by its name.
    Signal(&'static str),
    /// `POST /drain`. The first signal after it lets the drain go on.
    Request,
}

/// The state of the main thread after the start.
struct MainThread {
    node: Arc<Node>,
    server: Server,
    log_handle: logging::LogHandle,
    signals: SignalFlags,
    sampler: HostSampler,
    readiness_probe: ReadinessProbe,
    service_manager: ServiceManager,
    in_force: SettingsInForce,
    credential_watch: CredentialWatch,
    state: ServeState,
    workers_left: usize,
    drain_ms: u64,
}

impl MainThread {
    fn run_until_ended(mut self, inputs: &SettingInputs) -> ExitCode {
        loop {
            match self.server.notices().recv_timeout(Duration::from_millis(SIGNAL_POLL_MS)) {
                Ok(WorkerNotice::DrainRequested) => self.begin_drain(DrainOrigin::Request),
                Ok(WorkerNotice::Finished(_)) => self.workers_left = self.workers_left.saturating_sub(1),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.workers_left = 0,
            }
            let asked: Vec<SignalAction> = self.signals.take_pending().collect();
            for asked in asked {
                self.act_on_signal(asked, inputs);
            }
            let now = Instant::now();
            self.sampler.tick(now);
            self.readiness_probe.tick(now);
            self.reread_credentials(now);
            // A worker that stands still holds its subscribers: better to begin anew than to look alive.
            if !self.node.has_stuck_worker() {
                self.service_manager.notify_alive(now);
            }
            if let Some(exit_code) = self.find_exit_code(now) {
                return self.finish(exit_code);
            }
        }
    }

    fn act_on_signal(&mut self, asked: SignalAction, inputs: &SettingInputs) {
        match (asked, self.state) {
            (SignalAction::End { name, .. }, ServeState::Serving) => {
                self.begin_drain(DrainOrigin::Signal(name))
            }
            (SignalAction::End { name, .. }, ServeState::Draining { deadline, signalled: false }) => {
                info!("event=drain_goes_on reason={name}");
                self.state = ServeState::Draining { deadline, signalled: true };
            }
            (SignalAction::End { name, exit_code }, ServeState::Draining { .. }) => {
                warn!("event=stop reason={name}");
                self.stop_workers(exit_code);
            }
            (SignalAction::End { .. }, ServeState::Stopping { .. }) => {}
            (SignalAction::Reload, ServeState::Serving) => {
                self.service_manager.notify_reloading();
                self.log_handle.reopen();
                self.reload_settings(inputs);
                self.service_manager.notify_ready();
            }
            // The end goes on; only the log may have been rotated.
            (SignalAction::Reload, _) => self.log_handle.reopen(),
            (SignalAction::Ignore { name }, _) => debug!("event=signal_ignored name={name}"),
        }
    }

    /// Reads the settings again. Puts all that can change in force, or nothing when there is a mistake.
    fn reload_settings(&mut self, inputs: &SettingInputs) {
        let Some(reload) = read_reload(inputs, &self.in_force.current()) else { return };
        let (before, after) = (self.in_force.replace(Arc::clone(&reload.next)), &reload.next);
        self.replace_access(Arc::clone(&reload.access));
        self.apply_alerts(&before, after);
        self.apply_classes(&before, after);
        // A change of the level is told at the more talkative one.
        log::set_max_level(before.log_level().max(after.log_level()));
        reload.report_changes(&before);
        log::set_max_level(after.log_level());
    }

    /// Reads credentials again when a file of theirs has changed; those in force stay when it has a mistake.
    fn reread_credentials(&mut self, now: Instant) {
        let in_force = self.in_force.current();
        if !self.credential_watch.has_changed(in_force.resolved(), now) {
            return;
        }
        match load_access(in_force.resolved(), PipeWait::Refused) {
            Ok(access) => {
                self.replace_access(Arc::new(access));
                info!("event=credentials_reloaded");
            }
            Err(refusal) => {
                error!("event=credentials_refused reason={}", LogValue(&refusal.to_string()));
            }
        }
    }

    /// Puts credentials in force, and ends the streams of those that were taken back.
    fn replace_access(&self, access: Arc<AccessRules>) {
        let bans = &access.bans;
        if *bans != self.node.access_rules().bans {
            info!("event=bans_reloaded ranges={} owners={}", bans.ranges(), bans.owners());
        }
        let sleepers = self.node.replace_access(access);
        self.server.wakers().wake(sleepers);
    }

    /// Replaces alert rules, and destinations whose settings changed. Unchanged destinations keep their
    /// threads and the order of their queues.
    fn apply_alerts(&mut self, before: &RunningSettings, after: &RunningSettings) {
        let changed = !before.same_destinations(after);
        let notifier = changed.then(|| AlertNotifier::new(after.settings(), random_seed()));
        self.sampler.replace_alerts(after.rules(), notifier);
    }

    /// Puts changed classes in force. The lock of the hub is free between two slices of topics.
    fn apply_classes(&mut self, before: &RunningSettings, after: &RunningSettings) {
        if after.settings().same_classes(before.settings()) {
            return;
        }
        let clock = self.server.clock();
        self.node.hub.replace_classes(after.settings());
        while self.node.hub.sort_topics(clock.now()) {
            std::thread::yield_now();
        }
    }

    fn begin_drain(&mut self, origin: DrainOrigin) {
        if !matches!(self.state, ServeState::Serving) {
            return;
        }
        let (reason, signalled) = match origin {
            DrainOrigin::Signal(name) => (name, true),
            DrainOrigin::Request => ("request", false),
        };
        let streams = self.node.totals().subscribers_open;
        // After Ctrl-C a drain should not look like a hang.
        let hint = if streams > 0 { " hint=\"a second signal stops at once\"" } else { "" };
        info!("event=drain reason={reason} streams={streams} drain_ms={}{hint}", self.drain_ms);
        self.service_manager.notify_stopping();
        self.server.control(ControlMessage::Drain);
        let deadline = Instant::now() + Duration::from_millis(self.drain_ms + DRAIN_GRACE_MS);
        self.state = ServeState::Draining { deadline, signalled };
    }

    fn stop_workers(&mut self, exit_code: u8) {
        self.server.control(ControlMessage::Stop);
        self.state =
            ServeState::Stopping { deadline: Instant::now() + Duration::from_millis(STOP_MS), exit_code };
    }

    /// Returns the exit code once the process is to end.
    fn find_exit_code(&mut self, now: Instant) -> Option<u8> {
        let all_ended = self.workers_left == 0;
        match self.state {
            ServeState::Serving if all_ended => {
                error!("event=workers_ended reason=unknown");
                Some(1)
            }
            ServeState::Draining { .. } if all_ended => Some(0),
            ServeState::Draining { deadline, .. } if now >= deadline => {
                let streams = self.node.totals().subscribers_open;
                warn!("event=stop reason=drain_overdue streams={streams}");
                self.stop_workers(0);
                None
            }
            ServeState::Stopping { exit_code, .. } if all_ended => Some(exit_code),
            ServeState::Stopping { deadline, exit_code } if now >= deadline => {
                error!("event=workers_stuck workers={}", self.workers_left);
                Some(if exit_code == 0 { 1 } else { exit_code })
            }
            _ => None,
        }
    }

    fn finish(self, exit_code: u8) -> ExitCode {
        if self.workers_left == 0 {
            self.server.join();
        }
        if notify::messages_waiting() > 0 {
            warn!("event=alerts_unsent messages={}", notify::messages_waiting());
        }
        info!("event=stopped exit_code={exit_code}");
        self.log_handle.flush();
        ExitCode::from(exit_code)
    }
}
