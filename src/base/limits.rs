//! Bounds that are no settings and that several files must agree on, grouped by owner, with unit and reason.
//!
//! Relations between bounds stand beside their group. A bound of one file stands at the head of that file.
//! Budgets of a turn, of a batch and of the hub stand here all the same: they are weighed against each other.

use std::ops::Range;
use std::time::Duration;

// Units.

/// Bytes of one kibibyte.
pub(crate) const KIB: usize = 1_024;
/// Bytes of one mebibyte.
pub(crate) const MIB: usize = 1_024 * KIB;
/// Bytes of one gibibyte.
pub(crate) const GIB: usize = 1_024 * MIB;
/// Milliseconds of a minute.
pub(crate) const MINUTE_MS: u64 = 60_000;
/// Milliseconds of an hour.
pub(crate) const HOUR_MS: u64 = 60 * MINUTE_MS;

// Texts and bodies: `wire`, and those that make or keep them.

/// Bytes of a latest-per-key key, and of an `Idempotency-Key`.
pub(crate) const KEY_BYTES_MAX: usize = 256;
/// Most field lines of one head: its storage, and so the most that the setting `headers_max` can be.
pub(crate) const HEADERS_MAX: usize = 256;
/// Events in one NDJSON batch, counted once per topic. All of a batch must fit an empty mailbox at once.
pub const BATCH_POSTS_MAX: usize = 2_048;
/// The most that `publish_bytes_max` can be, and so one line of `publish` and one event of `load`.
pub(crate) const PUBLISH_BYTES_MAX: usize = 64 * MIB;
/// Bytes of memory that each kept event takes beside its encoded bytes and its key: the shared header, its
/// places in the rings of its topic and of the node, which grow by doubling, and the allocator's rounding.
/// For small events this is most of their memory, so history bounds count it.
pub(crate) const KEPT_OVERHEAD_BYTES: usize = 192;
/// The most that `history_keys` can be: an eviction finds its place among them, under the hub's lock.
pub(crate) const HISTORY_KEYS_MAX: u64 = 1_000_000;
/// Part of the memory for history, one in so many, up to which retained events of keys stay when it runs
/// short. Beyond, the oldest of them go before the history does.
pub(crate) const RETAINED_SHARE: usize = 2;
/// Bytes of a Unix socket's path: `sun_path` holds 108 with its end mark.
pub(crate) const UNIX_PATH_BYTES_MAX: usize = 107;
/// Fields of an answer's head that the load generator reads.
pub(crate) const LOAD_HEADERS_MAX: usize = 64;

// Workers, their mailboxes and their files.

/// Workers: one bit each in a topic's interest mask.
pub const WORKERS_MAX: usize = 64;
/// Frames that wait in one worker's mailbox; a publisher that meets a full one gets a 503.
pub(crate) const MAILBOX_FRAMES_MAX: usize = 4_096;
/// Frames that a worker has taken from its mailbox and not yet offered to every subscriber.
pub(crate) const FRESH_FRAMES_MAX: usize = 4_096;
/// Events that wait in windows on one worker; beyond, windows end early. Not among the frames above, so that
/// windows never refuse a publisher.
pub(crate) const WAITING_EVENTS_MAX: usize = 16_384;
/// Bytes of memory of the events that stand in one array: as many as a batch of sends takes, so that no
/// subscriber waits longer for it than for another.
pub(crate) const ARRAY_BYTES_MAX: usize = BATCH_BYTES_MAX;
/// Bytes of memory of those events: an eighth of what may be in flight, as several workers may hold others.
pub(crate) const WAITING_BYTES_MAX: usize = IN_FLIGHT_BYTES_MAX / 8;
/// Control messages that wait for one worker: probes, drain, admin. Few, so a small number is generous.
pub(crate) const CONTROL_MAILS_MAX: usize = 1_024;
/// Files of a worker kept free for all that is not a connection: listeners, epoll, waker, refusals.
pub(crate) const RESERVED_FILES: u64 = 320;
/// Connections beyond the limit that a worker still talks to, so that each gets a polite refusal.
pub(crate) const REFUSALS_AT_ONCE_MAX: usize = 256;

const _: () = assert!(BATCH_POSTS_MAX <= MAILBOX_FRAMES_MAX);
const _: () = assert!(WORKERS_MAX == u64::BITS as usize, "masks of workers are words");
const _: () = assert!((REFUSALS_AT_ONCE_MAX as u64) < RESERVED_FILES);

// The lobby: connections whose proxy has still to name the client.

/// Connections in the lobby of one worker. A proxy sends its header with the connection, so a storm of
/// newcomers passes in a turn or two each.
pub(crate) const LOBBY_CONNECTIONS_MAX: usize = 4_096;
/// Bytes of a PROXY header with its extensions. Most have 28 or 52; certificates and names add some hundreds.
pub(crate) const PROXY_HEADER_BYTES_MAX: usize = 2 * KIB;

const _: () =
    assert!(LOBBY_CONNECTIONS_MAX * PROXY_HEADER_BYTES_MAX <= 8 * MIB, "memory of a worker's lobby");

// One batch of sends.

/// Sends in one batch: an io_uring submission that costs less than 1 ms, after which newcomers get a look in.
/// A longer one saves next to nothing: one system call in 128 sends is below one per cent of their cost.
pub const BATCH_SENDS_MAX: usize = 128;
/// Bytes in one batch after which no further send is added, for the same reason when frames are large or
/// many: the kernel copies some 64 KiB in the time of ten small sends. Each send is large then, so few are
/// enough.
pub const BATCH_BYTES_MAX: usize = 256 * KIB;
/// Subscribers looked at for one batch, whether or not they want anything of it; a subscriber of several
/// topics counts once more for each.
pub const LOOKS_PER_BATCH: usize = 8_192;
/// Frames gathered into one send on the shared path; IOV_MAX is 1 024.
pub(crate) const SEND_FRAMES_MAX: usize = 256;
/// Frames that one subscriber on the individual path reads from the log at a time, under the hub's lock.
/// Nearly as many as a live one gets: a subscriber that was full for a moment must catch up with a fast
/// publisher.
pub(crate) const READ_FRAMES_MAX: usize = 255;
/// Frames that a replay begins with. A longer replay goes on in the lane of long output, to which half of a
/// batch belongs, so that answers, newcomers and subscribers that were full for a moment do not stand behind
/// it.
pub(crate) const READ_FRAMES_SHORT: usize = 16;
/// Bytes after which such a beginning is over where events are large: a sixteenth of a batch.
pub(crate) const READ_BYTES_SHORT: usize = 16 * KIB;
/// Bytes of the answer to a long poll after which no further event is added: the client asks again at once.
pub(crate) const POLL_BYTES: usize = 64 * KIB;
/// Bytes of a batch that such replays get while a round runs: one send or two, so that live subscribers wait
/// for little more than without them.
pub(crate) const REPLAY_BYTES_BESIDE_ROUNDS: usize = 32 * KIB;

const _: () = assert!(SEND_FRAMES_MAX <= 1_024, "IOV_MAX");
const _: () = assert!(READ_FRAMES_SHORT < READ_FRAMES_MAX && READ_FRAMES_MAX < SEND_FRAMES_MAX);
const _: () = assert!(16 * READ_BYTES_SHORT <= BATCH_BYTES_MAX);

// One turn of a worker. Subscribers wait for the sum, so these stand together.

/// Frames that a worker takes from its mailbox in one turn. Fewer than a stream reads from the log meanwhile,
/// so that a stream that is behind and reads gains on any publisher, and the publisher waits.
pub const MAIL_FRAMES_PER_TURN: usize = 128;
/// Frames taken instead while more mail than that waits and a stream that is behind is being served: no more
/// than each of several returning streams gets of a turn beside a round. A publisher that outruns the worker
/// is then refused before history has passed by its readers.
pub(crate) const MAIL_FRAMES_BESIDE_READERS: usize = 8;
/// Topics looked at and frames found under the hub's lock in one turn by those that are behind: publishers
/// and other workers wait meanwhile.
pub(crate) const LOG_STEPS_PER_TURN: usize = 8_192;
/// Steps of a search for the newest events of several topics in one hold of the hub's lock: half a
/// millisecond where events have left the caches.
pub(crate) const SEARCH_STEPS_PER_HOLD: usize = 8_192;
/// Steps of a subscribe from which on it waits for those that ask for less: it weighs eight requests.
pub(crate) const COSTLY_SUBSCRIBE_STEPS: usize = 8 * SUBSCRIBE_STEPS_PER_REQUEST;
/// Steps of a subscribe that count as a request: topics named and events looked at.
pub(crate) const SUBSCRIBE_STEPS_PER_REQUEST: usize = 64;
/// Connections whose readable bytes are handled in one turn.
pub(crate) const READS_PER_TURN: usize = 256;
/// Connections read in one turn while a round runs: existing subscribers wait for about half a millisecond at
/// most.
pub(crate) const READS_BESIDE_ROUNDS: usize = 64;
/// Requests handled in one turn, and events published in it, after which no further connection is read: about
/// a quarter of a millisecond. Subscribers wait for that, and for one batch, before each batch of theirs.
pub(crate) const REQUESTS_PER_TURN: usize = 128;
/// Bytes read in one turn after which no further connection is read: large bodies are to be copied. With
/// less, a connection with one small request would wait several turns behind those that pipeline.
pub(crate) const READ_BYTES_PER_TURN: usize = MIB;
/// Wheel entries handled in one turn.
pub(crate) const TIMERS_PER_TURN: usize = 1_024;
/// Sweeps of the hub in one turn, each of `EVICTIONS_PER_CALL` entries: about 1 ms, then subscribers come
/// first again.
pub(crate) const SWEEP_CALLS_PER_TURN: usize = 32;
/// Notes that a worker takes in one turn for the debug log, which has no room for more lines either.
pub(crate) const NOTES_PER_TURN_MAX: usize = 512;
/// Log lines that wait for the log's thread; more are dropped and counted, so that a stuck disk or pipe
/// never stops a worker.
pub(crate) const LOG_LINES_MAX: usize = 1_024;

const _: () = assert!(2 * MAIL_FRAMES_PER_TURN <= READ_FRAMES_MAX + 1);
const _: () = assert!(NOTES_PER_TURN_MAX < LOG_LINES_MAX);

// Requests and answers of one connection.

/// Bytes read at a time from a connection of the operator's that is sending a head: a body of ordinary size
/// comes with it, and is then never copied.
pub(crate) const HEAD_READ_BYTES: usize = 16 * KIB;
/// Bytes that a connection of the control listener may send ahead of being read: a head and a body of
/// ordinary size come in one flight. The kernel doubles it for its own overhead.
pub(crate) const CONTROL_RECEIVE_BUFFER_BYTES: usize = 20 * KIB;
/// Bytes read at a time from a connection of the public listener: more than an ordinary head. Bounds the
/// bytes that a pipelining client can make the server store.
pub(crate) const PUBLIC_READ_BYTES: usize = 4 * KIB;
/// Bytes of a worker's one scratch buffer; also the largest single read of a body.
pub(crate) const SCRATCH_BYTES: usize = 64 * KIB;
/// Bytes of a page's beacon: the client library sends some 500.
pub(crate) const BEACON_BYTES_MAX: usize = 2 * KIB;
/// Beacons that a worker takes in a second: 6 000 pages that send one a minute.
pub(crate) const BEACONS_PER_SECOND_MAX: u32 = 100;
/// Largest number that a beacon may tell, so that one page cannot upset a sum: a gigabyte, or eleven days.
pub(crate) const BEACON_NUMBER_MAX: u64 = 1_000_000_000;
/// Answer bytes that may wait for a connection before no further request of it is handled.
pub(crate) const ANSWER_BYTES_MAX: usize = 2 * KIB;
/// Requests of one connection that are handled before everyone else's turn comes: enough to share a send,
/// few enough that a publisher beside hundreds that pipeline waits for some of each and not for many.
pub(crate) const ANSWERS_AT_ONCE: usize = 8;
/// Per cent by which a reconnection time differs from the setting, so that clients do not come back at once.
pub(crate) const RETRY_JITTER_PERCENT: u64 = 20;
/// `Retry-After` of refusals, seconds: uniform between these, so that the refused do not return together.
pub(crate) const RETRY_AFTER_S: Range<u64> = 1..8;
/// Milliseconds a connection beyond the limit may take to send its request.
pub const REFUSAL_MS: u64 = 2_000;
/// Milliseconds of silence for which an answered and half-closed connection is read on, so that no reset eats
/// the answer.
pub const LINGER_MS: u64 = 2_000;
/// Milliseconds for which it is read on while bytes come: clients that send a whole body before they read
/// find the answer to a large one then.
pub const LINGER_TOTAL_MS: u64 = 30_000;
/// Bytes that a lingering connection may send without a charge.
pub(crate) const LINGER_FREE_BYTES: usize = MIB;
/// Bytes beyond it that all connections that linger at the same time may send. They cost time, not memory.
pub(crate) const LINGER_BUDGET_BYTES: usize = 256 * MIB;
/// Streams of the node whose clients would hurt if they came back at once: a drain takes all of `drain_ms`
/// for as many, and as much less for fewer. With 10 s that is a thousand clients a second.
pub const DRAIN_STREAMS_FULL: u64 = 10_000;
/// Milliseconds for which a connection between two requests is kept when a drain begins, so that a publisher
/// that sends one after the other reads a refusal and not an end that may mean anything.
pub(crate) const DRAIN_IDLE_MS: u64 = 100;
/// Heartbeats that fall due within this share of their period go out together, with the earliest of them: a
/// batch of many costs less than many batches, and sleeping workers wake seldom.
pub(crate) const HEARTBEATS_TOGETHER_SHARE: u32 = 32;

const _: () = assert!(HEAD_READ_BYTES <= SCRATCH_BYTES);
const _: () = assert!(HEAD_READ_BYTES < CONTROL_RECEIVE_BUFFER_BYTES);

// The hub: kept events and topics.

/// Milliseconds for which a topic is remembered after its last subscriber left and its history expired,
/// so that a short cut in a quiet topic is not told as a gap.
pub const TOPIC_LINGER_MS: u64 = 30_000;
/// Topics remembered in this way at once, so that subscribers that come and go with ever new topics fill
/// neither memory nor `topics_max`; beyond, the one that has waited longest is forgotten early.
pub(crate) const LINGERING_TOPICS_MAX: usize = 65_536;
/// Events that a topic of the server's own keeps: the newest state, and the one before for a slow reader.
pub(crate) const RESERVED_TOPIC_EVENTS: usize = 2;
/// History entries dropped by one hub operation, so that none holds the lock for long.
pub(crate) const EVICTIONS_PER_CALL: usize = 64;
/// Milliseconds between two looks for expired events in the hub while nothing is published.
pub(crate) const SWEEP_MS: u64 = 250;
/// Milliseconds between two times that workers look for connections that keep old frames alive: each worker
/// looks at all of its own.
pub(crate) const SHED_PAUSE_MS: u64 = 1_000;
/// Frame bytes in flight (mailboxes, half-sent) beyond the history before publishers are refused.
pub(crate) const IN_FLIGHT_BYTES_MAX: usize = 64 * MIB;

/// Bytes of events handed to an orderer whose publishers have no answer: as many as may be in flight to
/// subscribers, and the largest event at least twice.
pub(crate) const ORDER_BYTES_MAX: usize = 128 * MIB;
/// Milliseconds that a publisher waits for the order of its event before it is told that nobody knows. Longer
/// than a slow disk's pause, shorter than the patience of most clients.
pub const ORDER_MS: u64 = 5_000;
/// Milliseconds that a request waits for the word of the application.
pub const AUTHORIZE_MS: u64 = 5_000;
/// Events committed in one hold of the hub's lock, after which others come first.
pub(crate) const COMMIT_EVENTS_PER_HOLD: usize = 64;

const _: () = assert!(2 * PUBLISH_BYTES_MAX <= ORDER_BYTES_MAX);

// Readiness probes.

/// Milliseconds in which a readiness probe must pass through every worker. With the period before it, less
/// than the three seconds in which an operator is to know.
pub const PROBE_MS: u64 = 1_200;
/// Milliseconds from one readiness probe to the next.
pub(crate) const PROBE_PERIOD_MS: u64 = 1_000;

const _: () = assert!(PROBE_MS + PROBE_PERIOD_MS < 3_000);

// Surveys of connections and topics.

/// Surveys under way at once, beside the one for addresses. Each worker keeps 32 bytes for each row that a
/// page has or passes over: 320 KB at most.
pub(crate) const SURVEYS_AT_ONCE_MAX: usize = 4;
/// Milliseconds in which the workers find a page's connections; the answer holds those found by then.
pub(crate) const SURVEY_FIND_MS: u64 = 700;
/// Milliseconds in which they then describe them. Together with the finding below a second.
pub const SURVEY_TELL_MS: u64 = 200;
/// Control messages that may wait for a worker before a survey leaves it out: it stands still.
pub(crate) const SURVEY_MAILS_MAX: usize = 64;
/// Addresses that one count names.
pub(crate) const TOLD_ADDRESSES_MAX: usize = 20;

const _: () = assert!(SURVEY_FIND_MS + SURVEY_TELL_MS < 1_000);
const _: () = assert!(SURVEY_MAILS_MAX < CONTROL_MAILS_MAX);

// Alerts.

/// Webhooks: each has a thread of its own, so that a dead one holds up nobody else.
pub(crate) const ALERT_WEBHOOKS_MAX: usize = 8;
/// Milliseconds of a rule's times: a day, as of `alert_cooldown_ms`.
pub(crate) const ALERT_MS_MAX: u64 = 86_400_000;
/// Milliseconds that a webhook may take to answer, or a command to end, before it is given up.
pub(crate) const ALERT_TRY_MS: u64 = 10_000;

// Subcommands.

/// Connections that can be asked about: more than any node could hold; keeps products far from
/// overflow.
pub(crate) const PLANNED_CONNECTIONS_MAX: u64 = 1_000_000_000;
/// Longest wait of `doctor` for the first bytes of a stream, and for a head.
pub(crate) const DOCTOR_PATIENCE: Duration = Duration::from_secs(5);
/// Longest time for the doctor's connecting, and for each step of a handshake.
pub(crate) const DOCTOR_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
