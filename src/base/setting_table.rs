//! The table of settings: the name, the bounds, the default and the sentence of each.
//!
//! The only list: flags, environment, file, `config` and the tables of docs/configuration.md come from it.

use crate::base::limits::{
    ALERT_MS_MAX, HEADERS_MAX, HISTORY_KEYS_MAX, HOUR_MS, KIB, MIB, MINUTE_MS, PUBLISH_BYTES_MAX,
    SEND_FRAMES_MAX, WORKERS_MAX,
};
use crate::base::setting_spec::{SettingKind, SettingSpec};

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
const RATE_MAX: u64 = 1_000_000;
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
    row(
        "user",
        SettingKind::Text,
        "",
        "user that a server started as root becomes before it serves; empty = it stays as it is",
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
    int(
        "address_connects_per_second",
        "0",
        0,
        RATE_MAX,
        "new public connections of one client address, or one /64 of IPv6; 0 = no cap",
    ),
    int(
        "address_requests_per_second",
        "0",
        0,
        RATE_MAX,
        "requests of one client address on the public listener; 0 = no cap",
    ),
    int(
        "address_publishes_per_second",
        "0",
        0,
        RATE_MAX,
        "events that one client address publishes on the public listener; 0 = no cap",
    ),
    int(
        "token_publishes_per_second",
        "0",
        0,
        RATE_MAX,
        "events that the owner of one credential publishes on the public listener; 0 = no cap",
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
    row(
        "backplane",
        SettingKind::Backplane,
        "",
        "Redis behind several nodes: redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]; rediss:// for TLS",
    ),
    row(
        "backplane_name",
        SettingKind::Text,
        "fanwheel",
        "name of the fleet, and the hash tag of its keys in Redis",
    ),
    row(
        "backplane_password_file",
        SettingKind::Text,
        "",
        "file whose first line is the password for Redis; empty = that of the address, or none",
    ),
    int("topics_per_connection_max", "64", 1, 1_024, "topics of one subscriber"),
    int(
        "topics_max",
        "1000000",
        1,
        COUNT_MAX,
        "topics that have events; for a subscriber's new topic, topics of any kind",
    ),
    row(
        "patterns",
        SettingKind::Choice(&["on", "off"]),
        "on",
        "whether subscribers may name topics by patterns",
    ),
    int("patterns_per_connection_max", "8", 1, 64, "patterns of one subscriber"),
    int("patterns_max", "1000", 1, 100_000, "different patterns of all subscribers"),
    int("pattern_topics_max", "4096", 1, 65_536, "topics that a subscriber's pattern may match"),
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
    class(int(
        "history_keys",
        "0",
        0,
        HISTORY_KEYS_MAX,
        "keys of each topic whose newest event is kept when history has let it go; 0 = none",
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
    row(
        "authorize_url",
        SettingKind::Urls,
        "",
        "address of the application that is asked about requests without a known credential; empty = none",
    ),
    live(row(
        "ban_file",
        SettingKind::Text,
        "",
        "file of addresses, networks and owners of credentials that are not served; empty = none",
    )),
    live(row("token_cookie", SettingKind::Text, "", "name of a cookie that may hold a token; empty = none")),
    class(int("batch_ms", "0", 0, MINUTE_MS, "time that events wait to leave in one send; 0 = none")),
    class(int("batch_events", "256", 1, SEND_FRAMES_MAX as u64, "events that end such a wait early")),
    class(row(
        "batch_form",
        SettingKind::Choice(&["events", "array"]),
        "events",
        "how the events of a window leave: one by one in one send, or as one event with a list",
    )),
    class(int(
        "throttle_ms",
        "0",
        0,
        MINUTE_MS,
        "time in which subscribers get at most the newest event of each key; 0 = all events",
    )),
    class(int(
        "rate_events_per_second",
        "0",
        0,
        1_000_000,
        "events a second to one subscriber; 0 = any number",
    )),
    class(int(
        "rate_bytes_per_second",
        "0",
        0,
        BYTES_MAX,
        "bytes a second to one subscriber; 0 = any number",
    )),
    class(int(
        "rate_burst",
        "0",
        0,
        1_000_000,
        "events that may come at once under rate_events_per_second; 0 = as many as in a second",
    )),
    class(row(
        "rate_policy",
        SettingKind::Choice(&["none", "delay", "latest", "drop"]),
        "none",
        "what happens to events beyond a subscriber's rate",
    )),
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
