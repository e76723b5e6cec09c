//! Judges a host for a planned number of connections: readings in, findings out.
//!
//! Knows no file and no system call: `probe` reads, this compares. Requirements on the kernel stand in
//! `tuning/host.table`; here are those that depend on the process: files, memory, processors, io_uring.

use std::collections::BTreeMap;

use crate::base::limits::{MIB, RESERVED_FILES};
use crate::doctor::finding::{Finding, Verdict};
use crate::doctor::judge::host_table::HostTableRow;
use crate::planner::constants::MeasuredConstants;

/// Bytes of history, of bodies in flight and of the program itself, with the default settings.
const BASE_BYTES: u64 = 128 * MIB as u64;
/// Threads beside the workers: main, log, signals, memory watch.
const OTHER_THREADS: u64 = 16;
/// The key of the range of ports from which connections start.
const LOCAL_PORTS: &str = "net.ipv4.ip_local_port_range";
const MIGRATION: &str = "net.ipv4.tcp_migrate_req";
const HALF_OPEN: &str = "net.ipv4.tcp_max_syn_backlog";
const COOKIES: &str = "net.ipv4.tcp_syncookies";
/// Files that are advised, in per cent of the connections: a tenth is room for other files.
const FILES_ADVISED_PERCENT: u64 = 110;

/// The reading of one value of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KernelReading {
    /// The file, where a key stands for several files; else the key.
    pub(crate) label: String,
    /// Words with one space between them; none when it could not be read.
    pub(crate) value: Option<String>,
}

/// The result of a try at io_uring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IoUringSupport {
    /// A ring could be made.
    Works,
    /// A ring was refused, with the reason of the kernel or of a sandbox.
    Refused(String),
}

/// One network interface of hardware.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NetworkInterface {
    /// Its name, such as `eth0`.
    pub(crate) name: String,
    /// Queues for received packets.
    pub(crate) receive_queues: u64,
    /// Whether the kernel spreads them further (RPS).
    pub(crate) steered: bool,
}

/// The facts about a host that are judged.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostFacts {
    /// Connections that are planned.
    pub(crate) connections: u64,
    /// Threads that would serve them.
    pub(crate) workers: u64,
    /// Processors that this process may use.
    pub(crate) processors: u64,
    /// Installed memory in pages.
    pub(crate) memory_pages: u64,
    /// Bytes of one page.
    pub(crate) page_bytes: u64,
    /// A proxy or a load generator on this host opens the connections, so that its ports limit them.
    pub(crate) connects_here: bool,
    /// The folder of `apply.sh`, for the remedies that run it; none when it is not installed.
    pub(crate) scripts: Option<String>,
    /// Readings by key of the table; a key that is missing does not exist on this host.
    pub(crate) values: BTreeMap<String, Vec<KernelReading>>,
    /// The hard `RLIMIT_NOFILE`, and its owner: `this shell` or a process.
    pub(crate) files: Option<(u64, String)>,
    /// The least memory that a control group allows.
    pub(crate) group_memory_bytes: Option<u64>,
    /// The least number of threads that a control group allows.
    pub(crate) group_threads: Option<u64>,
    /// Processor time that a control group allows, in percent of one processor.
    pub(crate) group_cpu_percent: Option<u64>,
    /// Whether io_uring works here.
    pub(crate) ring: Option<IoUringSupport>,
    /// Whether system calls are filtered (`Seccomp:` of `/proc/self/status`).
    pub(crate) seccomp: bool,
    /// Network interfaces of hardware.
    pub(crate) interfaces: Vec<NetworkInterface>,
}

/// Returns all findings: those of the process first, then those of the kernel.
pub(crate) fn findings(host: &HostFacts, rows: &[HostTableRow<'_>]) -> Vec<Finding> {
    let mut all = vec![judge_files(host), judge_memory(host)];
    all.extend(judge_threads(host));
    all.extend(judge_cpu_quota(host));
    all.extend(judge_io_uring(host));
    for row in rows.iter().filter(|row| row.key != "nofile") {
        all.extend(judge_row(host, row));
    }
    all.extend(judge_ports(host));
    all.extend(host.interfaces.iter().map(|interface| judge_interface(host, interface)));
    all
}

fn new_finding(key: &str, unit: &str, found: String, needed: String, verdict: Verdict) -> Finding {
    let (key, unit) = (key.to_owned(), unit.to_owned());
    Finding { key, unit, found, needed, verdict, why: String::new(), price: String::new(), fix: Vec::new() }
}

fn bad_unless(good: bool) -> Verdict {
    if good { Verdict::Ok } else { Verdict::Bad }
}

/// Files that each worker needs.
fn files_needed(host: &HostFacts) -> u64 {
    host.connections.div_ceil(host.workers.max(1)) + RESERVED_FILES
}

fn judge_files(host: &HostFacts) -> Finding {
    let workers = host.workers.max(1);
    let needed = files_needed(host);
    let unit = format!("files of each of {workers} workers");
    let Some((found, whose)) = &host.files else {
        return new_finding("nofile", &unit, "unreadable".to_owned(), needed.to_string(), Verdict::Unknown);
    };
    let found_words = format!("{found}, {whose}");
    let mut files =
        new_finding("nofile", &unit, found_words, needed.to_string(), bad_unless(*found >= needed));
    let enough = needed.max(host.connections * FILES_ADVISED_PERCENT / 100);
    files.why = format!(
        "each worker has a file table of its own (unless fd_tables = shared), {workers} × {found} files hold \
         about {} connections; then newcomers are refused",
        found.saturating_sub(RESERVED_FILES).saturating_mul(workers)
    );
    let script = host.scripts.as_ref().map_or_else(String::new, |scripts| {
        format!(", or sudo {scripts}/apply.sh --connections {}, which writes a drop-in", host.connections)
    });
    files.fix = vec![
        format!("under systemd: LimitNOFILE={enough} in the unit{script}"),
        format!("at a login: `fanwheel - nofile {enough}` in /etc/security/limits.d/, then log in again"),
        format!("in a container: --ulimit nofile={enough}:{enough}"),
    ];
    files
}

fn judge_memory(host: &HostFacts) -> Finding {
    let constants = MeasuredConstants::recorded();
    let each = (constants.memory.connection_bytes + constants.kernel.connection_bytes).ceil() as u64;
    let needed = host.connections * each + BASE_BYTES;
    let installed = host.memory_pages.saturating_mul(host.page_bytes);
    let (found, of) = match host.group_memory_bytes {
        Some(bytes) if bytes < installed || installed == 0 => (bytes, "control group"),
        _ => (installed, "installed"),
    };
    let mib = |bytes: u64| bytes / MIB as u64;
    let verdict = if found == 0 { Verdict::Unknown } else { bad_unless(found >= needed) };
    let found = format!("{} MiB {of}", mib(found));
    let mut memory = new_finding("memory", "idle, with its sockets", found, mib(needed).to_string(), verdict);
    memory.why = format!(
        "{each} bytes for each idle connection, the kernel's side included, and {} MiB beside; a \
         control group counts the sockets too and stops whoever goes beyond it",
        mib(BASE_BYTES)
    );
    memory.fix = vec![format!(
        "more memory, MemoryMax= or --memory above {} MiB, or fewer connections on this host",
        mib(needed)
    )];
    memory
}

fn judge_threads(host: &HostFacts) -> Option<Finding> {
    let (found, needed) = (host.group_threads?, host.workers + OTHER_THREADS);
    let verdict = bad_unless(found >= needed);
    let mut row = new_finding("cgroup pids.max", "threads", found.to_string(), needed.to_string(), verdict);
    "threads count as processes; when one cannot be made the server does not start".clone_into(&mut row.why);
    row.fix = vec![format!("TasksMax={needed} in the unit, --pids-limit={needed} in a container")];
    Some(row)
}

fn judge_cpu_quota(host: &HostFacts) -> Option<Finding> {
    let found = host.group_cpu_percent?;
    let needed = host.processors.min(host.workers) * 100;
    let verdict = if found >= needed { Verdict::Ok } else { Verdict::Note };
    let unit = "percent of one processor";
    let mut row = new_finding("cgroup cpu.max", unit, found.to_string(), needed.to_string(), verdict);
    "when the share is used up, all threads stand still for the rest of the period (100 ms): events are late"
        .clone_into(&mut row.why);
    row.fix = vec![format!("a larger CPUQuota= or --cpus, or --workers {}", (found / 100).max(1))];
    Some(row)
}

fn judge_io_uring(host: &HostFacts) -> Option<Finding> {
    let (found, verdict) = match host.ring.as_ref()? {
        IoUringSupport::Works => ("works".to_owned(), Verdict::Ok),
        IoUringSupport::Refused(reason) => (format!("refused: {reason}"), Verdict::Note),
    };
    let mut row = new_finding("io_uring", "", found, String::new(), verdict);
    let filter =
        if host.seccomp { "; system calls are filtered here (seccomp), as containers do" } else { "" };
    row.why = format!(
        "sends go to the kernel one by one then, about 1.1 times the processor time for a delivery{filter}"
    );
    row.fix = vec![
        "kernel.io_uring_disabled = 0, and a seccomp profile that allows io_uring_setup, io_uring_enter and \
         io_uring_register; or leave it: the server falls back by itself"
            .to_owned(),
    ];
    Some(row)
}

fn judge_row(host: &HostFacts, row: &HostTableRow<'_>) -> Vec<Finding> {
    let Some(readings) = host.values.get(row.key) else {
        let mut absent =
            new_finding(row.key, &row.unit, "absent".to_owned(), String::new(), Verdict::Unknown);
        absent.why.clone_from(&row.why);
        return vec![absent];
    };
    readings.iter().map(|reading| judge_reading(host, row, reading)).collect()
}

fn judge_reading(host: &HostFacts, row: &HostTableRow<'_>, reading: &KernelReading) -> Finding {
    let needed = row.need.value(host.connections, host.memory_pages);
    let found = reading.value.clone().unwrap_or_else(|| "unreadable".to_owned());
    let met = reading
        .value
        .as_deref()
        .and_then(|found| row.need.is_met(found, host.connections, host.memory_pages));
    // Below its size nothing is judged; a trade-off of the whole host is only advised.
    let mut harmless = None;
    let verdict = match (met, row.group) {
        (None, _) => Verdict::Unknown,
        (Some(true), _) => Verdict::Ok,
        (Some(false), _) if host.connections < row.from => Verdict::Ok,
        (Some(false), "limits") => {
            harmless = reason_for_no_harm(host, row, &found);
            if harmless.is_some() { Verdict::Note } else { Verdict::Bad }
        }
        (Some(false), _) => Verdict::Note,
    };
    let needed = if host.connections < row.from { String::new() } else { needed };
    let mut result = new_finding(&reading.label, &row.unit, found, needed, verdict);
    result.why = harmless.map_or_else(|| row.why.clone(), |reason| format!("{reason}; else: {}", row.why));
    result.price.clone_from(&row.price);
    result.fix = list_fixes(host, row, reading);
    result
}

/// Why a value of the row that is too low does no harm to so many connections on this host; none if it does.
fn reason_for_no_harm(host: &HostFacts, row: &HostTableRow<'_>, found: &str) -> Option<&'static str> {
    let reading = |key: &str| host.values.get(key)?.first()?.value.as_deref();
    match row.key {
        LOCAL_PORTS => (!ports_bind(host)).then_some("no connections that start here use them up"),
        // Listeners close where a worker has no file left.
        MIGRATION => {
            let (files, _) = host.files.as_ref()?;
            (*files >= files_needed(host)).then_some("no worker gets to its file limit")
        }
        // Only without cookies does the kernel look at it (`tcp_conn_request`): with them a listener's queue,
        // so somaxconn, is the bound.
        HALF_OPEN if matches!(reading(COOKIES), Some("1" | "2")) => {
            Some("it binds only where tcp_syncookies is 0")
        }
        _ => row.need.holds(found, host.connections).then_some("enough for so many connections"),
    }
}

fn list_fixes(host: &HostFacts, row: &HostTableRow<'_>, reading: &KernelReading) -> Vec<String> {
    let label = &reading.label;
    let found = reading.value.as_deref().unwrap_or_default();
    let value = row.need.raised(found, host.connections, host.memory_pages);
    let manual_command = if row.key.starts_with('/') {
        format!("echo {value} > {label}")
    } else {
        format!("sysctl -w {label}='{value}'")
    };
    let group = match row.group {
        "limits" => String::new(),
        group => format!(" --with {group}"),
    };
    match &host.scripts {
        Some(scripts) if row.group != "look" => {
            let connections = host.connections;
            let script = format!("sudo {scripts}/apply.sh --connections {connections}{group}");
            vec![format!("{script}, or {manual_command}")]
        }
        _ => vec![manual_command],
    }
}

/// Ports from which connections can start; none when the range could not be read.
fn local_ports(host: &HostFacts) -> Option<u64> {
    let range = host.values.get(LOCAL_PORTS)?.first()?.value.as_deref()?;
    let (first, last) = range.split_once(' ')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    Some((last + 1).saturating_sub(first))
}

/// Whether connections that start on this host use its ports up.
fn ports_bind(host: &HostFacts) -> bool {
    host.connects_here && local_ports(host).is_some_and(|ports| ports < host.connections)
}

/// Judges the local ports: a proxy on this host needs one for each connection to the same address and port.
fn judge_ports(host: &HostFacts) -> Option<Finding> {
    let ports = local_ports(host)?;
    let verdict = match ports >= host.connections {
        true => Verdict::Ok,
        false if host.connects_here => Verdict::Bad,
        false => Verdict::Note,
    };
    let key = "ports of a proxy on this host";
    let unit = "for each address and port that it connects to";
    let mut row = new_finding(key, unit, ports.to_string(), host.connections.to_string(), verdict);
    let addresses = host.connections.div_ceil(ports.max(1));
    row.why =
        "each connection from a proxy here to the server takes a port; when they are used up it answers 502 \
               (EADDRNOTAVAIL). Means nothing when clients or proxies connect from elsewhere"
            .to_owned();
    row.fix = vec![
        "--listen unix:/run/fanwheel/public.sock and the proxy's Unix upstream: no ports at all".to_owned(),
        format!(
            "or {addresses} addresses: --listen 127.0.0.1:8080 --listen 127.0.0.2:8080 …, all in the upstream"
        ),
    ];
    Some(row)
}

fn judge_interface(host: &HostFacts, interface: &NetworkInterface) -> Finding {
    let spread = interface.steered || interface.receive_queues >= host.processors;
    let verdict = if spread { Verdict::Ok } else { Verdict::Note };
    let found = format!("{} receive queues", interface.receive_queues);
    let found = if interface.steered { format!("{found}, RPS on") } else { found };
    let needed = format!("{}, or RPS", host.processors);
    let mut row = new_finding(&format!("interface {}", interface.name), "", found, needed, verdict);
    row.why =
        "packets of fewer queues than processors are worked on by those few; the others idle in a storm. \
               Costs processor time, so only where one processor is full of interrupts (top, `si`)"
            .to_owned();
    row.fix =
        vec![format!("ethtool -L {} combined {} where the hardware can", interface.name, host.processors)];
    let script = host.scripts.as_ref();
    row.fix.extend(script.map(|scripts| format!("or sudo {scripts}/apply.sh --with steering")));
    row
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
