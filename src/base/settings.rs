//! Every setting: one table that names, bounds and explains it, and the typed values the program runs on.
//!
//! The table is the only list: flags, environment, file, `config` and the tables of docs/configuration.md all
//! come from it. Where a value comes from is decided in `config`; this file knows no sources.

use crate::base::class::NamedClass;
use crate::base::limits::{
    ALERT_MS_MAX, HEADERS_MAX, HOUR_MS, KIB, MIB, MINUTE_MS, PUBLISH_BYTES_MAX, SEND_FRAMES_MAX, WORKERS_MAX,
};

pub use crate::base::setting_spec::{SettingKind, SettingSpec, split_list};

const fn int(
    name: &'static str,
    default: &'static str,
    min: u64,
    max: u64,
    help: &'static str,
) -> SettingSpec {
    SettingSpec {
        name,
        kind: SettingKind::Int { min, max },
        default,
        reloadable: false,
        per_class: false,
        help,
    }
}
const fn row(
    name: &'static str,
    kind: SettingKind,
    default: &'static str,
    help: &'static str,
) -> SettingSpec {
    SettingSpec { name, kind, default, reloadable: false, per_class: false, help }
}

const fn live(spec: SettingSpec) -> SettingSpec {
    SettingSpec { reloadable: true, ..spec }
}

const fn class(spec: SettingSpec) -> SettingSpec {
    SettingSpec { per_class: true, reloadable: true, ..spec }
}

const DAY_MS: u64 = 24 * HOUR_MS;
const COUNT_MAX: u64 = 1_000_000_000;
const BYTES_MAX: u64 = 1 << 42;

/// The table of all settings.
pub const TABLE: &[SettingSpec] = &[
    row(
        "listen",
        SettingKind::List,
        "0.0.0.0:8080",
        "public listeners: ADDR:PORT, [ADDR6]:PORT or unix:/path",
    ),
    row(
        "control",
        SettingKind::List,
        "127.0.0.1:8081",
        "control listeners, in the same forms; empty for none",
    ),
    row(
        "metrics_listen",
        SettingKind::List,
        "",
        "listeners that serve /metrics, /healthz and /readyz alone, in the same forms; empty for none",
    ),
    row(
        "control_names",
        SettingKind::List,
        "",
        "further Host names that control and metrics listeners answer to",
    ),
    live(row(
        "control_token_file",
        SettingKind::Text,
        "",
        "file of tokens, one a line, of which control listeners ask for one; empty = they ask for none",
    )),
    row(
        "profile",
        SettingKind::Choice(&["standard", "broadcast-benchmark"]),
        "standard",
        "set of URLs to serve",
    ),
    int("workers", "0", 0, WORKERS_MAX as u64, "threads that serve connections; 0 = one a processor"),
    row(
        "fd_tables",
        SettingKind::Choice(&["auto", "private", "shared"]),
        "auto",
        "a file table for each worker where the system allows it, always, or one for all",
    ),
    row(
        "send_backend",
        SettingKind::Choice(&["auto", "writev", "io_uring"]),
        "auto",
        "how frames are handed to the kernel",
    ),
    row(
        "pin_workers",
        SettingKind::Choice(&["off", "on"]),
        "off",
        "keep each worker on one processor, and give it the newcomers that arrive there",
    ),
    int("connections_max", "0", 0, COUNT_MAX, "open connections; 0 = as many as the files allow"),
    int(
        "connections_per_address_max",
        "0",
        0,
        COUNT_MAX,
        "open connections of one client address, or one /64 of IPv6; 0 = no cap",
    ),
    row(
        "trusted_proxies",
        SettingKind::List,
        "",
        "peers whose headers name the client: ADDR, ADDR/BITS, or unix: for Unix listeners",
    ),
    row(
        "proxy_protocol",
        SettingKind::Choice(&["off", "accept", "require"]),
        "off",
        "PROXY protocol on public listeners: never, from trusted_proxies, or on each connection",
    ),
    int("topics_per_connection_max", "64", 1, 1_024, "topics of one subscriber"),
    int(
        "topics_max",
        "1000000",
        1,
        COUNT_MAX,
        "topics that have events; for a subscriber's new topic, topics of any kind",
    ),
    int("publish_bytes_max", "262144", 1, PUBLISH_BYTES_MAX as u64, "bytes of one publish body"),
    int("head_bytes_max", "32768", 512, 64 * KIB as u64, "bytes of one request head"),
    int(
        "heads_bytes_max",
        "33554432",
        64 * KIB as u64,
        BYTES_MAX,
        "bytes beyond 1 KiB of request heads that are arriving, whole node",
    ),
    int("headers_max", "100", 8, HEADERS_MAX as u64, "header fields of one request"),
    int("head_ms", "10000", 100, HOUR_MS, "time for a whole request head"),
    int("body_ms", "30000", 100, HOUR_MS, "time for a whole publish body"),
    int("idle_ms", "75000", 100, DAY_MS, "time a kept-alive connection may wait before its next request"),
    int("answer_ms", "10000", 100, HOUR_MS, "time a client may take to accept an answer"),
    int("bodies_bytes_max", "29360128", 4_096, BYTES_MAX, "bytes of publish bodies in flight, whole node"),
    int(
        "unsent_bytes_max",
        "16384",
        4_096,
        16 * MIB as u64,
        "bytes the kernel keeps for one connection until acknowledged",
    ),
    class(int("history_events", "10000", 1, 1_000_000, "events kept for each topic")),
    class(int("history_ms", "300000", 1, 30 * DAY_MS, "age up to which an event is kept")),
    class(int(
        "history_topic_bytes_max",
        "8388608",
        4_096,
        BYTES_MAX,
        "bytes of memory for the events kept of each topic",
    )),
    int(
        "history_bytes_max",
        "67108864",
        65_536,
        BYTES_MAX,
        "bytes of memory for the events kept of all topics",
    ),
    int(
        "memory_bytes_max",
        "0",
        0,
        BYTES_MAX,
        "resident memory above which newcomers are refused; 0 = 80 % of what there is",
    ),
    int("idempotency_ms", "600000", 1, DAY_MS, "time for which an Idempotency-Key is remembered"),
    int("idempotency_keys_max", "1000000", 1, COUNT_MAX, "Idempotency-Keys remembered at once"),
    int("heartbeat_ms", "15000", 100, HOUR_MS, "silence after which a subscriber gets a comment"),
    int("retry_ms", "2000", 1, HOUR_MS, "reconnection time told to subscribers, jittered by 20 %"),
    class(int(
        "max_connection_ms",
        "0",
        0,
        365 * DAY_MS,
        "longest life of a stream, jittered by 10 %; 0 = no end",
    )),
    class(int(
        "max_idle_ms",
        "0",
        0,
        365 * DAY_MS,
        "time without an event of its topics after which a stream ends, jittered by 10 %; 0 = no end",
    )),
    int("stall_ms", "15000", 100, HOUR_MS, "time a subscriber may take nothing before it counts as slow"),
    class(row(
        "slow_policy",
        SettingKind::Choice(&["disconnect", "skip", "latest"]),
        "disconnect",
        "what happens to a slow subscriber",
    )),
    int(
        "user_timeout_ms",
        "20000",
        1_000,
        HOUR_MS,
        "time for which sent bytes may stay unacknowledged (TCP_USER_TIMEOUT)",
    ),
    class(row(
        "event_from_topic",
        SettingKind::Choice(&["off", "on"]),
        "off",
        "whether an event without a name gets its topic as name",
    )),
    class(row(
        "subscribe",
        SettingKind::Choice(&["anyone", "token"]),
        "anyone",
        "who may subscribe on the public listener: anyone, or owners of a credential for the topic",
    )),
    class(row(
        "publish",
        SettingKind::Choice(&["token"]),
        "token",
        "who may publish on the public listener: owners of a credential for the topic",
    )),
    live(row(
        "signing_key_file",
        SettingKind::Text,
        "",
        "file of keys, one a line, of which one signs a URL; empty = no URL is signed",
    )),
    live(row(
        "jwt_key_file",
        SettingKind::Text,
        "",
        "file of the key that verifies JSON Web Tokens; empty = none",
    )),
    live(row(
        "jwt_algorithm",
        SettingKind::Choice(&["HS256", "RS256", "ES256", "EdDSA"]),
        "HS256",
        "algorithm of jwt_key_file: a shared secret for HS256, else public keys in PEM",
    )),
    live(row("jwks_file", SettingKind::Text, "", "JSON Web Key Set, in place of jwt_key_file; empty = none")),
    live(row(
        "jwt_audience",
        SettingKind::Text,
        "",
        "aud that JSON Web Tokens must have; empty = they must have none",
    )),
    live(row("jwt_issuer", SettingKind::Text, "", "iss that JSON Web Tokens must have; empty = any")),
    live(row("token_cookie", SettingKind::Text, "", "name of a cookie that may hold a token; empty = none")),
    class(int("batch_ms", "0", 0, MINUTE_MS, "time that events wait to leave in one send; 0 = none")),
    class(int("batch_events", "256", 1, SEND_FRAMES_MAX as u64, "events that end such a wait early")),
    int("drain_ms", "10000", 0, HOUR_MS, "time over which streams are ended at SIGTERM"),
    row(
        "landing",
        SettingKind::Choice(&["on", "off"]),
        "on",
        "whether / of the public listener tells people what is here",
    ),
    row("cors_origins", SettingKind::List, "*", "origins that may read answers; * for all"),
    live(row("alert_webhook", SettingKind::Urls, "", "addresses to which alerts are posted as JSON")),
    live(row("alert_command", SettingKind::Text, "", "program that is run for each alert; empty for none")),
    live(row(
        "alert_email_to",
        SettingKind::List,
        "",
        "addresses to which alerts are mailed through alert_sendmail",
    )),
    live(row(
        "alert_sendmail",
        SettingKind::Text,
        "/usr/sbin/sendmail",
        "program that takes mails to be sent",
    )),
    live(int(
        "alert_cooldown_ms",
        "300000",
        0,
        ALERT_MS_MAX,
        "time between two messages that one alert fires",
    )),
    row("log_file", SettingKind::Text, "", "log file, reopened by SIGHUP; empty = standard error"),
    live(row(
        "log_level",
        SettingKind::Choice(&["error", "warn", "info", "debug", "trace"]),
        "info",
        "least severe level that is logged",
    )),
];

/// Which URLs are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlProfile {
    /// The contract of this server.
    Standard,
    /// The public `sse-broadcast-benchmark` contract.
    BroadcastBenchmark,
}

/// Which workers share a file table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileTables {
    /// One for each worker where the system allows it, else one for all.
    Auto,
    /// One for each worker, or no start.
    Private,
    /// One for all.
    Shared,
}

/// How frames are handed to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendBackend {
    /// io_uring where the kernel allows it, else `writev`.
    Auto,
    /// One `sendmsg` a connection.
    Writev,
    /// Batches through io_uring; falls back with a line in the log.
    IoUring,
}

/// Connections to the public listeners that begin with a header of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// None.
    Off,
    /// Those of trusted peers that choose to.
    Accept,
    /// All, and all of trusted peers.
    Require,
}

/// Treatment of a subscriber that cannot keep up, the most careful first: a resumed one loses nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SlowPolicy {
    /// Ended; it comes back and resumes by id.
    Disconnect,
    /// Jumps to the newest event and is told the gap.
    Skip,
    /// Gets only the newest event of each key.
    Latest,
}

/// Whether a subscription on the public listener needs a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscribeAccess {
    /// It needs none.
    Anyone,
    /// It needs one that opens the topic.
    Token,
}

/// The values the server runs on. Each field is the setting of that name; see [`TABLE`] for units.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Settings {
    pub listen: Vec<String>,
    pub control: Vec<String>,
    pub metrics_listen: Vec<String>,
    pub control_names: Vec<String>,
    pub control_token_file: String,
    pub profile: UrlProfile,
    pub workers: usize,
    pub fd_tables: FileTables,
    pub send_backend: SendBackend,
    pub pin_workers: bool,
    pub connections_max: usize,
    pub connections_per_address_max: usize,
    pub trusted_proxies: Vec<String>,
    pub proxy_protocol: ProxyProtocol,
    pub topics_per_connection_max: usize,
    pub topics_max: usize,
    pub publish_bytes_max: usize,
    pub head_bytes_max: usize,
    pub heads_bytes_max: usize,
    pub headers_max: usize,
    pub head_ms: u64,
    pub body_ms: u64,
    pub idle_ms: u64,
    pub answer_ms: u64,
    pub bodies_bytes_max: usize,
    pub unsent_bytes_max: usize,
    pub history_events: usize,
    pub history_ms: u64,
    pub history_topic_bytes_max: usize,
    pub history_bytes_max: usize,
    pub memory_bytes_max: usize,
    pub idempotency_ms: u64,
    pub idempotency_keys_max: usize,
    pub heartbeat_ms: u64,
    pub retry_ms: u64,
    pub max_connection_ms: u64,
    pub max_idle_ms: u64,
    pub stall_ms: u64,
    pub slow_policy: SlowPolicy,
    pub user_timeout_ms: u64,
    pub event_from_topic: bool,
    pub subscribe: SubscribeAccess,
    pub token_cookie: String,
    pub signing_key_file: String,
    pub jwt_key_file: String,
    pub jwt_algorithm: String,
    pub jwks_file: String,
    pub jwt_audience: String,
    pub jwt_issuer: String,
    pub batch_ms: u64,
    pub batch_events: usize,
    pub drain_ms: u64,
    pub landing: bool,
    pub cors_origins: Vec<String>,
    pub alert_webhook: Vec<String>,
    pub alert_command: String,
    pub alert_email_to: Vec<String>,
    pub alert_sendmail: String,
    pub alert_cooldown_ms: u64,
    pub log_file: String,
    pub log_level: String,
    /// Classes of topics in their order; the other fields are the values of the default class.
    pub classes: Vec<NamedClass>,
}

impl Settings {
    /// Typed values from texts in the form of [`SettingSpec::normalize`]. `text` returns the text of a
    /// setting by name.
    ///
    /// # Panics
    /// When `text` yields a text that the table does not allow: a bug of the caller, never input.
    pub(crate) fn from_texts<'a>(text: impl Fn(&str) -> &'a str) -> Settings {
        let int = |name: &str| text(name).parse::<u64>().expect("checked against the table");
        let size = |name: &str| usize::try_from(int(name)).expect("bounded by the table, 64-bit hosts only");
        Settings {
            listen: split_list(text("listen")),
            control: split_list(text("control")),
            metrics_listen: split_list(text("metrics_listen")),
            control_names: split_list(text("control_names")),
            control_token_file: text("control_token_file").to_owned(),
            profile: UrlProfile::from_text(text("profile")),
            workers: size("workers"),
            fd_tables: FileTables::from_text(text("fd_tables")),
            send_backend: SendBackend::from_text(text("send_backend")),
            pin_workers: text("pin_workers") == "on",
            connections_max: size("connections_max"),
            connections_per_address_max: size("connections_per_address_max"),
            trusted_proxies: split_list(text("trusted_proxies")),
            proxy_protocol: ProxyProtocol::from_text(text("proxy_protocol")),
            topics_per_connection_max: size("topics_per_connection_max"),
            topics_max: size("topics_max"),
            publish_bytes_max: size("publish_bytes_max"),
            head_bytes_max: size("head_bytes_max"),
            heads_bytes_max: size("heads_bytes_max"),
            headers_max: size("headers_max"),
            head_ms: int("head_ms"),
            body_ms: int("body_ms"),
            idle_ms: int("idle_ms"),
            answer_ms: int("answer_ms"),
            bodies_bytes_max: size("bodies_bytes_max"),
            unsent_bytes_max: size("unsent_bytes_max"),
            history_events: size("history_events"),
            history_ms: int("history_ms"),
            history_topic_bytes_max: size("history_topic_bytes_max"),
            history_bytes_max: size("history_bytes_max"),
            memory_bytes_max: size("memory_bytes_max"),
            idempotency_ms: int("idempotency_ms"),
            idempotency_keys_max: size("idempotency_keys_max"),
            heartbeat_ms: int("heartbeat_ms"),
            retry_ms: int("retry_ms"),
            max_connection_ms: int("max_connection_ms"),
            max_idle_ms: int("max_idle_ms"),
            stall_ms: int("stall_ms"),
            slow_policy: SlowPolicy::from_text(text("slow_policy")),
            user_timeout_ms: int("user_timeout_ms"),
            event_from_topic: text("event_from_topic") == "on",
            subscribe: SubscribeAccess::from_text(text("subscribe")),
            token_cookie: text("token_cookie").to_owned(),
            signing_key_file: text("signing_key_file").to_owned(),
            jwt_key_file: text("jwt_key_file").to_owned(),
            jwt_algorithm: text("jwt_algorithm").to_owned(),
            jwks_file: text("jwks_file").to_owned(),
            jwt_audience: text("jwt_audience").to_owned(),
            jwt_issuer: text("jwt_issuer").to_owned(),
            batch_ms: int("batch_ms"),
            batch_events: size("batch_events"),
            drain_ms: int("drain_ms"),
            landing: text("landing") == "on",
            cors_origins: split_list(text("cors_origins")),
            alert_webhook: split_list(text("alert_webhook")),
            alert_command: text("alert_command").to_owned(),
            alert_email_to: split_list(text("alert_email_to")),
            alert_sendmail: text("alert_sendmail").to_owned(),
            alert_cooldown_ms: int("alert_cooldown_ms"),
            log_file: text("log_file").to_owned(),
            log_level: text("log_level").to_owned(),
            classes: Vec::new(),
        }
    }
}

impl UrlProfile {
    fn from_text(text: &str) -> UrlProfile {
        match text {
            "broadcast-benchmark" => UrlProfile::BroadcastBenchmark,
            _ => UrlProfile::Standard,
        }
    }
}

impl FileTables {
    fn from_text(text: &str) -> FileTables {
        match text {
            "private" => FileTables::Private,
            "shared" => FileTables::Shared,
            _ => FileTables::Auto,
        }
    }
}

impl SendBackend {
    fn from_text(text: &str) -> SendBackend {
        match text {
            "writev" => SendBackend::Writev,
            "io_uring" => SendBackend::IoUring,
            _ => SendBackend::Auto,
        }
    }
}

impl SubscribeAccess {
    fn from_text(text: &str) -> SubscribeAccess {
        if text == "token" { SubscribeAccess::Token } else { SubscribeAccess::Anyone }
    }
}

impl ProxyProtocol {
    fn from_text(text: &str) -> ProxyProtocol {
        match text {
            "accept" => ProxyProtocol::Accept,
            "require" => ProxyProtocol::Require,
            _ => ProxyProtocol::Off,
        }
    }
}

impl SlowPolicy {
    fn from_text(text: &str) -> SlowPolicy {
        match text {
            "skip" => SlowPolicy::Skip,
            "latest" => SlowPolicy::Latest,
            _ => SlowPolicy::Disconnect,
        }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings::from_texts(|name| find_spec(name).expect("every field has a row").default)
    }
}

/// The row of a setting.
pub(crate) fn find_spec(name: &str) -> Option<&'static SettingSpec> {
    TABLE.iter().find(|spec| spec.name == name)
}

#[cfg(test)]
mod tests;
