//! Checks beyond single rows of the table: forms of addresses and origins, and settings that exclude each
//! other. A refusal names both settings, their values and their origins. Only written values contradict each
//! other: a default gives way to the setting that it would exclude.

use std::net::{Ipv6Addr, SocketAddr};

use crate::base::address::ListenAddress;
use crate::base::limits::UNIX_PATH_BYTES_MAX;
use crate::base::listener::ListenerKind;
use crate::base::logfmt::shown;
use crate::base::peers::TrustedPeers;
use crate::base::settings::{SettingSpec, Settings, SlowPolicy, split_list};
use crate::config::class_tables::check_classes;
use crate::config::credentials::check_credentials;
use crate::config::refusal::{
    POLICY_NEEDS_RATE, RATE_NEEDS_POLICY, SettingsRefusal, TWO_WINDOWS, WAITS_TOO_LONG,
};
use crate::config::resolved::{ResolvedEntry, ResolvedSettings, SettingSource};

/// Addresses of one mail: with its text it fits the smallest pipe, so that writing it never waits.
const ALERT_MAILS_MAX: usize = 10;
/// Bytes of a mail address: a path has at most 256 octets, with its brackets (RFC 5321 §4.5.3.1).
const MAIL_ADDRESS_BYTES_MAX: usize = 254;

/// Bytes of the name of a fleet: it is a part of each key.
const FLEET_NAME_BYTES_MAX: usize = 64;

/// Pairs whose first must not exceed the second, and why.
const ORDERED: &[(&str, &str, &str)] = &[
    ("history_topic_bytes_max", "history_bytes_max", "one topic cannot keep more than all topics together"),
    ("publish_bytes_max", "bodies_bytes_max", "one body must fit the budget of all bodies"),
    ("publish_bytes_max", "history_topic_bytes_max", "an event must fit its topic's history"),
    ("topics_per_connection_max", "topics_max", "one subscriber cannot have more topics than exist"),
];

/// Adjusts defaults, then refuses the first contradiction.
pub(crate) fn check(resolved: &mut ResolvedSettings) -> Result<(), SettingsRefusal> {
    check_and_adjust(resolved, |_| true)
}

/// Does the same for a running server, in which only some defaults can still give way.
pub(crate) fn check_running(resolved: &mut ResolvedSettings) -> Result<(), SettingsRefusal> {
    check_and_adjust(resolved, |spec| spec.reloadable)
}

fn check_and_adjust(
    resolved: &mut ResolvedSettings,
    can_change: fn(&SettingSpec) -> bool,
) -> Result<(), SettingsRefusal> {
    for (small, large, why) in ORDERED {
        adjust_default(resolved, small, large, can_change);
        check_order(resolved.entry(small), resolved.entry(large), why)?;
    }
    check_listeners(resolved)?;
    check_origins(resolved.entry("cors_origins"))?;
    check_host_names(resolved.entry("control_names"))?;
    check_trusted_proxies(resolved)?;
    check_backplane(resolved)?;
    check_programs(resolved)?;
    check_mail_addresses(resolved.entry("alert_email_to"))?;
    check_slow_policy(resolved)?;
    check_windows(resolved)?;
    check_rate(resolved)?;
    check_classes(resolved)?;
    check_credentials(resolved)
}

/// Checks that a rate has a policy, and a policy a rate.
fn check_rate(resolved: &ResolvedSettings) -> Result<(), SettingsRefusal> {
    let rates = ["rate_events_per_second", "rate_bytes_per_second"].map(|name| resolved.entry(name));
    let rate = rates.into_iter().find(|rate| number(rate) > 0);
    let policy = resolved.entry("rate_policy");
    match (rate, policy.text.as_str()) {
        (Some(rate), "none") => refuse_contradiction(format!("{} {RATE_NEEDS_POLICY}", describe_entry(rate))),
        (None, policy_text) if policy_text != "none" => {
            refuse_contradiction(format!("{} {POLICY_NEEDS_RATE}", describe_entry(policy)))
        }
        _ => Ok(()),
    }
}

/// Checks that events wait less than a heartbeat, and in one kind of window.
fn check_windows(resolved: &ResolvedSettings) -> Result<(), SettingsRefusal> {
    let heartbeat = resolved.entry("heartbeat_ms");
    let [batch, throttle] = ["batch_ms", "throttle_ms"].map(|name| resolved.entry(name));
    if let Some(window) = [batch, throttle].into_iter().find(|window| number(window) >= number(heartbeat)) {
        return refuse_contradiction(format!(
            "{} is not below {}: {WAITS_TOO_LONG}",
            describe_entry(window),
            describe_entry(heartbeat)
        ));
    }
    if number(batch) > 0 && number(throttle) > 0 {
        return refuse_contradiction(format!(
            "{} and {}: {TWO_WINDOWS}",
            describe_entry(batch),
            describe_entry(throttle)
        ));
    }
    Ok(())
}

fn describe_entry(entry: &ResolvedEntry) -> String {
    format!("{} = {} ({})", entry.spec.name, shown(&entry.text), entry.place())
}

fn refuse_contradiction<T>(words: String) -> Result<T, SettingsRefusal> {
    Err(SettingsRefusal::Contradiction(words))
}

fn refuse_value<T>(entry: &ResolvedEntry, item: &str, allowed: &str) -> Result<T, SettingsRefusal> {
    Err(SettingsRefusal::Value {
        place: entry.place(),
        name: entry.spec.name,
        value: item.to_owned(),
        allowed: allowed.to_owned(),
    })
}

fn check_order(small: &ResolvedEntry, large: &ResolvedEntry, why: &str) -> Result<(), SettingsRefusal> {
    if number(small) <= number(large) {
        return Ok(());
    }
    refuse_contradiction(format!("{} is larger than {}: {why}", describe_entry(small), describe_entry(large)))
}

/// Lowers a default that exceeds another value to it, or raises one that is below.
fn adjust_default(
    resolved: &mut ResolvedSettings,
    small: &str,
    large: &str,
    can_change: fn(&SettingSpec) -> bool,
) {
    let (low, high) = (resolved.entry(small), resolved.entry(large));
    if number(low) <= number(high) {
        return;
    }
    let (low_text, high_text) = (low.text.clone(), high.text.clone());
    let gives_way = |entry: &ResolvedEntry| entry.source == SettingSource::Default && can_change(entry.spec);
    if gives_way(low) {
        resolved.entry_mut(small).text = high_text;
    } else if gives_way(high) {
        resolved.entry_mut(large).text = low_text;
    }
}

fn number(entry: &ResolvedEntry) -> u64 {
    entry.text.parse().expect("checked against the table")
}

/// Returns whether a connection to one address could end at the other. Port 0 is another port each time. A
/// wildcard stands for addresses of its own family only, as the sockets are made.
fn addresses_overlap(a: &ListenAddress, b: &ListenAddress) -> bool {
    match (a, b) {
        (ListenAddress::Unix(a), ListenAddress::Unix(b)) => a == b,
        (ListenAddress::Tcp(a), ListenAddress::Tcp(b)) => {
            let wild = |of: &SocketAddr, other: &SocketAddr| {
                of.ip().is_unspecified() && of.is_ipv6() == other.is_ipv6()
            };
            a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || wild(a, b) || wild(b, a))
        }
        _ => false,
    }
}

fn check_listeners(resolved: &ResolvedSettings) -> Result<(), SettingsRefusal> {
    let listen = resolved.entry("listen");
    if split_list(&listen.text).is_empty() {
        return refuse_value(listen, "", "at least one address");
    }
    let entries = ListenerKind::ALL.iter().map(|kind| resolved.entry(kind.setting()));
    let all: Vec<_> = entries
        .flat_map(|entry| split_list(&entry.text).into_iter().map(move |text| (entry, text)))
        .collect();
    let mut seen: Vec<(ListenAddress, &ResolvedEntry, &str)> = Vec::new();
    for (entry, text) in &all {
        let Some(place) = ListenAddress::parse(text) else {
            let allowed = format!(
                "ADDR:PORT or [ADDR6]:PORT with a numeric address, :PORT, localhost:PORT, or unix:/path of \
                 at most {UNIX_PATH_BYTES_MAX} bytes"
            );
            return refuse_value(entry, text, &allowed);
        };
        if let Some((_, other, earlier)) =
            seen.iter().find(|(earlier, _, _)| addresses_overlap(earlier, &place))
        {
            return refuse_contradiction(format!(
                "{} {} ({}) and {} {} ({}) take the same address; give each listener its own",
                other.spec.name,
                shown(earlier),
                other.place(),
                entry.spec.name,
                shown(text),
                entry.place()
            ));
        }
        seen.push((place, entry, text));
    }
    Ok(())
}

fn check_origins(entry: &ResolvedEntry) -> Result<(), SettingsRefusal> {
    let origins = split_list(&entry.text);
    if origins.len() > 1 && origins.iter().any(|origin| origin == "*") {
        return refuse_contradiction(format!(
            "{}: * allows every origin, so it must stand alone",
            describe_entry(entry)
        ));
    }
    for origin in origins.iter().filter(|origin| *origin != "*") {
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        let plain = |host: &str| {
            !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && !b"/\\?#@\"'<>*".contains(&b))
        };
        if !host.is_some_and(plain) {
            return refuse_value(entry, origin, "* or scheme://host[:port], without a path");
        }
        // Compared byte for byte with the header of browsers (WHATWG HTML §7.1.1): another form never
        // matches.
        let default_port = if origin.starts_with("https:") { ":443" } else { ":80" };
        if origin.ends_with(default_port) || origin.bytes().any(|b| b.is_ascii_uppercase()) {
            return refuse_value(
                entry,
                origin,
                "in lower case and without a default port, as browsers send it",
            );
        }
    }
    Ok(())
}

fn check_host_names(entry: &ResolvedEntry) -> Result<(), SettingsRefusal> {
    for name in split_list(&entry.text) {
        let inside = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        // Ports are not compared, so a name with one would never be met; only addresses may hold colons.
        if !name.bytes().all(plain) && inside.parse::<Ipv6Addr>().is_err() {
            return refuse_value(entry, &name, "a host name, without scheme, port or path");
        }
    }
    Ok(())
}

/// Checks that trusted peers can be told from others, and that there are some if they are to be believed.
fn check_trusted_proxies(resolved: &ResolvedSettings) -> Result<(), SettingsRefusal> {
    let entry = resolved.entry("trusted_proxies");
    let items = split_list(&entry.text);
    if let Err(item) = TrustedPeers::parse(&items) {
        return refuse_value(entry, item, "an address, a network such as 10.0.0.0/8, or unix:");
    }
    let protocol = resolved.entry("proxy_protocol");
    if protocol.text != "off" && items.is_empty() {
        return refuse_contradiction(format!(
            "{} needs trusted_proxies, the addresses of the proxies: others are not believed",
            describe_entry(protocol)
        ));
    }
    Ok(())
}

/// Checks the name of the fleet, and that nothing else is set without an address or against it.
fn check_backplane(resolved: &ResolvedSettings) -> Result<(), SettingsRefusal> {
    let (address, name) = (resolved.entry("backplane"), resolved.entry("backplane_name"));
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"{}".contains(&byte);
    if name.text.is_empty() || name.text.len() > FLEET_NAME_BYTES_MAX || !name.text.bytes().all(plain) {
        let allowed = format!("1 to {FLEET_NAME_BYTES_MAX} visible ASCII characters without {{ and }}");
        return refuse_value(name, &name.text, &allowed);
    }
    let (password, profile) = (resolved.entry("backplane_password_file"), resolved.entry("profile"));
    match (address.text.is_empty(), password.text.is_empty(), &*profile.text) {
        (true, false, _) => refuse_contradiction(format!("{} needs backplane", describe_entry(password))),
        (false, _, "broadcast-benchmark") => refuse_contradiction(format!(
            "backplane ({}) and {} exclude each other: the benchmark's events have no ids",
            address.place(),
            describe_entry(profile)
        )),
        _ => Ok(()),
    }
}

/// Checks programs: they run without a shell, so without arguments, and without a search.
fn check_programs(resolved: &ResolvedSettings) -> Result<(), SettingsRefusal> {
    for name in ["alert_command", "alert_sendmail"] {
        let entry = resolved.entry(name);
        if !entry.text.is_empty() && !entry.text.starts_with('/') {
            return refuse_value(entry, &entry.text, "the whole path of a program, without arguments");
        }
    }
    let (mail, program) = (resolved.entry("alert_email_to"), resolved.entry("alert_sendmail"));
    if !split_list(&mail.text).is_empty() && program.text.is_empty() {
        return refuse_contradiction(format!(
            "{} needs a program: {}",
            describe_entry(mail),
            describe_entry(program)
        ));
    }
    Ok(())
}

/// Checks mail addresses, which become arguments of a program and part of a mail's head.
fn check_mail_addresses(entry: &ResolvedEntry) -> Result<(), SettingsRefusal> {
    let addresses = split_list(&entry.text);
    if addresses.len() > ALERT_MAILS_MAX {
        return refuse_value(entry, &entry.text, &format!("at most {ALERT_MAILS_MAX} addresses"));
    }
    for address in addresses {
        let plain = |b: u8| b.is_ascii_graphic() && !b"\"<>()[]\\:;".contains(&b);
        if address.starts_with('-') || address.len() > MAIL_ADDRESS_BYTES_MAX || !address.bytes().all(plain) {
            return refuse_value(entry, &address, "plain addresses, such as ops@example.org");
        }
    }
    Ok(())
}

/// Checks that a policy for slow subscribers can act: the kernel gives up on a peer that acknowledges nothing
/// for `user_timeout_ms`, so the policy would never see a longer stall.
fn check_slow_policy(resolved: &ResolvedSettings) -> Result<(), SettingsRefusal> {
    let settings: Settings = resolved.settings();
    if settings.slow_policy == SlowPolicy::Disconnect || settings.stall_ms < settings.user_timeout_ms {
        return Ok(());
    }
    if ["stall_ms", "user_timeout_ms"]
        .iter()
        .any(|name| resolved.entry(name).source == SettingSource::Default)
    {
        return Ok(());
    }
    let [policy, stall, timeout] =
        ["slow_policy", "stall_ms", "user_timeout_ms"].map(|name| describe_entry(resolved.entry(name)));
    refuse_contradiction(format!(
        "{stall} is not below {timeout}, so {policy} could never act: the kernel cuts first"
    ))
}
