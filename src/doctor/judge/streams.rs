//! Judges the path from a client to the server, with all proxies on it: observations of some streams in,
//! findings out. Knows no socket and no clock; times are milliseconds.

use crate::doctor::finding::{Finding, Verdict};
use crate::doctor::judge::proxies::{ProxyFault, ProxyKind, advice, recognised};
use crate::doctor::judge::publish_refusal::PublishObstacle;

/// Delay beyond that of the path from which bytes count as kept back.
pub(crate) const LATE_MS: u64 = 1_000;
/// Delay of every event from which a timer holds them: delayed acknowledgements take 40 to 200 ms.
const HELD_BACK_MS: u64 = 150;

/// The end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// The stream ended with its last chunk, as the server ends it.
    Clean,
    /// The stream ended in the middle.
    Cut,
}

/// Observations of a stream without events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdleStream {
    /// Time for which it was watched, at most until its end.
    pub(crate) watched_ms: u64,
    /// The longest silence that it survived.
    pub(crate) longest_silence_ms: u64,
    /// Its end, and the silence before.
    pub(crate) ended: Option<(StreamEnd, u64)>,
    /// Comments received, with the greeting.
    pub(crate) comments: u64,
}

/// The result of a request that allowed compression.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum CompressionResult {
    /// It was not tried, or nothing came without compression either.
    #[default]
    Unseen,
    /// Nothing came, while a stream without compression came at once.
    Withheld,
    /// An answer that is not compressed.
    Plain,
    /// An answer that is compressed.
    Squeezed {
        /// Its `Content-Encoding`.
        encoding: String,
        /// Whether an event came at once; none when that could not be seen.
        flushed: Option<bool>,
    },
}

/// The place of a client that left, observed while events were published for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DepartureResult {
    /// Time from leaving to the last look.
    pub(crate) ms: u64,
    /// Events that were published meanwhile.
    pub(crate) events: usize,
    /// Whether the server had freed the place by then.
    pub(crate) freed: bool,
}

/// The result of a try at HTTP/2, which TLS negotiates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Http2Result {
    /// The peer did not choose it.
    NotOffered,
    /// The peer chose it, but answered in another protocol or not at all.
    Unspoken,
    /// The peer speaks it.
    Spoken {
        /// Time from the request to the first byte of the stream; none when it did not come.
        first_byte_ms: Option<u64>,
        /// Streams that may be open at once in a connection; none when the peer did not say.
        streams_max: Option<u32>,
    },
}

/// Whether a stream resumed by each way of naming a position; none where that could not be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResumptionResult {
    /// By the header `Last-Event-ID`.
    pub(crate) by_header: Option<bool>,
    /// By the parameter `last_event_id`.
    pub(crate) by_query: Option<bool>,
}

/// All observations of a path.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamObservations {
    /// Time to connect, which is the delay of the path.
    pub(crate) connect_ms: u64,
    /// Status and fields of the stream's answer; none when no head came.
    pub(crate) head: Option<(u16, Vec<(String, String)>)>,
    /// Words in the body of an answer that is no stream, as they came.
    pub(crate) refusal: Option<String>,
    /// Time until the connection was closed without an answer; none when it was not.
    pub(crate) closed_ms: Option<u64>,
    /// Time from the request to the first byte of the body; none when none came.
    pub(crate) first_byte_ms: Option<u64>,
    /// Time for which the first byte was awaited.
    pub(crate) patience_ms: u64,
    /// Reason that nothing could be published; none when it could.
    pub(crate) unpublished: Option<PublishObstacle>,
    /// Time from each publish to its event; none when it did not come.
    pub(crate) events_ms: Vec<Option<u64>>,
    /// Whether the server that was published to counted the stream among its subscribers.
    pub(crate) counted: bool,
    /// End of the stream while events were published, and its time.
    pub(crate) ended: Option<(StreamEnd, u64)>,
    /// The place of that stream after its end; none when it could not be seen.
    pub(crate) departure: Option<DepartureResult>,
    /// Whether a stream came at once without a hint to proxies; none when that could not be seen.
    pub(crate) came_unasked: Option<bool>,
    /// The result of a request that allowed compression.
    pub(crate) compression: CompressionResult,
    /// The ways in which a stream resumed.
    pub(crate) resumed: ResumptionResult,
    /// The origin that the requests named.
    pub(crate) origin: String,
    /// Whether the operator has chosen that origin.
    pub(crate) origin_chosen: bool,
    /// Status and fields of the answer to a preflight.
    pub(crate) preflight: Option<(u16, Vec<(String, String)>)>,
    /// Whether the URL is `https`.
    pub(crate) tls: bool,
    /// Whether the certificate is trusted only because the operator named that very one.
    pub(crate) trusted_by_name: bool,
    /// The result of a try at HTTP/2; none without TLS.
    pub(crate) http2: Option<Http2Result>,
    /// The stream without events.
    pub(crate) idle: IdleStream,
}

impl StreamObservations {
    /// Returns the values of all fields of a name in the stream's answer.
    fn fields(&self, name: &str) -> Vec<&str> {
        self.head.as_ref().map_or_else(Vec::new, |(_, fields)| values_of(fields, name))
    }

    /// Adds the delay of the path to a limit.
    fn late_ms(&self, limit_ms: u64) -> u64 {
        limit_ms + 2 * self.connect_ms
    }
}

fn values_of<'a>(fields: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    let matching = fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
    matching.map(|(_, value)| &value[..]).collect()
}

/// Returns all findings; where the answer is no stream, that finding alone.
pub(crate) fn findings(seen: &StreamObservations) -> Vec<Finding> {
    // Behind a buffer the stream has no head, but the preflight's answer comes.
    let answers = [&seen.head, &seen.preflight].into_iter().flatten();
    let fields: Vec<(String, String)> = answers.flat_map(|(_, fields)| fields).cloned().collect();
    let proxies = recognised(&fields);
    let mut all = vec![report_proxies(&proxies)];
    if let Some((status, _)) = seen.head.as_ref().filter(|_| !is_stream(seen)) {
        all.push(report_no_stream(seen, *status, &proxies));
        return all;
    }
    if seen.head.is_none() && (seen.closed_ms.is_some() || seen.preflight.is_none()) {
        all.push(report_no_answer(seen, &proxies));
        return all;
    }
    all.push(judge_first_byte(seen, &proxies));
    all.push(judge_events(seen, &proxies));
    all.extend(judge_buffering(seen, &proxies));
    all.push(judge_compression(seen, &proxies));
    all.push(judge_idle_stream(seen, &proxies));
    all.push(judge_departure(seen, &proxies));
    all.push(judge_resumption("Last-Event-ID, header", seen.resumed.by_header, &proxies));
    all.push(judge_resumption("last_event_id, query", seen.resumed.by_query, &proxies));
    all.push(judge_cors(seen, &proxies));
    all.push(judge_preflight(seen, &proxies));
    all.push(judge_http2(seen, &proxies));
    if seen.trusted_by_name {
        let why =
            "browsers refuse it where it is not trusted by the system, and EventSource does not say why";
        let found = "trusted as --ca-file holds this very one".to_owned();
        all.push(new_finding("certificate", found, "", Verdict::Note, why));
    }
    all
}

fn is_stream(seen: &StreamObservations) -> bool {
    let status = seen.head.as_ref().map(|(status, _)| *status);
    let types = seen.fields("content-type");
    status == Some(200) && types.iter().any(|value| value.trim_start().starts_with("text/event-stream"))
}

fn new_finding(key: &str, found: String, needed: &str, verdict: Verdict, why: &str) -> Finding {
    let (key, needed, why) = (key.to_owned(), needed.to_owned(), why.to_owned());
    Finding { key, unit: String::new(), found, needed, verdict, why, price: String::new(), fix: Vec::new() }
}

impl Finding {
    /// Adds advice for a fault. A bad finding gets advice for all proxies, since one may not name itself; a
    /// good one gets none.
    fn with_advice(mut self, fault: ProxyFault, proxies: &[ProxyKind]) -> Finding {
        let mut lines = advice(fault, proxies);
        match self.verdict {
            Verdict::Bad => {}
            Verdict::Note if proxies.is_empty() => {}
            Verdict::Note => lines.retain(|line| {
                proxies.iter().any(|proxy| line.strip_prefix(&proxy.to_string()[..]).is_some())
            }),
            Verdict::Ok | Verdict::Unknown => {
                lines.clear();
                self.why.clear();
            }
        }
        self.fix = lines;
        self
    }
}

fn report_proxies(proxies: &[ProxyKind]) -> Finding {
    let names: Vec<String> = proxies.iter().map(ProxyKind::to_string).collect();
    let found = if names.is_empty() { "none that names itself".to_owned() } else { names.join(", ") };
    new_finding("proxies", found, "", Verdict::Ok, "")
}

fn report_no_stream(seen: &StreamObservations, status: u16, proxies: &[ProxyKind]) -> Finding {
    let kind = seen.fields("content-type").first().copied().unwrap_or("no type").to_owned();
    let to = seen.fields("location").first().map(|to| format!(", to {to}")).unwrap_or_default();
    let words = seen.refusal.as_ref().map(|words| format!(": {words}")).unwrap_or_default();
    let found = format!("status {status}, {kind}{to}{words}");
    let needed = "status 200, text/event-stream";
    let (why, fault) = match status {
        503 if kind == "application/json" => (
            "the server refuses newcomers now: it is full, or it is being stopped (/readyz says which)",
            None,
        ),
        502..=504 => ("a proxy answers in the server's place", Some(ProxyFault::NoServer)),
        401 | 403 => {
            ("it wants credentials, or does not let this topic through: put what it takes into the URL", None)
        }
        404 => ("nobody knows the path: subscribers use /events?topic=…", None),
        400 if !seen.tls => {
            ("the request was not understood: does this port speak TLS, so that it is https://?", None)
        }
        300..=399 => ("it leads elsewhere: name the address that it leads to", None),
        _ => ("a browser's EventSource gives up for good at this", None),
    };
    let mut row = new_finding("answer", found, needed, Verdict::Bad, why);
    if let Some(fault) = fault {
        row = row.with_advice(fault, proxies);
    }
    row
}

/// Reports that no answer came at all. A buffering proxy would have answered the preflight.
fn report_no_answer(seen: &StreamObservations, proxies: &[ProxyKind]) -> Finding {
    let (found, why) = match seen.closed_ms {
        Some(ms) => {
            let why = match seen.tls {
                false => {
                    "whoever listens there closes without an answer in HTTP: does this port speak TLS, so \
                     that it is https://, or something else altogether?"
                }
                true => {
                    "whoever listens there speaks TLS, but closes without an answer in HTTP: is it a web \
                     server, and does it reach the server behind it?"
                }
            };
            (format!("none: closed after {ms} ms"), why)
        }
        None => (
            format!("none within {} ms, not even to a preflight", seen.patience_ms),
            "something takes connections there and says nothing: it is overloaded or stopped, or waits in \
             vain for the server behind it",
        ),
    };
    new_finding("answer", found, "status 200, text/event-stream", Verdict::Bad, why)
        .with_advice(ProxyFault::NoServer, proxies)
}

fn judge_first_byte(seen: &StreamObservations, proxies: &[ProxyKind]) -> Finding {
    let limit_ms = seen.late_ms(LATE_MS);
    let (found, good) = match seen.first_byte_ms {
        Some(ms) => (format!("after {ms} ms"), ms <= limit_ms),
        None => (format!("none within {} ms", seen.patience_ms), false),
    };
    let verdict = if good { Verdict::Ok } else { Verdict::Bad };
    let why = "the server greets at once; something on the way buffers the answer, so pages stay in \
               CONNECTING and events wait until some kilobytes have gathered";
    let needed = format!("within {limit_ms} ms");
    new_finding("first byte", found, &needed, verdict, why).with_advice(ProxyFault::Buffered, proxies)
}

fn judge_events(seen: &StreamObservations, proxies: &[ProxyKind]) -> Finding {
    let key = "events one by one";
    if let Some(cause) = &seen.unpublished {
        let heartbeats = heartbeats_text(&seen.idle);
        let reason = cause.reason();
        let stop = if reason.ends_with('?') { "" } else { "." };
        let why = format!(
            "nothing could be published: {reason}{stop} So this is judged by the greeting and {heartbeats}"
        );
        let greeted = seen.first_byte_ms.is_some();
        let found = if greeted { "not published; the greeting came" } else { "not published" };
        let mut row = new_finding(key, found.to_owned(), "", Verdict::Note, &why);
        row.fix = vec![cause.remedy()];
        return row;
    }
    if let Some((end, ms)) = seen.ended {
        return report_early_end(seen, end, ms, proxies);
    }
    let came: Vec<u64> = seen.events_ms.iter().copied().flatten().collect();
    let limit_ms = seen.late_ms(LATE_MS);
    let (all, in_time) = (seen.events_ms.len(), came.iter().filter(|ms| **ms <= limit_ms).count());
    let quickest = came.iter().min().copied();
    let needed = format!("each within {limit_ms} ms");
    if in_time < all {
        let found = format!("{in_time} of {all} in time");
        let why = "something on the way buffers: events are kept until there are many, or the stream ends";
        return new_finding(key, found, &needed, Verdict::Bad, why)
            .with_advice(ProxyFault::Buffered, proxies);
    }
    let held_ms = seen.late_ms(HELD_BACK_MS);
    let quickest = quickest.unwrap_or(0);
    let found = format!("{all} of {all}, the quickest after {quickest} ms");
    if quickest > held_ms {
        let why =
            "even the quickest was held back: something on the way waits for more to send (a corked socket)";
        return new_finding(key, found, &format!("within {held_ms} ms"), Verdict::Bad, why)
            .with_advice(ProxyFault::HeldBack, proxies);
    }
    new_finding(key, found, &needed, Verdict::Ok, "")
}

/// Writes the number of comments after the greeting.
fn heartbeats_text(idle: &IdleStream) -> String {
    match idle.comments.saturating_sub(1) {
        1 => "1 heartbeat".to_owned(),
        count => format!("{count} heartbeats"),
    }
}

/// Reports a stream that ended before all events were published.
fn report_early_end(seen: &StreamObservations, end: StreamEnd, ms: u64, proxies: &[ProxyKind]) -> Finding {
    let (key, events) = ("events one by one", seen.events_ms.len());
    let after = seconds_text(ms);
    match end {
        StreamEnd::Clean => {
            let found = format!("{events} until the stream ended in order after {after}");
            let why = "so soon an end leaves little to look at (max_connection_ms, or a proxy's)";
            new_finding(key, found, "", Verdict::Note, why)
        }
        StreamEnd::Cut => {
            let found = format!("{events} until the stream was cut after {after}");
            let why = "something on the way limits the duration of streams, however much they have to say";
            new_finding(key, found, "kept", Verdict::Bad, why).with_advice(ProxyFault::Cut, proxies)
        }
    }
}

/// Judges a stream without the server's hint to proxies, which shows their own buffering. None where the hint
/// makes no difference.
fn judge_buffering(seen: &StreamObservations, proxies: &[ProxyKind]) -> Option<Finding> {
    let key = "proxy buffering";
    seen.first_byte_ms?;
    match seen.came_unasked {
        Some(true) => None,
        None => Some(new_finding(key, "could not be seen".to_owned(), "off", Verdict::Unknown, "")),
        Some(false) => {
            let patience_ms = seen.patience_ms;
            let found = format!("on: nothing within {patience_ms} ms without X-Accel-Buffering: no");
            let why = "the proxy is set up to buffer answers, and only that field in the server's answer \
                       keeps these streams out of it: whatever drops or ignores the field stops all events \
                       (proxy_ignore_headers, a cache, another proxy in between)";
            let mut row =
                new_finding(key, found, "off", Verdict::Bad, why).with_advice(ProxyFault::Buffered, proxies);
            // No other proxy knows that field.
            row.fix.retain(|line| line.starts_with(&ProxyKind::Nginx.to_string()));
            Some(row)
        }
    }
}

/// Judges whether the server learns that a client has left.
fn judge_departure(seen: &StreamObservations, proxies: &[ProxyKind]) -> Finding {
    let key = "clients that leave";
    let Some(departure) = seen.departure else {
        return new_finding(key, "could not be seen".to_owned(), "freed", Verdict::Unknown, "");
    };
    let (ms, events) = (departure.ms, departure.events);
    // The server counts before it sends: at the first event it knew by itself, or not.
    let (found, verdict, why) = match (departure.freed, departure.events) {
        (true, ..=1) => (format!("freed within {ms} ms"), Verdict::Ok, ""),
        (true, _) => {
            let why = "something on the way notices only when it has something to pass on, and then not at \
                       once: where events are few, places stay taken for some heartbeats (heartbeat_ms)";
            (format!("freed by event {} after {ms} ms", events - 1), Verdict::Note, why)
        }
        (false, _) => {
            let why = "something on the way goes on reading for a client that is gone: the server keeps a \
                       place for it, and sends it every event";
            (format!("still held after {events} events, {ms} ms"), Verdict::Bad, why)
        }
    };
    new_finding(key, found, "freed", verdict, why).with_advice(ProxyFault::Abandoned, proxies)
}

fn judge_compression(seen: &StreamObservations, proxies: &[ProxyKind]) -> Finding {
    let why = "a compressor that is not flushed after each event keeps them back";
    let (found, verdict) = match &seen.compression {
        CompressionResult::Unseen => ("could not be seen".to_owned(), Verdict::Unknown),
        CompressionResult::Withheld => ("nothing comes where it is allowed".to_owned(), Verdict::Bad),
        CompressionResult::Plain => ("none".to_owned(), Verdict::Ok),
        CompressionResult::Squeezed { encoding, flushed: Some(true) } => {
            (format!("{encoding}, flushed after each event"), Verdict::Ok)
        }
        CompressionResult::Squeezed { encoding, flushed: Some(false) } => {
            (format!("{encoding}, not flushed"), Verdict::Bad)
        }
        CompressionResult::Squeezed { encoding, flushed: None } => {
            (format!("{encoding}, not known whether flushed"), Verdict::Note)
        }
    };
    new_finding("compression", found, "none, or flushed", verdict, why)
        .with_advice(ProxyFault::Compressed, proxies)
}

fn seconds_text(ms: u64) -> String {
    format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
}

fn judge_idle_stream(seen: &StreamObservations, proxies: &[ProxyKind]) -> Finding {
    let idle = &seen.idle;
    let watched = seconds_text(idle.watched_ms);
    let key = "quiet stream";
    match idle.ended {
        // The server says goodbye, so bytes come right before its end; a proxy ends in order after silence.
        Some((StreamEnd::Clean, silence_ms)) if silence_ms < HELD_BACK_MS => {
            let found = format!("ended in order after {watched}");
            let why =
                "the server, or a proxy, ends streams at an age (max_connection_ms); clients resume by id";
            new_finding(key, found, "", Verdict::Note, why)
        }
        // A longer silence has been survived before, so the age of the stream ended it.
        Some((_, silence_ms)) if silence_ms * 2 < idle.longest_silence_ms => {
            let found = format!("cut after {watched}, {} after its last byte", seconds_text(silence_ms));
            let why = "it had outlived longer silences, so something on the way limits the whole duration";
            new_finding(key, found, "kept", Verdict::Bad, why).with_advice(ProxyFault::Cut, proxies)
        }
        Some((_, silence_ms)) => {
            let found = format!("cut after {} of silence", seconds_text(silence_ms));
            let why = "a timeout on the way is shorter than the server's heartbeats (heartbeat_ms): clients \
                       come back again and again";
            let mut row =
                new_finding(key, found, "kept", Verdict::Bad, why).with_advice(ProxyFault::Cut, proxies);
            row.fix.push(format!("or the server: heartbeat_ms below {silence_ms}"));
            row
        }
        None if idle.comments > 1 => {
            let silence = seconds_text(idle.longest_silence_ms);
            let found = format!("kept for {watched}, {}", heartbeats_text(idle));
            let why = format!("no silence is longer than {silence}, so no longer timeout strikes");
            new_finding(key, found, "kept", Verdict::Ok, &why)
        }
        None if idle.comments == 0 => {
            new_finding(key, "could not be seen".to_owned(), "kept", Verdict::Unknown, "")
        }
        None => {
            let found = format!("kept for {watched}, no heartbeat yet");
            let why = "watched for less than a heartbeat (heartbeat_ms, 15 s by default), so a later cut \
                       would not be seen";
            let mut row = new_finding(key, found, "kept", Verdict::Note, why);
            row.fix =
                vec!["--idle-seconds above the server's heartbeat_ms and the proxies' timeouts".to_owned()];
            row
        }
    }
}

fn judge_resumption(key: &str, resumed: Option<bool>, proxies: &[ProxyKind]) -> Finding {
    let (found, verdict) = match resumed {
        Some(true) => ("reaches the server", Verdict::Ok),
        Some(false) => ("lost on the way", Verdict::Bad),
        None => ("could not be seen", Verdict::Unknown),
    };
    let why = "whoever comes back gets nothing of what was missed";
    new_finding(key, found.to_owned(), "", verdict, why).with_advice(ProxyFault::PositionLost, proxies)
}

fn judge_cors(seen: &StreamObservations, proxies: &[ProxyKind]) -> Finding {
    let key = "CORS, stream";
    if seen.head.is_none() {
        return new_finding(key, "could not be seen".to_owned(), "", Verdict::Unknown, "");
    }
    let (origin, chosen) = (&seen.origin, seen.origin_chosen);
    let values = seen.fields("access-control-allow-origin");
    let missing = if chosen { Verdict::Bad } else { Verdict::Note };
    let needed = format!("* or {origin}, once");
    let (found, verdict, why) = match &values[..] {
        [value] if *value == "*" || value == origin => ((*value).to_owned(), Verdict::Ok, ""),
        [] => ("missing".to_owned(), missing, "pages of this origin may not read the stream (cors_origins)"),
        [value] if !value.contains(',') => {
            ((*value).to_owned(), missing, "pages of this origin may not read the stream (cors_origins)")
        }
        _ => {
            let why = "browsers refuse an answer that says it twice: the server does, and a proxy does again";
            (values.join(", "), Verdict::Bad, why)
        }
    };
    let mut row = new_finding(key, found, &needed, verdict, why).with_advice(ProxyFault::Cors, proxies);
    if verdict == Verdict::Note {
        row.fix = vec![format!("{origin} was only a guess: name the page's origin with --origin")];
    }
    row
}

fn judge_preflight(seen: &StreamObservations, proxies: &[ProxyKind]) -> Finding {
    let key = "CORS, preflight";
    let Some((status, fields)) = &seen.preflight else {
        return new_finding(key, "could not be seen".to_owned(), "", Verdict::Unknown, "");
    };
    let allowed = values_of(fields, "access-control-allow-headers").join(", ");
    let named = allowed.split(',').any(|name| name.trim().eq_ignore_ascii_case("last-event-id"));
    let good = (200..300).contains(status) && (named || allowed.trim() == "*");
    let verdict = if good { Verdict::Ok } else { Verdict::Bad };
    let found = format!("{status}, allows {}", if allowed.is_empty() { "nothing" } else { &allowed });
    let why = "clients that read the stream with fetch ask first, and do not connect without";
    new_finding(key, found, "2xx, allows last-event-id", verdict, why).with_advice(ProxyFault::Cors, proxies)
}

fn judge_http2(seen: &StreamObservations, proxies: &[ProxyKind]) -> Finding {
    let six = "with HTTP/1.1 a browser opens six connections to an origin, all tabs together: the seventh \
               stream hangs. The checks above were made with HTTP/1.1";
    let limit_ms = seen.late_ms(LATE_MS);
    let (found, verdict, why, fault) = match seen.http2 {
        Some(Http2Result::Spoken { first_byte_ms: Some(ms), streams_max }) if ms <= limit_ms => {
            let many = streams_max.map_or("any number of".to_owned(), |most| most.to_string());
            let found = format!("spoken, first byte after {ms} ms, {many} streams a connection");
            (found, Verdict::Ok, "", ProxyFault::NoHttp2)
        }
        Some(Http2Result::Spoken { first_byte_ms, .. }) => {
            let found = match first_byte_ms {
                Some(ms) => format!("spoken, but the first byte came after {ms} ms"),
                None => format!("spoken, but no first byte within {} ms", seen.patience_ms),
            };
            let why = "browsers use HTTP/2 where it is offered, and their streams stay in CONNECTING";
            (found, Verdict::Bad, why, ProxyFault::Buffered)
        }
        Some(Http2Result::Unspoken) => {
            let why = "TLS chose h2 (ALPN), then something else was said: browsers cannot connect";
            ("offered, but not spoken".to_owned(), Verdict::Bad, why, ProxyFault::NoHttp2)
        }
        Some(Http2Result::NotOffered) => ("not offered".to_owned(), Verdict::Note, six, ProxyFault::NoHttp2),
        None => ("no TLS, so browsers do not use it".to_owned(), Verdict::Note, six, ProxyFault::NoHttp2),
    };
    new_finding("HTTP/2", found, "spoken", verdict, why).with_advice(fault, proxies)
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
