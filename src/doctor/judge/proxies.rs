//! Proxies: recognises them by their answers, and advises changes for each fault of a stream. Words only.

use std::fmt;

/// A kind of proxy for which there is advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyKind {
    /// nginx, and servers built on it.
    Nginx,
    /// HAProxy, which does not name itself.
    Haproxy,
    /// Caddy, which names itself in `Via`.
    Caddy,
    /// Apache httpd with mod_proxy.
    Apache,
    /// The network of Cloudflare.
    Cloudflare,
    /// The application load balancer of AWS.
    Alb,
    /// Varnish, which has a field of its own.
    Varnish,
}

/// A fault of a stream that a proxy can cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyFault {
    /// The proxy keeps bytes back until there are many.
    Buffered,
    /// Each event comes some 200 ms late.
    HeldBack,
    /// The proxy compresses, and does not flush after each event.
    Compressed,
    /// The proxy ends streams that are silent, or old.
    Cut,
    /// The proxy reads on for clients that have left.
    Abandoned,
    /// Browsers are not offered HTTP/2.
    NoHttp2,
    /// `Last-Event-ID` or the query does not reach the server.
    PositionLost,
    /// Fields for pages of other origins are missing or doubled.
    Cors,
    /// The proxy answers in the place of the server.
    NoServer,
}

/// All kinds of proxies, in the order of advice.
pub(crate) const ALL: [ProxyKind; 7] = [
    ProxyKind::Nginx,
    ProxyKind::Haproxy,
    ProxyKind::Caddy,
    ProxyKind::Apache,
    ProxyKind::Cloudflare,
    ProxyKind::Alb,
    ProxyKind::Varnish,
];

impl fmt::Display for ProxyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProxyKind::Nginx => "nginx",
            ProxyKind::Haproxy => "HAProxy",
            ProxyKind::Caddy => "Caddy",
            ProxyKind::Apache => "Apache",
            ProxyKind::Cloudflare => "Cloudflare",
            ProxyKind::Alb => "ALB",
            ProxyKind::Varnish => "Varnish",
        })
    }
}

/// Recognises proxies by the fields of an answer, each once, in the order of [`ALL`].
pub(crate) fn recognised(fields: &[(String, String)]) -> Vec<ProxyKind> {
    let says = |name: &str, word: &str| {
        fields.iter().any(|(field, value)| {
            field.eq_ignore_ascii_case(name) && value.to_ascii_lowercase().contains(word)
        })
    };
    let names_itself = |word: &str| says("server", word) || says("via", word);
    let is = |proxy: ProxyKind| match proxy {
        ProxyKind::Nginx => names_itself("nginx") || names_itself("openresty"),
        ProxyKind::Haproxy => names_itself("haproxy"),
        ProxyKind::Caddy => names_itself("caddy"),
        ProxyKind::Apache => names_itself("apache"),
        ProxyKind::Cloudflare => says("cf-ray", "") || says("server", "cloudflare"),
        ProxyKind::Alb => says("server", "awselb") || says("set-cookie", "awsalb"),
        ProxyKind::Varnish => names_itself("varnish") || says("x-varnish", ""),
    };
    ALL.into_iter().filter(|proxy| is(*proxy)).collect()
}

/// Advises changes for a fault, a line for each proxy that can cause it; recognised proxies come first.
pub(crate) fn advice(fault: ProxyFault, recognised: &[ProxyKind]) -> Vec<String> {
    let others = ALL.into_iter().filter(|proxy| !recognised.contains(proxy));
    let ordered = recognised.iter().copied().chain(others);
    ordered.filter_map(|proxy| one(fault, proxy).map(|words| format!("{proxy}: {words}"))).collect()
}

fn one(fault: ProxyFault, proxy: ProxyKind) -> Option<&'static str> {
    match fault {
        ProxyFault::Buffered => buffered(proxy),
        ProxyFault::HeldBack => held_back(proxy),
        ProxyFault::Compressed => compressed(proxy),
        ProxyFault::Cut => cut(proxy),
        ProxyFault::Abandoned => abandoned(proxy),
        ProxyFault::NoHttp2 => http2(proxy),
        ProxyFault::PositionLost => position(proxy),
        ProxyFault::Cors => cors(proxy),
        ProxyFault::NoServer => no_server(proxy),
    }
}

fn buffered(proxy: ProxyKind) -> Option<&'static str> {
    Some(match proxy {
        ProxyKind::Nginx => {
            "`proxy_buffering off; proxy_cache off; proxy_http_version 1.1;` in the location, and there \
             `proxy_set_header Connection \"\";`; no X-Accel-Buffering in proxy_ignore_headers"
        }
        ProxyKind::Haproxy => {
            "remove `option http-buffer-request`, cache and Lua or SPOE filters from this frontend"
        }
        ProxyKind::Caddy => {
            "no `response_buffers` (before 2.7 `buffer_responses`) in reverse_proxy; else it flushes these"
        }
        ProxyKind::Apache => {
            "mod_proxy_http passes each event on by itself: no filter on the path that gathers the body \
             (`SetOutputFilter` of mod_ext_filter, SecResponseBodyAccess of mod_security)"
        }
        ProxyKind::Cloudflare => {
            "a rule for the path that bypasses the cache, no Workers that read the whole body"
        }
        ProxyKind::Alb => {
            "it does not buffer; a Lambda or API Gateway behind it does: use an instance or IP target"
        }
        ProxyKind::Varnish => {
            "`if (req.url ~ \"^/events\") { return (pipe); }` in vcl_recv; where it is not piped, no \
             `set beresp.do_stream = false` and no `set beresp.do_gzip = true`"
        }
    })
}

fn held_back(proxy: ProxyKind) -> Option<&'static str> {
    match proxy {
        ProxyKind::Nginx => Some("`tcp_nodelay on;` (the default) and `tcp_nopush off;` in the location"),
        ProxyKind::Haproxy => {
            Some("`option http-no-delay` in defaults: without it small answers wait up to 200 ms")
        }
        ProxyKind::Apache => Some("no mod_ratelimit on the path (`SetOutputFilter RATE_LIMIT`)"),
        _ => None,
    }
}

fn compressed(proxy: ProxyKind) -> Option<&'static str> {
    match proxy {
        ProxyKind::Nginx => Some("take text/event-stream out of gzip_types, or `gzip off;` in the location"),
        ProxyKind::Haproxy => Some("take text/event-stream out of `compression type`"),
        ProxyKind::Caddy => {
            Some("`encode` with a matcher that leaves out the path: `@page not path /events*`")
        }
        ProxyKind::Apache => Some("`SetEnvIf Request_URI ^/events no-gzip=1 no-brotli=1`"),
        ProxyKind::Cloudflare => {
            Some("the server says Cache-Control: no-transform; a Compression Rule: off for the path")
        }
        ProxyKind::Alb => None,
        ProxyKind::Varnish => Some("`set beresp.do_gzip = false` for text/event-stream, or pipe"),
    }
}

fn cut(proxy: ProxyKind) -> Option<&'static str> {
    Some(match proxy {
        ProxyKind::Nginx => "`proxy_read_timeout` (60 s) above heartbeat_ms; `send_timeout` alike",
        ProxyKind::Haproxy => "`timeout client`, `timeout server` and `timeout tunnel` above heartbeat_ms",
        ProxyKind::Caddy => {
            "no `write_timeout` in servers.timeouts, no `read_timeout` in transport http below it"
        }
        ProxyKind::Apache => {
            "`ProxyTimeout`, and `timeout=` in ProxyPass where it is set, above heartbeat_ms"
        }
        ProxyKind::Cloudflare => "100 s of silence end a stream on most plans: keep heartbeat_ms below",
        ProxyKind::Alb => "idle_timeout.timeout_seconds (60 s) above heartbeat_ms",
        ProxyKind::Varnish => {
            "`-p pipe_timeout` (60 s) above heartbeat_ms; of streams that are not piped, \
             between_bytes_timeout (60 s) and idle_send_timeout too, and send_timeout (600 s) ends them all"
        }
    })
}

fn abandoned(proxy: ProxyKind) -> Option<&'static str> {
    match proxy {
        ProxyKind::Nginx => Some("no `proxy_ignore_client_abort on;`, no proxy_store or cache on the path"),
        ProxyKind::Haproxy => Some("`option abortonclose` in defaults"),
        ProxyKind::Caddy => {
            Some("no `flush_interval -1` in reverse_proxy: event streams are flushed without it")
        }
        ProxyKind::Apache => {
            Some("it has no setting for it: heartbeat_ms of the server is what frees places")
        }
        ProxyKind::Varnish => Some("`if (req.url ~ \"^/events\") { return (pipe); }` in vcl_recv"),
        ProxyKind::Cloudflare | ProxyKind::Alb => None,
    }
}

fn http2(proxy: ProxyKind) -> Option<&'static str> {
    Some(match proxy {
        ProxyKind::Nginx => "`listen 443 ssl http2;`, from 1.25.1 on `http2 on;`",
        ProxyKind::Haproxy => "`bind :443 ssl crt FILE alpn h2,http/1.1`",
        ProxyKind::Caddy => "offers it by itself with TLS; `protocols h1` in servers switches it off",
        ProxyKind::Apache => "`Protocols h2 http/1.1` with mod_http2 and the event MPM",
        ProxyKind::Cloudflare => "Speed, Protocol: HTTP/2 to the browser (on by default)",
        ProxyKind::Alb => "an HTTPS listener offers it; routing.http2.enabled = true",
        ProxyKind::Varnish => "TLS ends in front of it; `-p feature=+http2` and ALPN h2 there",
    })
}

fn position(proxy: ProxyKind) -> Option<&'static str> {
    Some(match proxy {
        ProxyKind::Nginx => {
            "no `proxy_set_header Last-Event-ID`, `proxy_pass_request_headers on;`, and `proxy_pass` \
                         without a query of its own"
        }
        ProxyKind::Haproxy => "no `http-request del-header` or `set-query` that takes them away",
        ProxyKind::Caddy => "no `header_up -Last-Event-ID`, no `rewrite` that drops the query",
        ProxyKind::Apache => "no `RequestHeader unset Last-Event-ID`; RewriteRule with [QSA]",
        ProxyKind::Cloudflare => {
            "no Transform Rule that removes the header or the query; cache bypassed for the path"
        }
        ProxyKind::Alb => "routing.http.drop_invalid_header_fields leaves it; look at redirect rules",
        ProxyKind::Varnish => "no `unset req.http.Last-Event-ID`, no removal of the query in vcl_recv",
    })
}

fn cors(proxy: ProxyKind) -> Option<&'static str> {
    Some(match proxy {
        ProxyKind::Nginx => {
            "the server sends these fields itself: no `add_header Access-Control-…`, no \
                         `proxy_hide_header`, and let OPTIONS through"
        }
        ProxyKind::Haproxy => "no `http-response add-header Access-Control-…`; set or delete, not both ends",
        ProxyKind::Caddy => "no `header Access-Control-…` beside reverse_proxy; let OPTIONS through",
        ProxyKind::Apache => "no `Header add Access-Control-…`; let OPTIONS through",
        ProxyKind::Cloudflare => "no Transform Rule or Worker that adds them again",
        ProxyKind::Alb => "routing.http.response.access_control_* adds them again: leave it unset",
        ProxyKind::Varnish => "no `set resp.http.Access-Control-…` in vcl_deliver",
    })
}

fn no_server(proxy: ProxyKind) -> Option<&'static str> {
    Some(match proxy {
        ProxyKind::Nginx => {
            "look into error_log: the address in `proxy_pass`, files (worker_connections), ports"
        }
        ProxyKind::Haproxy => {
            "`show stat`: is the server up, its address and health check right, maxconn reached?"
        }
        ProxyKind::Caddy => "its log names the upstream and the reason",
        ProxyKind::Apache => {
            "its error log; each stream holds a thread, with every MPM: is MaxRequestWorkers reached?"
        }
        ProxyKind::Cloudflare => "52x: the origin's address, port and certificate",
        ProxyKind::Alb => "are the targets healthy? Health check path /healthz, security groups",
        ProxyKind::Varnish => "`varnishadm backend.list`; the backend's address and probe",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[&str]) -> Vec<(String, String)> {
        let split =
            |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
        lines.iter().map(|line| split(line).expect("a field")).collect()
    }

    #[test]
    fn proxies_are_known_by_their_fields() {
        let rows: &[(&[&str], &[ProxyKind])] = &[
            (&[], &[]),
            (&["Content-Type: text/event-stream"], &[]),
            (&["Server: nginx/1.22.1"], &[ProxyKind::Nginx]),
            (&["server: cloudflare", "CF-RAY: 8a-FRA"], &[ProxyKind::Cloudflare]),
            (&["Server: Caddy"], &[ProxyKind::Caddy]),
            (&["Via: 1.1 Caddy", "Server: Apache/2.4.1"], &[ProxyKind::Caddy, ProxyKind::Apache]),
            (&["Server: awselb/2.0"], &[ProxyKind::Alb]),
            (&["X-Varnish: 32770", "Via: 1.1 varnish (Varnish/7.1)"], &[ProxyKind::Varnish]),
        ];
        for (lines, expected) in rows {
            assert_eq!(recognised(&fields(lines)), *expected, "{lines:?}");
        }
    }

    #[test]
    fn advice_for_the_recognised_one_comes_first_and_each_comes_once() {
        let lines = advice(ProxyFault::Cut, &[ProxyKind::Alb]);
        assert!(lines[0].starts_with("ALB: idle_timeout"), "{lines:?}");
        assert_eq!(lines.len(), ALL.len());
        assert_eq!(lines.iter().filter(|line| line.starts_with("ALB")).count(), 1);
        assert!(advice(ProxyFault::Buffered, &[])[0].contains("proxy_buffering off"));
    }
}
