//! Proxies: how their answers give them away, and what to change in each when a stream suffers. Words only.

use std::fmt;

/// A kind of proxy that there is advice for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// nginx, and what is built on it.
    Nginx,
    /// HAProxy, which does not name itself.
    Haproxy,
    /// Caddy.
    Caddy,
    /// Apache httpd.
    Apache,
    /// Cloudflare.
    Cloudflare,
    /// The application load balancer of AWS.
    Alb,
    /// Varnish.
    Varnish,
}

/// What a proxy can do to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Bytes are kept back until there are many.
    Buffered,
    /// Each event comes some 200 ms late.
    HeldBack,
    /// It compresses and keeps what is compressed.
    Compressed,
    /// It ends streams that are silent, or old.
    Cut,
    /// It reads on for clients that have left.
    Abandoned,
    /// Browsers are not offered HTTP/2.
    NoHttp2,
    /// `Last-Event-ID` or the query does not reach the server.
    PositionLost,
    /// Fields for pages of other origins are missing or doubled.
    Cors,
    /// It answers itself: the server behind it does not.
    NoServer,
}

/// All of them, in the order of advice.
pub const ALL: [Proxy; 7] = [
    Proxy::Nginx,
    Proxy::Haproxy,
    Proxy::Caddy,
    Proxy::Apache,
    Proxy::Cloudflare,
    Proxy::Alb,
    Proxy::Varnish,
];

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Proxy::Nginx => "nginx",
            Proxy::Haproxy => "HAProxy",
            Proxy::Caddy => "Caddy",
            Proxy::Apache => "Apache",
            Proxy::Cloudflare => "Cloudflare",
            Proxy::Alb => "ALB",
            Proxy::Varnish => "Varnish",
        })
    }
}

/// The proxies that an answer's fields give away, each once, in the order of [`ALL`].
pub fn recognised(fields: &[(String, String)]) -> Vec<Proxy> {
    let says = |name: &str, word: &str| {
        fields.iter().any(|(field, value)| {
            field.eq_ignore_ascii_case(name) && value.to_ascii_lowercase().contains(word)
        })
    };
    let names_itself = |word: &str| says("server", word) || says("via", word);
    let is = |proxy: Proxy| match proxy {
        Proxy::Nginx => names_itself("nginx") || names_itself("openresty"),
        Proxy::Haproxy => names_itself("haproxy"),
        Proxy::Caddy => names_itself("caddy"),
        Proxy::Apache => names_itself("apache"),
        Proxy::Cloudflare => says("cf-ray", "") || says("server", "cloudflare"),
        Proxy::Alb => says("server", "awselb") || says("set-cookie", "awsalb"),
        Proxy::Varnish => names_itself("varnish") || says("x-varnish", ""),
    };
    ALL.into_iter().filter(|proxy| is(*proxy)).collect()
}

/// What to change, a line for each proxy that has something to change: those that were recognised first.
pub fn advice(fault: Fault, recognised: &[Proxy]) -> Vec<String> {
    let others = ALL.into_iter().filter(|proxy| !recognised.contains(proxy));
    let ordered = recognised.iter().copied().chain(others);
    ordered.filter_map(|proxy| one(fault, proxy).map(|words| format!("{proxy}: {words}"))).collect()
}

fn one(fault: Fault, proxy: Proxy) -> Option<&'static str> {
    match fault {
        Fault::Buffered => buffered(proxy),
        Fault::HeldBack => held_back(proxy),
        Fault::Compressed => compressed(proxy),
        Fault::Cut => cut(proxy),
        Fault::Abandoned => abandoned(proxy),
        Fault::NoHttp2 => http2(proxy),
        Fault::PositionLost => position(proxy),
        Fault::Cors => cors(proxy),
        Fault::NoServer => no_server(proxy),
    }
}

fn buffered(proxy: Proxy) -> Option<&'static str> {
    Some(match proxy {
        Proxy::Nginx => {
            "`proxy_buffering off; proxy_cache off; proxy_http_version 1.1;` in the location, and there \
             `proxy_set_header Connection \"\";`; no X-Accel-Buffering in proxy_ignore_headers"
        }
        Proxy::Haproxy => {
            "remove `option http-buffer-request`, cache and Lua or SPOE filters from this frontend"
        }
        Proxy::Caddy => {
            "no `response_buffers` (before 2.7 `buffer_responses`) in reverse_proxy; else it flushes these"
        }
        Proxy::Apache => {
            "mod_proxy_http passes each event on by itself: no filter on the path that gathers the body \
             (`SetOutputFilter` of mod_ext_filter, SecResponseBodyAccess of mod_security)"
        }
        Proxy::Cloudflare => {
            "a rule for the path that bypasses the cache, no Workers that read the whole body"
        }
        Proxy::Alb => {
            "it does not buffer; a Lambda or API Gateway behind it does: use an instance or IP target"
        }
        Proxy::Varnish => {
            "`if (req.url ~ \"^/events\") { return (pipe); }` in vcl_recv; where it is not piped, no \
             `set beresp.do_stream = false` and no `set beresp.do_gzip = true`"
        }
    })
}

fn held_back(proxy: Proxy) -> Option<&'static str> {
    match proxy {
        Proxy::Nginx => Some("`tcp_nodelay on;` (the default) and `tcp_nopush off;` in the location"),
        Proxy::Haproxy => {
            Some("`option http-no-delay` in defaults: without it small answers wait up to 200 ms")
        }
        Proxy::Apache => Some("no mod_ratelimit on the path (`SetOutputFilter RATE_LIMIT`)"),
        _ => None,
    }
}

fn compressed(proxy: Proxy) -> Option<&'static str> {
    match proxy {
        Proxy::Nginx => Some("take text/event-stream out of gzip_types, or `gzip off;` in the location"),
        Proxy::Haproxy => Some("take text/event-stream out of `compression type`"),
        Proxy::Caddy => Some("`encode` with a matcher that leaves out the path: `@page not path /events*`"),
        Proxy::Apache => Some("`SetEnvIf Request_URI ^/events no-gzip=1 no-brotli=1`"),
        Proxy::Cloudflare => {
            Some("the server says Cache-Control: no-transform; a Compression Rule: off for the path")
        }
        Proxy::Alb => None,
        Proxy::Varnish => Some("`set beresp.do_gzip = false` for text/event-stream, or pipe"),
    }
}

fn cut(proxy: Proxy) -> Option<&'static str> {
    Some(match proxy {
        Proxy::Nginx => "`proxy_read_timeout` (60 s) above heartbeat_ms; `send_timeout` alike",
        Proxy::Haproxy => "`timeout client`, `timeout server` and `timeout tunnel` above heartbeat_ms",
        Proxy::Caddy => {
            "no `write_timeout` in servers.timeouts, no `read_timeout` in transport http below it"
        }
        Proxy::Apache => "`ProxyTimeout`, and `timeout=` in ProxyPass where it is set, above heartbeat_ms",
        Proxy::Cloudflare => "100 s of silence end a stream on most plans: keep heartbeat_ms below",
        Proxy::Alb => "idle_timeout.timeout_seconds (60 s) above heartbeat_ms",
        Proxy::Varnish => {
            "`-p pipe_timeout` (60 s) above heartbeat_ms; of streams that are not piped, \
             between_bytes_timeout (60 s) and idle_send_timeout too, and send_timeout (600 s) ends them all"
        }
    })
}

fn abandoned(proxy: Proxy) -> Option<&'static str> {
    match proxy {
        Proxy::Nginx => Some("no `proxy_ignore_client_abort on;`, no proxy_store or cache on the path"),
        Proxy::Haproxy => Some("`option abortonclose` in defaults"),
        Proxy::Caddy => Some("no `flush_interval -1` in reverse_proxy: event streams are flushed without it"),
        Proxy::Apache => Some("it has no setting for it: heartbeat_ms of the server is what frees places"),
        Proxy::Varnish => Some("`if (req.url ~ \"^/events\") { return (pipe); }` in vcl_recv"),
        Proxy::Cloudflare | Proxy::Alb => None,
    }
}

fn http2(proxy: Proxy) -> Option<&'static str> {
    Some(match proxy {
        Proxy::Nginx => "`listen 443 ssl http2;`, from 1.25.1 on `http2 on;`",
        Proxy::Haproxy => "`bind :443 ssl crt FILE alpn h2,http/1.1`",
        Proxy::Caddy => "offers it by itself with TLS; `protocols h1` in servers switches it off",
        Proxy::Apache => "`Protocols h2 http/1.1` with mod_http2 and the event MPM",
        Proxy::Cloudflare => "Speed, Protocol: HTTP/2 to the browser (on by default)",
        Proxy::Alb => "an HTTPS listener offers it; routing.http2.enabled = true",
        Proxy::Varnish => "TLS ends in front of it; `-p feature=+http2` and ALPN h2 there",
    })
}

fn position(proxy: Proxy) -> Option<&'static str> {
    Some(match proxy {
        Proxy::Nginx => {
            "no `proxy_set_header Last-Event-ID`, `proxy_pass_request_headers on;`, and `proxy_pass` \
                         without a query of its own"
        }
        Proxy::Haproxy => "no `http-request del-header` or `set-query` that takes them away",
        Proxy::Caddy => "no `header_up -Last-Event-ID`, no `rewrite` that drops the query",
        Proxy::Apache => "no `RequestHeader unset Last-Event-ID`; RewriteRule with [QSA]",
        Proxy::Cloudflare => {
            "no Transform Rule that removes the header or the query; cache bypassed for the path"
        }
        Proxy::Alb => "routing.http.drop_invalid_header_fields leaves it; look at redirect rules",
        Proxy::Varnish => "no `unset req.http.Last-Event-ID`, no removal of the query in vcl_recv",
    })
}

fn cors(proxy: Proxy) -> Option<&'static str> {
    Some(match proxy {
        Proxy::Nginx => {
            "the server sends these fields itself: no `add_header Access-Control-…`, no \
                         `proxy_hide_header`, and let OPTIONS through"
        }
        Proxy::Haproxy => "no `http-response add-header Access-Control-…`; set or delete, not both ends",
        Proxy::Caddy => "no `header Access-Control-…` beside reverse_proxy; let OPTIONS through",
        Proxy::Apache => "no `Header add Access-Control-…`; let OPTIONS through",
        Proxy::Cloudflare => "no Transform Rule or Worker that adds them again",
        Proxy::Alb => "routing.http.response.access_control_* adds them again: leave it unset",
        Proxy::Varnish => "no `set resp.http.Access-Control-…` in vcl_deliver",
    })
}

fn no_server(proxy: Proxy) -> Option<&'static str> {
    Some(match proxy {
        Proxy::Nginx => "look into error_log: the address in `proxy_pass`, files (worker_connections), ports",
        Proxy::Haproxy => {
            "`show stat`: is the server up, its address and health check right, maxconn reached?"
        }
        Proxy::Caddy => "its log names the upstream and the reason",
        Proxy::Apache => {
            "its error log; each stream holds a thread, with every MPM: is MaxRequestWorkers reached?"
        }
        Proxy::Cloudflare => "52x: the origin's address, port and certificate",
        Proxy::Alb => "are the targets healthy? Health check path /healthz, security groups",
        Proxy::Varnish => "`varnishadm backend.list`; the backend's address and probe",
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
        let rows: &[(&[&str], &[Proxy])] = &[
            (&[], &[]),
            (&["Content-Type: text/event-stream"], &[]),
            (&["Server: nginx/1.22.1"], &[Proxy::Nginx]),
            (&["server: cloudflare", "CF-RAY: 8a-FRA"], &[Proxy::Cloudflare]),
            (&["Server: Caddy"], &[Proxy::Caddy]),
            (&["Via: 1.1 Caddy", "Server: Apache/2.4.1"], &[Proxy::Caddy, Proxy::Apache]),
            (&["Server: awselb/2.0"], &[Proxy::Alb]),
            (&["X-Varnish: 32770", "Via: 1.1 varnish (Varnish/7.1)"], &[Proxy::Varnish]),
        ];
        for (lines, expected) in rows {
            assert_eq!(recognised(&fields(lines)), *expected, "{lines:?}");
        }
    }

    #[test]
    fn advice_for_the_recognised_one_comes_first_and_each_comes_once() {
        let lines = advice(Fault::Cut, &[Proxy::Alb]);
        assert!(lines[0].starts_with("ALB: idle_timeout"), "{lines:?}");
        assert_eq!(lines.len(), ALL.len());
        assert_eq!(lines.iter().filter(|line| line.starts_with("ALB")).count(), 1);
        assert!(advice(Fault::Buffered, &[])[0].contains("proxy_buffering off"));
    }
}
