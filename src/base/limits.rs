//! Every bound that is not a setting and that somebody outside may meet or two files must agree on, with its
//! unit and reason; relations between bounds are checked here. Pauses and steps that concern one file alone
//! stand at its head.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

/// One kibibyte.
pub const KIB: usize = 1_024;
/// One mebibyte.
pub const MIB: usize = 1_024 * KIB;

/// Bytes of a topic's percent-decoded name. Long enough for a path with ids, short enough to store a million.
pub const TOPIC_BYTES_MAX: usize = 128;
/// Bytes of an event's name: it is repeated in every frame.
pub const EVENT_NAME_BYTES_MAX: usize = 128;
/// Bytes of a latest-per-key key, and of an `Idempotency-Key`.
pub const KEY_BYTES_MAX: usize = 256;
/// Event names that one subscriber may filter by: each is compared with each event.
pub const EVENT_FILTERS_MAX: usize = 32;
/// Kept events that `last=N` may ask for: their beginning is looked for one by one, under the hub's lock.
pub const LAST_EVENTS_MAX: usize = 1_000;
/// Bytes of a method: longer than any that is registered, so that noise is refused early.
pub const METHOD_BYTES_MAX: usize = 32;
/// Field lines of one head that there is room for; the setting `headers_max` stays at or below it.
pub const HEADERS_MAX: usize = 256;
/// Bytes of a foreign `Last-Event-ID` that are told back in a gap event.
pub const LAST_EVENT_ID_TEXT_BYTES_MAX: usize = 128;
/// Hexadecimal digits of a chunk size: eight reach 4 GiB, beyond any body that is taken, and fit a `u32`.
pub const CHUNK_SIZE_DIGITS_MAX: usize = 8;
/// Bytes of framing that each chunk may cost for nothing: its size line and two line ends, without extension.
pub const CHUNK_FREE_BYTES: usize = 16;
/// Levels of arrays and objects in one batch line; what serde_json allows where it recurses.
pub const JSON_DEPTH_MAX: usize = 128;
/// Bytes of one chunk-size line, extensions included: extensions have no use here, only attacks have.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Bytes of chunk lines and trailers of one body beyond what its chunks may cost for nothing and its payload
/// is long; keeps one-byte chunks with long extensions from costing more than the body is worth.
pub const CHUNK_OVERHEAD_BYTES_MAX: usize = 16 * KIB;
/// Events in one NDJSON batch, counted once per topic. All of a batch must fit an empty mailbox at once.
pub const BATCH_POSTS_MAX: usize = 2_048;
/// Heartbeats that fall due within this share of their period go out together, with the earliest of them: a
/// batch of many costs less than many batches, and sleeping workers wake seldom.
pub const HEARTBEATS_TOGETHER_SHARE: u32 = 32;
/// Frames that wait in one worker's mailbox; a full mailbox is what a publisher's 503 means.
pub const MAILBOX_FRAMES_MAX: usize = 4_096;
/// Frames that a worker has taken from its mailbox and not yet offered to every subscriber.
pub const FRESH_FRAMES_MAX: usize = 4_096;
/// Control messages that wait for one worker: probes, drain, admin. Few, so a small number is generous.
pub const CONTROL_MAILS_MAX: usize = 1_024;
/// Workers: one bit each in a topic's interest mask.
pub const WORKERS_MAX: usize = 64;
/// Listening sockets that may be passed to the server at its start: their descriptors are bits of one word.
pub const INHERITED_SOCKETS_MAX: usize = 60;
/// Sends in one batch: an io_uring submission that costs less than 1 ms, after which newcomers get a look in.
/// A longer one saves next to nothing: one system call in 128 sends is below one per cent of their cost.
pub const BATCH_SENDS_MAX: usize = 128;
/// Bytes in one batch after which no further send is added, for the same reason when frames are large or
/// many: the kernel copies some 64 KiB in the time of ten small sends. Each send is large then, so few are
/// enough.
pub const BATCH_BYTES_MAX: usize = 256 * KIB;
/// Subscribers looked at for one batch, whether or not they want anything of it; who listens to several
/// topics counts once more for each.
pub const LOOKS_PER_BATCH: usize = 8_192;
/// Frames gathered into one send on the shared path; IOV_MAX is 1 024.
pub const SEND_FRAMES_MAX: usize = 256;
/// Frames that one subscriber on the individual path reads from the log at a time, under the hub's lock.
/// Nearly as many as a live one gets: whoever was full for a moment must catch up with a fast publisher.
pub const READ_FRAMES_MAX: usize = 255;
/// Frames that a replay begins with. One that has more to read goes on in the lane of long output, to which
/// half of a batch belongs, so that answers, newcomers and those who were full for a moment do not stand
/// behind it.
pub const READ_FRAMES_SHORT: usize = 16;
/// Bytes after which such a beginning is over, for the same reason where events are large: a sixteenth of a
/// batch.
pub const READ_BYTES_SHORT: usize = 16 * KIB;
/// Bytes of a batch that such replays get while a round runs: one send or two, so that live subscribers wait
/// for little more than without them.
pub const REPLAY_BYTES_BESIDE_ROUNDS: usize = 32 * KIB;
/// Frames that a worker takes from its mailbox in one turn. Fewer than a stream reads from the log meanwhile,
/// so that whoever is behind and reads gains on any publisher, and the publisher waits.
pub const MAIL_FRAMES_PER_TURN: usize = 128;
/// The same while more mail than that waits and somebody who is behind is being served: no more than each of
/// several returning streams gets of a turn beside a round, so that a publisher that outruns the worker is
/// refused before history has passed by those who read.
pub const MAIL_FRAMES_BESIDE_READERS: usize = 8;
/// Topics looked at and frames found under the hub's lock in one turn by those that are behind: publishers
/// and other workers wait meanwhile.
pub const LOG_STEPS_PER_TURN: usize = 8_192;
/// Bytes read at a time from a connection of the operator's that is sending a head: a body of ordinary size
/// comes with it, and is then never copied.
pub const HEAD_READ_BYTES: usize = 16 * KIB;
/// The same on the public listener: more than an ordinary head. Bounds what a pipeliner can store.
pub const PUBLIC_READ_BYTES: usize = 4 * KIB;
/// Bytes of a worker's one scratch buffer; also the largest single read of a body.
pub const SCRATCH_BYTES: usize = 64 * KIB;
/// Answer bytes that may wait for a connection before no further request of it is handled.
pub const ANSWER_BYTES_MAX: usize = 4 * KIB;
/// Requests of one connection that are handled before everyone else's turn comes: enough to share a send,
/// few enough that a publisher beside hundreds that pipeline waits for some of each and not for many.
pub const ANSWERS_AT_ONCE: usize = 8;
/// Connections whose readable bytes are handled in one turn.
pub const READS_PER_TURN: usize = 256;
/// The same while a round runs: existing subscribers wait for about half a millisecond at most.
pub const READS_BESIDE_ROUNDS: usize = 64;
/// Requests handled in one turn, and events published in it, after which no further connection is read: about
/// a quarter of a millisecond. Subscribers wait for that, and for one batch, before each batch of theirs.
pub const REQUESTS_PER_TURN: usize = 128;
/// Bytes read in one turn after which no further connection is read: large bodies are to be copied. Not less,
/// or whoever has one small request would wait several turns behind those that pipeline.
pub const READ_BYTES_PER_TURN: usize = MIB;
/// Connections accepted from one listener in one turn: existing subscribers come first.
pub const ACCEPTS_PER_TURN: usize = 256;
/// The same from the control listener, which all workers share: few, so that publishers who come together
/// are not all taken by the worker that was woken first.
pub const CONTROL_ACCEPTS_PER_TURN: usize = 2;
/// Idle connections of the operator's listener that are closed in one tick when files run short: about 1 ms.
pub const ROOM_CLOSES_PER_TICK: usize = 256;
/// Milliseconds in which a client that has connected asks, on a busy machine too. Whoever is younger is
/// closed for room only when nobody older is idle, or a crowd of idle connections would keep others out.
pub const FRESH_MS: u64 = 1_000;
/// Wheel entries handled in one turn.
pub const TIMERS_PER_TURN: usize = 1_024;
/// Connections beyond the limit that a worker still talks to, so that each gets a polite refusal.
pub const REFUSALS_AT_ONCE_MAX: usize = 256;
/// Milliseconds a connection beyond the limit may take to send its request.
pub const REFUSAL_MS: u64 = 2_000;
/// Milliseconds that a stream which the operator ends may take to accept what is on its way to it: who is
/// ended by hand is often one that reads nothing, and the operator waits.
pub const OPERATOR_PATIENCE_MS: u64 = 1_000;
/// Milliseconds for which a connection between two requests is kept when a drain begins, so that a publisher
/// that sends one after the other reads a refusal and not an end that may mean anything.
pub const DRAIN_IDLE_MS: u64 = 250;
/// Milliseconds that an answered and half-closed connection is read on, so that no reset eats the answer.
pub const LINGER_MS: u64 = 2_000;
/// Bytes that a lingering connection may still send before it is cut.
pub const LINGER_BYTES_MAX: usize = MIB;
/// Bytes a subscriber may send upstream after its request before it is cut.
pub const UPSTREAM_BYTES_MAX: usize = 64 * KIB;
/// Milliseconds in which a readiness probe must pass through every worker. With the period before it, less
/// than the three seconds in which an operator is to know.
pub const PROBE_MS: u64 = 1_200;
/// Milliseconds from one readiness probe to the next.
pub const PROBE_PERIOD_MS: u64 = 1_000;
/// Milliseconds after which a verdict on readiness is too old to be repeated: the main thread looks twenty
/// times a second.
pub const VERDICT_MS: u64 = 2_500;
/// Rows of one page of `/topics` or `/connections`.
pub const PAGE_ROWS_MAX: usize = 1_000;
/// Rows that a page may pass over: each worker keeps so many and a page more of the best while it looks. Who
/// wants to see further sorts otherwise.
pub const PAGE_OFFSET_MAX: usize = 9_000;
/// Surveys under way at once, beside the one for addresses. Each worker keeps 32 bytes for each row that a
/// page has or passes over: 320 KB at most.
pub const SURVEYS_AT_ONCE_MAX: usize = 4;
/// Milliseconds in which the workers find a page's connections; what has come by then is the answer.
pub const SURVEY_FIND_MS: u64 = 700;
/// Milliseconds in which they then describe them. Together below a second.
pub const SURVEY_TELL_MS: u64 = 200;
/// What one turn of a survey may cost, so that subscribers wait for a quarter of a batch: looks at a
/// connection or a topic.
pub const SURVEY_LOOKS_PER_TURN: usize = 4_096;
/// Looks that asking the kernel about a connection counts for.
pub const KERNEL_LOOKS: usize = 24;
/// Topics named in one row of `/connections`; of more, only the number is told.
pub const ROW_TOPICS_MAX: usize = 8;
/// Control messages that may wait for a worker before a survey leaves it out: it stands still.
pub const SURVEY_MAILS_MAX: usize = 64;
/// Addresses that each worker counts connections of at once.
pub const COUNTED_ADDRESSES_MAX: usize = 256;
/// Addresses that are told.
pub const TOLD_ADDRESSES_MAX: usize = 20;
/// Milliseconds between two counts of connections by address while somebody looks, at least: as many as there
/// are connections, so that asking the kernel about each costs some 0.1 % of a processor, however many there
/// are.
pub const ADDRESS_SURVEY_MS_MIN: u64 = 5_000;
/// The same at most, so that the figures are never old.
pub const ADDRESS_SURVEY_MS_MAX: u64 = 60_000;
/// Bytes kept of a user agent: enough to tell browser, version and system.
pub const USER_AGENT_BYTES_MAX: usize = 160;
/// User agents kept by a worker.
pub const USER_AGENTS_MAX: usize = 1_024;
/// Notes that a worker takes in one turn for the debug log, which has no room for more lines either.
pub const NOTES_PER_TURN_MAX: usize = 512;
/// Files of a worker kept free for what is not a connection: listeners, epoll, waker, refusals.
pub const RESERVED_FILES: u64 = 320;
/// Milliseconds for which a topic is remembered after its last subscriber left and its history expired,
/// so that a short cut in a quiet topic is not told as a gap.
pub const TOPIC_LINGER_MS: u64 = 30_000;
/// Topics remembered in this way at once, so that subscribers who come and go with ever new topics fill
/// neither memory nor `topics_max`; beyond, the one that has waited longest is forgotten early.
pub const LINGERING_TOPICS_MAX: usize = 65_536;
/// Bytes of memory that each kept event takes beside its encoded bytes and its key: the shared header, its
/// places in the rings of its topic and of the node, which grow by doubling, and what the allocator rounds.
/// For small events this is most of what they take, so history bounds count it.
pub const KEPT_OVERHEAD_BYTES: usize = 192;
/// Events that a topic of the server's own keeps: the newest state, and the one before for whoever was slow.
pub const RESERVED_TOPIC_EVENTS: usize = 2;
/// History entries dropped by one hub operation, so that none holds the lock for long.
pub const EVICTIONS_PER_CALL: usize = 64;
/// Such operations in one turn of the worker that sweeps: about 1 ms, then its subscribers come first again.
pub const SWEEP_CALLS_PER_TURN: usize = 32;
/// Milliseconds between two looks at what has expired in the hub while nothing is published.
pub const SWEEP_MS: u64 = 250;
/// Milliseconds between two times that workers look for those who keep old frames alive: each looks at all of
/// its connections.
pub const SHED_PAUSE_MS: u64 = 1_000;
/// Frame bytes in flight (mailboxes, half-sent) beyond the history before publishers are refused.
pub const IN_FLIGHT_BYTES_MAX: usize = 64 * MIB;
/// Log lines that wait for the log's thread; more are dropped and counted, so that a stuck disk or pipe
/// never stops a worker.
pub const LOG_LINES_MAX: usize = 1_024;
/// Bytes of one log line's message; longer is cut. Bounds what `LOG_LINES_MAX` can hold to 4 MiB.
pub const LOG_LINE_BYTES_MAX: usize = 4 * KIB;
/// Kinds of errors that are told apart within a minute; further ones share a line.
pub const LOG_KINDS_MAX: usize = 64;
/// Bytes free on the log's disk below which it counts as full: the longest line would not fit.
pub const LOG_DISK_BYTES_MIN: u64 = 2 * LOG_LINE_BYTES_MAX as u64;
/// Milliseconds at exit in which the log may write what waits.
pub const LOG_FLUSH_MS: u64 = 1_000;
/// Changes of alerts that are remembered for people: a day of a nervous rule, and a page of `/status`.
pub const ALERT_HISTORY_MAX: usize = 100;
/// Characters of what an alert says beyond its value: a mail's subject holds it, and with all else it fits
/// the smallest pipe.
pub const ALERT_WHY_CHARS_MAX: usize = 400;
/// Alert rules: each is looked at once a second under the lock of the pages.
pub const ALERT_RULES_MAX: usize = 64;
/// Webhooks: each has a thread of its own, so that a dead one holds up nobody else.
pub const ALERT_WEBHOOKS_MAX: usize = 8;
/// Addresses of one mail: with its text it fits the smallest pipe, so that writing it never waits.
pub const ALERT_MAILS_MAX: usize = 10;
/// Messages that wait for one destination; further ones count as failed, so that a dead one costs no memory.
pub const ALERT_MESSAGES_MAX: usize = 64;
/// Times that a message is tried before it counts as failed; with the pauses between, about two minutes.
pub const ALERT_TRIES_MAX: u32 = 8;
/// Milliseconds before the second try; doubled for each further one.
pub const ALERT_PAUSE_MS: u64 = 1_000;
/// Milliseconds before a further try at most.
pub const ALERT_PAUSE_MS_MAX: u64 = 60_000;
/// Milliseconds that a webhook may take to answer, or a command to end, before it is given up.
pub const ALERT_TRY_MS: u64 = 10_000;
/// Bytes of what a failing command says that are told in the log.
pub const ALERT_WORDS_BYTES_MAX: usize = 256;
/// Bytes of a configuration file: a wrong path (a log, a device) must not be read into memory.
pub const CONFIG_FILE_BYTES_MAX: usize = MIB;
/// Bytes of data in one TCP segment over Ethernet: 1 500 less the headers, with timestamps.
pub const TCP_SEGMENT_BYTES: usize = 1_500 - TCP_IP_BYTES;
/// Bytes of headers of a TCP segment over IPv4, with timestamps (RFC 9293, RFC 7323, RFC 791).
pub const TCP_IP_BYTES: usize = 20 + 20 + 12;
/// Bytes that Ethernet adds to each packet: header, check sum, preamble, gap (IEEE 802.3).
pub const ETHERNET_BYTES: usize = 14 + 4 + 8 + 12;
/// Bytes of a publish beside its payload, as usual clients and proxies send it.
pub const PUBLISH_HEAD_BYTES: usize = 300;
/// Files that one table may have on a host that was never tuned for more: the kernel's `fs.nr_open`.
pub const NR_OPEN_DEFAULT: u64 = 1_048_576;
/// Ports of one address that a proxy on a tuned host can connect to one server from: 10 240 to 65 535.
pub const PLANNED_PORTS_PER_ADDRESS: u64 = 65_536 - 10_240;

// The server's sockets.

/// Bytes of a Unix socket's path: `sun_path` holds 108 with its end mark.
pub const UNIX_PATH_BYTES_MAX: usize = 107;
/// Connections that may wait to be accepted; the kernel lowers it to `net.core.somaxconn`.
pub const LISTEN_BACKLOG: i32 = 65_535;
/// What a public connection may send ahead of being read: little more than a head, so that 200 who
/// pipeline without reading take 61 KiB each and not 120. The kernel doubles it for its own overhead.
pub const RECEIVE_BUFFER_BYTES: usize = 10 * KIB;
/// Bytes of one TCP segment at most; three quarters of what the kernel makes of `unsent_bytes_max` if that is
/// less. Only loopback's are larger (64 KiB). One that fills a socket's send buffer is acknowledged when the
/// next comes, which does not fit, or else 40 ms later: a proxy on the same host would wait as long for each
/// such part of an event. Not less, or events of 16 KiB cost a segment and an acknowledgement more.
pub const SEGMENT_BYTES_MAX: usize = 24 * KIB;
/// Silence after which the kernel asks whether the peer is still there. Longer than a heartbeat, so that
/// it costs nothing while heartbeats do the asking.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Pause between two such questions.
pub const KEEPALIVE_PAUSE: Duration = Duration::from_secs(10);
/// Questions without answer after which the peer is gone.
pub const KEEPALIVE_TRIES: u32 = 3;
/// Connections that fail in a row before the queue is left alone for a moment.
pub const ACCEPT_ERRORS_IN_A_ROW_MAX: u32 = 32;
/// Readinesses taken from the kernel at once, at most: all are noted before anything else of a turn.
pub const READINESSES_PER_WAIT_MAX: usize = 16_384;
/// Calls in a row that neither take a send nor yield an outcome before the ring counts as broken.
pub const RING_IDLE_ENTERS_MAX: u32 = 1_000;

// What subscribers and publishers meet.

/// The most that `publish_bytes_max` can be, and so one line of `publish` and one event of `load`.
pub const PUBLISH_BYTES_MAX: usize = 64 * MIB;
/// `Retry-After` of refusals, seconds: uniform between these, so that the refused do not return together.
pub const RETRY_AFTER_S: Range<u64> = 1..8;
/// Per cent by which a reconnection time differs from the setting, so that clients do not come back at
/// once.
pub const RETRY_JITTER_PERCENT: u64 = 20;
/// Per cent by which a stream's longest life differs from the setting.
pub const LIFE_JITTER_PERCENT: u64 = 10;
/// Bytes that each piece counts as, at least, which a subscriber sends after its request.
pub const UPSTREAM_UNIT_BYTES: usize = 64;
/// Milliseconds for which a stream that has reached its age waits for frames on their way to anyone, and for
/// those that it has still to read: on a busy worker there are always some. What it misses, it gets when it
/// comes back.
pub const END_PATIENCE_MS: u64 = 1_000;
/// Characters of serde's words that are told back: they may quote a key of any length.
pub const JSON_REASON_CHARS_MAX: usize = 200;
/// Rows of a page that does not say how many.
pub const PAGE_ROWS_DEFAULT: usize = 50;

// Figures, memory, the end, the log and alerts.

/// Seconds of figures that are kept: five minutes, and one more so that there is a difference over five
/// minutes.
pub const WATCH_POINTS_MAX: usize = 301;
/// Samples of distributions that are kept: a minute and one, so that there is a difference over a minute.
pub const WATCH_MINUTE_SAMPLES_MAX: usize = 61;
/// Per cent of the memory there is that `memory_bytes_max` is when it is not set: the rest is for the
/// kernel's side of the sockets and for what an allocator gives back late.
pub const MEMORY_SHARE_PERCENT: u64 = 80;
/// Per cent of `memory_bytes_max` below which memory counts as free again: without a distance the server
/// would refuse and accept by turns.
pub const MEMORY_FREE_AGAIN_PERCENT: u64 = 95;
/// Milliseconds beyond `drain_ms`: the last answers and closings take their time.
pub const DRAIN_GRACE_MS: u64 = 2_000;
/// Milliseconds for workers to close what they have once they are told to stop.
pub const STOP_MS: u64 = 1_000;
/// Errors of a kind in one minute from which on the log calls them frequent.
pub const LOG_FREQUENT_MIN: u64 = 10;
/// Minutes on end after which it calls frequent errors repeated.
pub const LOG_REPEATED_MINUTES: u32 = 3;
/// Milliseconds of a rule's times: a day, as of `alert_cooldown_ms`.
pub const ALERT_MS_MAX: u64 = 86_400_000;
/// Bytes of a rule's name: it stands in a mail's subject and in each line of the log.
pub const ALERT_NAME_BYTES_MAX: usize = 64;
/// Bytes of a mail address: a path has at most 256 octets, with its brackets (RFC 5321 §4.5.3.1).
pub const MAIL_ADDRESS_BYTES_MAX: usize = 254;
/// Per cent by which a pause before a further try differs: servers that lost the same network must not all
/// come back in the same moment.
pub const ALERT_JITTER_PERCENT: u64 = 20;

// The other subcommands.

/// How long `publish` and `subscribe` wait for a connection: a host that is there answers sooner, a
/// firewall that drops never does.
pub const CLIENT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long they wait for the head of an answer: as long as a publish body may take.
pub const CLIENT_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes read of an answer that is not what was hoped for: enough for any message, and no page of a
/// proxy's.
pub const CLIENT_REFUSAL_BYTES_MAX: u64 = 4_096;
/// How long `publish` waits without a byte: a server that accepted a body and then says nothing for so long
/// has lost it.
pub const PUBLISH_SILENCE: Duration = Duration::from_secs(30);
/// How long `subscribe` does: six heartbeats of the default; a stream silent for longer is taken for cut.
pub const SUBSCRIBE_SILENCE: Duration = Duration::from_secs(90);
/// Milliseconds before `subscribe` comes back, whatever the server names.
pub const SUBSCRIBE_WAIT_MS: RangeInclusive<u64> = 50..=3_600_000;
/// Milliseconds up to which its waits grow while the server refuses.
pub const SUBSCRIBE_BACKOFF_MS_MAX: u64 = 30_000;
/// Per cent by which a wait is longer, so that clients cut together do not come back together, and none
/// earlier than the server asked for.
pub const SUBSCRIBE_JITTER_PERCENT: u64 = 20;
/// Bytes of one event that it takes: the largest body with every line a data line of its own.
pub const SUBSCRIBE_EVENT_BYTES_MAX: usize = 512 * MIB;
/// How long `doctor` waits for the first bytes of a stream, and for a head.
pub const DOCTOR_PATIENCE: Duration = Duration::from_secs(5);
/// How long it waits for an event that it has published.
pub const DOCTOR_EVENT_PATIENCE: Duration = Duration::from_secs(3);
/// From connecting to the end of a publish's answer.
pub const DOCTOR_PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long its connecting, and each step of a handshake, may take.
pub const DOCTOR_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer's head: proxies add to it, and a page of theirs is none.
pub const DOCTOR_HEAD_BYTES_MAX: usize = 64 * KIB;
/// Fields of such a head.
pub const DOCTOR_HEADERS_MAX: usize = 128;
/// Arrivals that are kept of one stream; a public topic may be busy.
pub const DOCTOR_ARRIVALS_MAX: usize = 100_000;
/// Seconds of `--idle-seconds`, a day: nobody waits longer for an answer.
pub const DOCTOR_IDLE_SECONDS_MAX: u64 = 86_400;
/// Connections that can be asked about: beyond what any node could hold; keeps products far from
/// overflow.
pub const PLANNED_CONNECTIONS_MAX: u64 = 1_000_000_000;
/// Files of one worker that can be asked about: what `fs.nr_open` may be at most on 64-bit kernels.
pub const PLANNED_FILES_MAX: u64 = 1 << 30;

// The load generator.

/// Events in one request's batch: what a server takes in one body is less.
pub const LOAD_BATCH_MAX: usize = 10_000;
/// Topics: each pair of one and a publisher has a number.
pub const LOAD_TOPICS_MAX: usize = 10_000_000;
/// Publishers: each subscriber keeps a number for each of them.
pub const LOAD_PUBLISHERS_MAX: usize = 1_024;
/// Seconds that a part may be given: 31 years, whose nanoseconds fit a word.
pub const LOAD_SECONDS_MAX: u64 = 1_000_000_000;
/// Threads: sources of loopback subscribers are 127.0.1.1 to 127.0.254.1.
pub const LOAD_THREADS_MAX: u64 = 254;
/// Bytes of an answer's head; any server is to be measured, so more than this one's.
pub const LOAD_HEAD_BYTES_MAX: usize = 16 * KIB;
/// Fields of such a head.
pub const LOAD_HEADERS_MAX: usize = 64;
/// Bytes of one event that a subscriber takes.
pub const LOAD_EVENT_BYTES_MAX: usize = 16 * MIB;
/// How long the counts of a receiver are waited for: it may be in the middle of a turn on a processor that
/// has others to serve.
pub const LOAD_COUNTS_TIMEOUT: Duration = Duration::from_secs(10);
/// Events on their way that are followed at most: beyond a second of a fast publisher, a server is behind
/// by so much that the last subscriber's time says nothing new.
pub const LOAD_FLIGHT_EVENTS_MAX: usize = 1 << 16;

const _: () = assert!(INHERITED_SOCKETS_MAX + 3 < 64, "the standard streams and what is passed fit one word");
const _: () = assert!(BATCH_POSTS_MAX <= MAILBOX_FRAMES_MAX);
const _: () = assert!(SEND_FRAMES_MAX <= 1_024, "IOV_MAX");
const _: () = assert!(READ_FRAMES_SHORT < READ_FRAMES_MAX && READ_FRAMES_MAX < SEND_FRAMES_MAX);
const _: () = assert!(16 * READ_BYTES_SHORT <= BATCH_BYTES_MAX);
const _: () = assert!(2 * MAIL_FRAMES_PER_TURN <= READ_FRAMES_MAX + 1);
const _: () = assert!(HEAD_READ_BYTES <= SCRATCH_BYTES);
const _: () = assert!(SURVEY_FIND_MS + SURVEY_TELL_MS < 1_000);
const _: () = assert!(SURVEY_MAILS_MAX < CONTROL_MAILS_MAX && NOTES_PER_TURN_MAX < LOG_LINES_MAX);
const _: () = assert!(PROBE_MS + PROBE_PERIOD_MS < 3_000);
const _: () = assert!(WORKERS_MAX == u64::BITS as usize, "masks of workers are words");
const _: () = assert!((REFUSALS_AT_ONCE_MAX as u64) < RESERVED_FILES);
const _: () = assert!(PAGE_ROWS_DEFAULT <= PAGE_ROWS_MAX);
const _: () = assert!(UPSTREAM_BYTES_MAX / UPSTREAM_UNIT_BYTES < u16::MAX as usize, "counted in 16 bits");
const _: () =
    assert!(PUBLISH_BYTES_MAX * 8 <= SUBSCRIBE_EVENT_BYTES_MAX, "`data: x` and a line end for each byte");
