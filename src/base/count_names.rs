//! Everything that is counted, by name: counters, reasons for refusals and for the ends of connections.
//!
//! Knows no cell in which anything is counted.

/// A counter of a worker. Its name is the metric's, without `fanwheel_` and `_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Count {
    /// Connections accepted from listeners.
    Accepted,
    /// Event streams opened.
    Subscribed,
    /// Streams opened with a position to resume from.
    Resumed,
    /// Gap events written to streams.
    Gaps,
    /// Events accepted, once each, whatever the number of topics.
    Published,
    /// Publishes answered from an idempotency key.
    PublishRepeated,
    /// Frames handed whole to the kernel, one for each subscriber.
    Delivered,
    /// Bytes handed to the kernel.
    BytesSent,
    /// Sends offered to the kernel: the cost of deliveries.
    Sends,
    /// Sends that found the socket full or took only part.
    SendsFull,
    /// Sends that completed at least one event.
    EventSends,
    /// Batches of sends offered.
    Batches,
    /// Heartbeats written to streams.
    Heartbeats,
    /// Requests answered, streams included.
    Requests,
    /// Requests answered 4xx for their contents; neither timeouts nor refusals that `RefusalReason` counts.
    RequestsBad,
    /// Slow subscribers moved to the newest event.
    Skipped,
    /// Times a subscriber's socket was full, so that it fell behind.
    Lagged,
    /// Events of the history among those delivered, to subscribers that had come back or asked for them.
    Replayed,
    /// Windows of waiting events that ended.
    Windows,
    /// Windows that ended early because too much waited.
    WindowsCut,
    /// Events that left at the end of a window, once for each worker with subscribers.
    WindowEvents,
    /// Times a subscriber had to wait for its rate.
    RateHolds,
    /// Turns of the worker.
    Turns,
    /// Times the worker slept until something came or was due.
    Wakeups,
    /// Times a worker stopped listening because it had no files left.
    ListenPauses,
    /// `accept` calls that failed for another reason.
    AcceptErrors,
    /// Sockets that could not be registered with epoll.
    RegisterErrors,
    /// Events that topics forgot because the operator asked, once for each topic.
    Forgotten,
    /// Log lines dropped because the log's reader was behind.
    LogDropped,
    /// Messages of alerts that a destination took.
    AlertsSent,
    /// Messages of alerts that were given up.
    AlertsFailed,
    /// Reloads refused for a mistake in the configuration.
    ReloadsRefused,
    /// Long polls answered: subscriptions with `wait_ms`, with events or without.
    Polls,
    /// Headers of the PROXY protocol that were taken.
    ProxyHeaders,
    /// Questions to the application about requests.
    AuthorizeAsked,
    /// Requests decided by an answer of the application that was kept.
    AuthorizeKept,
}

/// Why a newcomer or a publish was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RefusalReason {
    /// Connection limit of the node.
    Connections,
    /// Connection limit of one address.
    Address,
    /// Memory limit of the node.
    Memory,
    /// Topic limit of the node.
    Topics,
    /// Bytes of publish bodies in flight.
    Bodies,
    /// A worker's mailbox or the frames in flight: the publisher outruns the server.
    Overload,
    /// Idempotency keys remembered at once.
    IdempotencyKeys,
    /// The server drains and takes no newcomers.
    Draining,
    /// Publish on the public listener.
    Credentials,
    /// A request made by a page of another site on the control listener.
    Origin,
    /// A topic of the server's own, asked for on the public listener.
    ReservedTopic,
    /// Questions about topics and connections.
    Surveys,
    /// A `Host` on the control listener that is not its own.
    Host,
    /// Bytes of request heads that are arriving.
    Heads,
    /// An `Idempotency-Key` that came with another request before.
    KeyReused,
    /// Bytes of events that wait for their place in the publish order.
    OrderFull,
    /// A place in the publish order that was not given in time.
    OrderLate,
    /// A publish that got no place in the publish order.
    OrderFailed,
    /// A publish while the backplane was away, or refused it.
    BackplaneAway,
    /// A request to the control listener without its token.
    ControlTokenMissing,
    /// A request to the control listener with another token than its own.
    ControlTokenUnknown,
    /// A request without a credential where one is needed.
    TokenMissing,
    /// A credential that is none of those that are taken.
    TokenUnknown,
    /// A credential that does not open the topic.
    NotGranted,
    /// A credential whose time is over.
    TokenExpired,
    /// A signed token that is not for this server, or not yet, or whose claims are wrong.
    TokenUnfit,
    /// New connections of one address in a second.
    AddressConnects,
    /// Requests of one address in a second.
    AddressRequests,
    /// Events that one address publishes in a second.
    AddressPublishes,
    /// Events that the owner of one credential publishes in a second.
    TokenPublishes,
    /// A banned address.
    Banned,
    /// A credential whose owner is banned.
    TokenBanned,
    /// A request that the application refuses.
    NotAuthorized,
    /// Questions that wait for the application.
    AuthorizeFull,
    /// An answer of the application that did not come, or said nothing.
    AuthorizeFailed,
    /// An answer of the application that did not come in time.
    AuthorizeLate,
    /// Different patterns of all subscribers.
    Patterns,
    /// Topics that one pattern matches.
    PatternTopics,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CloseReason {
    /// The peer closed in order.
    Peer,
    /// The peer reset the connection, or the kernel gave up on it.
    Reset,
    /// Answered, and not kept alive.
    Answered,
    /// The request was malformed.
    BadRequest,
    /// The head took too long.
    HeadTimeout,
    /// The body took too long.
    BodyTimeout,
    /// Idle between requests for too long.
    Idle,
    /// The peer did not take its answer.
    AnswerTimeout,
    /// A slow subscriber: nothing taken for `stall_ms`.
    SlowStalled,
    /// A slow subscriber: the history it needed is no longer kept.
    SlowEvicted,
    /// A slow subscriber: the kernel gave up since sent bytes stayed unacknowledged for `user_timeout_ms`.
    SlowUnacknowledged,
    /// Too many bytes sent upstream by a subscriber.
    Upstream,
    /// The longest life of a stream was reached.
    Life,
    /// The server drained.
    Drain,
    /// Over a limit and refused.
    Refused,
    /// A fault of this host: no file, no memory, no epoll entry.
    Host,
    /// The operator ended it: `DELETE /connections/{id}`.
    Operator,
    /// The credential of a stream ended, or was taken back.
    TokenExpired,
    /// Each connection has to name its client, and its peer is not in `trusted_proxies`.
    ProxyUntrusted,
    /// A PROXY header was needed and did not come, or not whole in time.
    ProxyMissing,
    /// The PROXY header was wrong.
    ProxyMalformed,
}

/// A figure of pages, added up from their beacons. Its name is the metric's, without `fanwheel_client_` and
/// `_total`; what is counted in milliseconds is shown in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ClientCount {
    /// Beacons that were taken.
    Beacons,
    /// Beacons beyond the rate that is taken.
    BeaconsDropped,
    /// Streams that were opened.
    Connects,
    /// Milliseconds that it took to open them.
    ConnectMs,
    /// Milliseconds with an open stream.
    ConnectedMs,
    /// Milliseconds that the beacons tell of.
    ObservedMs,
    /// Events that came.
    Events,
    /// Bytes of the streams.
    Bytes,
    /// Gaps that were told.
    Gaps,
    /// Events that came again and were dropped.
    Duplicates,
}

/// Why a stream or an attempt of a page ended, as its beacon tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ClientCause {
    /// The server ended the stream in order.
    Ended,
    /// The network cut the stream.
    Cut,
    /// Nothing came for too long.
    Silent,
    /// An answer other than a stream.
    Refused,
    /// No answer.
    Failed,
    /// No answer in time.
    Timeout,
    /// An answer without a byte of its stream.
    Held,
}

/// The text names, in the order of the enum.
pub(crate) const CLIENT_COUNT_NAMES: [&str; 10] = [
    "beacons",
    "beacons_dropped",
    "connects",
    "connect_seconds",
    "connected_seconds",
    "observed_seconds",
    "events",
    "bytes",
    "gaps",
    "duplicates",
];
/// The text names, in the order of the enum.
pub(crate) const CLIENT_CAUSE_NAMES: [&str; 7] =
    ["ended", "cut", "silent", "refused", "failed", "timeout", "held"];

/// The steps of a turn, each with a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum TurnStep {
    /// Requests and other bytes that come in.
    Reads,
    /// Events from the mailbox.
    Mail,
    /// Answers, and events for those that are behind.
    Output,
    /// Events for those that are not.
    Rounds,
    /// Timers that are due.
    Timers,
}

/// Why an event was left out for a newer one of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SupersededReason {
    /// A subscriber was slow under the policy `latest`.
    Slow,
    /// Its topic has `throttle_ms`.
    Throttle,
    /// A subscriber was beyond its rate under the policy `latest`.
    Rate,
}

/// The text names, in the order of the enum.
pub(crate) const SUPERSEDED_NAMES: [&str; 3] = ["slow", "throttle", "rate"];
/// The text names, in the order of the enum.
pub(crate) const STEP_NAMES: [&str; 5] = ["reads", "mail", "output", "rounds", "timers"];
/// The text names, in the order of the enum.
pub(crate) const COUNT_NAMES: [&str; 36] = [
    "accepted",
    "subscribed",
    "resumed",
    "gaps",
    "published",
    "publish_repeated",
    "delivered",
    "bytes_sent",
    "sends",
    "sends_full",
    "event_sends",
    "batches",
    "heartbeats",
    "requests",
    "requests_bad",
    "skipped",
    "lagged",
    "replayed",
    "windows",
    "windows_cut",
    "window_events",
    "rate_holds",
    "turns",
    "wakeups",
    "listen_pauses",
    "accept_errors",
    "register_errors",
    "forgotten",
    "log_dropped",
    "alerts_sent",
    "alerts_failed",
    "reloads_refused",
    "polls",
    "proxy_headers",
    "authorize_asked",
    "authorize_kept",
];
/// The text names, in the order of the enum.
pub(crate) const REFUSED_NAMES: [&str; 38] = [
    "connections_full",
    "address_full",
    "memory_full",
    "topics_full",
    "bodies_full",
    "overloaded",
    "idempotency_full",
    "draining",
    "publish_not_allowed",
    "origin_not_allowed",
    "topic_reserved",
    "surveys_full",
    "wrong_host",
    "heads_full",
    "idempotency_key_reused",
    "order_full",
    "order_late",
    "order_failed",
    "backplane_away",
    "control_token_missing",
    "control_token_unknown",
    "token_missing",
    "token_unknown",
    "topic_not_granted",
    "token_expired",
    "token_unfit",
    "address_connect_rate",
    "address_request_rate",
    "address_publish_rate",
    "token_publish_rate",
    "address_banned",
    "token_banned",
    "not_authorized",
    "authorize_full",
    "authorize_failed",
    "authorize_late",
    "patterns_full",
    "pattern_too_wide",
];
/// The text names, in the order of the enum.
pub(crate) const CLOSED_NAMES: [&str; 21] = [
    "peer",
    "reset",
    "answered",
    "bad_request",
    "head_timeout",
    "body_timeout",
    "idle",
    "answer_timeout",
    "slow_stalled",
    "slow_evicted",
    "slow_unacknowledged",
    "upstream",
    "life",
    "drain",
    "refused",
    "host",
    "operator",
    "token_expired",
    "proxy_untrusted",
    "proxy_missing",
    "proxy_malformed",
];

const _: () = assert!(COUNT_NAMES.len() == Count::AuthorizeKept as usize + 1);
const _: () = assert!(REFUSED_NAMES.len() == RefusalReason::PatternTopics as usize + 1);
const _: () = assert!(CLOSED_NAMES.len() == CloseReason::ProxyMalformed as usize + 1);
const _: () = assert!(CLIENT_COUNT_NAMES.len() == ClientCount::Duplicates as usize + 1);
const _: () = assert!(CLIENT_CAUSE_NAMES.len() == ClientCause::Held as usize + 1);
const _: () = assert!(SUPERSEDED_NAMES.len() == SupersededReason::Rate as usize + 1);
const _: () = assert!(STEP_NAMES.len() == TurnStep::Timers as usize + 1);
