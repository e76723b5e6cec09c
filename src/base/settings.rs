//! The typed values of all settings, which the program runs on.
//!
//! Names, bounds and defaults stand in `setting_table`. Where a value comes from is decided in `config`; this
//! file knows no sources.

use crate::base::backplane_address::BackplaneAddress;
use crate::base::class::NamedClass;

pub use crate::base::setting_spec::{SettingKind, SettingSpec, split_list};
pub use crate::base::setting_table::TABLE;

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

/// Treatment of events beyond the rate of a stream, the most careful first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RatePolicy {
    /// They wait in history.
    Delay,
    /// Of those that wait, the newest of each key is sent.
    Latest,
    /// The newest is sent, and a gap told.
    Drop,
    /// There is no rate.
    None,
}

/// The rate of each stream, by the settings whose names begin with `rate_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct StreamRateSettings {
    pub events_per_second: u64,
    pub bytes_per_second: u64,
    pub burst: u64,
    pub policy: RatePolicy,
}

impl StreamRateSettings {
    fn from_texts<'a>(text: &impl Fn(&str) -> &'a str) -> StreamRateSettings {
        let (int, _) = number_readers(text);
        StreamRateSettings {
            events_per_second: int("rate_events_per_second"),
            bytes_per_second: int("rate_bytes_per_second"),
            burst: int("rate_burst"),
            policy: RatePolicy::from_text(text("rate_policy")),
        }
    }

    /// Whether it limits anything.
    pub fn limits(&self) -> bool {
        self.events_per_second > 0 || self.bytes_per_second > 0
    }
}

/// The windows of topics, by the settings of these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct WindowSettings {
    pub batch_ms: u64,
    pub batch_events: usize,
    pub batch_form: BatchForm,
    pub throttle_ms: u64,
}

impl WindowSettings {
    fn from_texts<'a>(text: &impl Fn(&str) -> &'a str) -> WindowSettings {
        let (int, size) = number_readers(text);
        WindowSettings {
            batch_ms: int("batch_ms"),
            batch_events: size("batch_events"),
            batch_form: BatchForm::from_text(text("batch_form")),
            throttle_ms: int("throttle_ms"),
        }
    }
}

/// How live streams get the events of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchForm {
    /// One by one, in one send.
    Events,
    /// As one event, whose data is a list of their payloads.
    Array,
}

/// Whether a subscription on the public listener needs a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscribeAccess {
    /// It needs none.
    Anyone,
    /// It needs one that opens the topic.
    Token,
}

/// Settings of credentials, each the field of its name.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct CredentialSettings {
    pub control_token_file: String,
    pub token_cookie: String,
    pub ban_file: String,
    pub authorize_url: String,
    pub signing_key_file: String,
    pub jwt_key_file: String,
    pub jwt_algorithm: String,
    pub jwks_file: String,
    pub jwt_audience: String,
    pub jwt_issuer: String,
}

impl CredentialSettings {
    fn from_texts<'a>(text: &impl Fn(&str) -> &'a str) -> CredentialSettings {
        let owned = |name: &str| text(name).to_owned();
        CredentialSettings {
            control_token_file: owned("control_token_file"),
            token_cookie: owned("token_cookie"),
            ban_file: owned("ban_file"),
            authorize_url: owned("authorize_url"),
            signing_key_file: owned("signing_key_file"),
            jwt_key_file: owned("jwt_key_file"),
            jwt_algorithm: owned("jwt_algorithm"),
            jwks_file: owned("jwks_file"),
            jwt_audience: owned("jwt_audience"),
            jwt_issuer: owned("jwt_issuer"),
        }
    }
}

/// Settings of the rates of clients, each the field of its name; 0 is no limit.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct RateSettings {
    pub address_connects_per_second: u64,
    pub address_requests_per_second: u64,
    pub address_publishes_per_second: u64,
    pub token_publishes_per_second: u64,
}

impl RateSettings {
    fn from_texts<'a>(text: &impl Fn(&str) -> &'a str) -> RateSettings {
        let number = |name: &str| text(name).parse().expect("checked against the table");
        RateSettings {
            address_connects_per_second: number("address_connects_per_second"),
            address_requests_per_second: number("address_requests_per_second"),
            address_publishes_per_second: number("address_publishes_per_second"),
            token_publishes_per_second: number("token_publishes_per_second"),
        }
    }
}

/// The settings whose names begin with `backplane`.
#[derive(Clone, Debug)]
pub struct BackplaneSettings {
    /// Address of Redis; none where the node is alone.
    pub(crate) address: Option<BackplaneAddress>,
    /// Name of the fleet.
    pub(crate) name: String,
    /// File of the password; may be empty.
    pub(crate) password_file: String,
}

impl BackplaneSettings {
    fn from_texts<'a>(text: &impl Fn(&str) -> &'a str) -> BackplaneSettings {
        let address = Some(text("backplane")).filter(|address| !address.is_empty());
        let parse = |text| BackplaneAddress::parse(text).expect("checked against the table");
        BackplaneSettings {
            address: address.map(parse),
            name: text("backplane_name").to_owned(),
            password_file: text("backplane_password_file").to_owned(),
        }
    }
}

/// The values the server runs on. Each field is the setting of that name; see [`TABLE`] for units.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Settings {
    pub listen: Vec<String>,
    pub control: Vec<String>,
    pub metrics_listen: Vec<String>,
    pub control_names: Vec<String>,
    pub profile: UrlProfile,
    pub user: String,
    pub workers: usize,
    pub fd_tables: FileTables,
    pub send_backend: SendBackend,
    pub pin_workers: bool,
    pub connections_max: usize,
    pub connections_per_address_max: usize,
    pub rates: RateSettings,
    pub trusted_proxies: Vec<String>,
    pub proxy_protocol: ProxyProtocol,
    pub backplane: BackplaneSettings,
    pub topics_per_connection_max: usize,
    pub topics_max: usize,
    pub patterns: bool,
    pub patterns_per_connection_max: usize,
    pub patterns_max: usize,
    pub pattern_topics_max: usize,
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
    pub credentials: CredentialSettings,
    pub windows: WindowSettings,
    pub stream_rate: StreamRateSettings,
    pub history_keys: usize,
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

/// Returns readers of whole numbers and of sizes, by the name of the setting.
fn number_readers<'a>(text: &impl Fn(&str) -> &'a str) -> (impl Fn(&str) -> u64, impl Fn(&str) -> usize) {
    let int = |name: &str| text(name).parse::<u64>().expect("checked against the table");
    let size = move |name: &str| usize::try_from(int(name)).expect("bounded by the table, 64-bit hosts only");
    (int, size)
}

impl Settings {
    /// Typed values from texts in the form of [`SettingSpec::normalize`]. `text` returns the text of a
    /// setting by name.
    ///
    /// # Panics
    /// When `text` yields a text that the table does not allow: a bug of the caller, never input.
    pub(crate) fn from_texts<'a>(text: impl Fn(&str) -> &'a str) -> Settings {
        let (int, size) = number_readers(&text);
        Settings {
            listen: split_list(text("listen")),
            control: split_list(text("control")),
            metrics_listen: split_list(text("metrics_listen")),
            control_names: split_list(text("control_names")),
            profile: UrlProfile::from_text(text("profile")),
            user: text("user").to_owned(),
            workers: size("workers"),
            fd_tables: FileTables::from_text(text("fd_tables")),
            send_backend: SendBackend::from_text(text("send_backend")),
            pin_workers: text("pin_workers") == "on",
            connections_max: size("connections_max"),
            connections_per_address_max: size("connections_per_address_max"),
            rates: RateSettings::from_texts(&text),
            trusted_proxies: split_list(text("trusted_proxies")),
            proxy_protocol: ProxyProtocol::from_text(text("proxy_protocol")),
            backplane: BackplaneSettings::from_texts(&text),
            topics_per_connection_max: size("topics_per_connection_max"),
            topics_max: size("topics_max"),
            patterns: text("patterns") == "on",
            patterns_per_connection_max: size("patterns_per_connection_max"),
            patterns_max: size("patterns_max"),
            pattern_topics_max: size("pattern_topics_max"),
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
            credentials: CredentialSettings::from_texts(&text),
            windows: WindowSettings::from_texts(&text),
            stream_rate: StreamRateSettings::from_texts(&text),
            history_keys: size("history_keys"),
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

impl RatePolicy {
    fn from_text(text: &str) -> RatePolicy {
        match text {
            "delay" => RatePolicy::Delay,
            "latest" => RatePolicy::Latest,
            "drop" => RatePolicy::Drop,
            _ => RatePolicy::None,
        }
    }
}

impl BatchForm {
    fn from_text(text: &str) -> BatchForm {
        if text == "array" { BatchForm::Array } else { BatchForm::Events }
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
