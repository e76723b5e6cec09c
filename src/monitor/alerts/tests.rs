//! Facts about rules over synthetic time: when they fire, when they are resolved, which messages they send.

use super::*;
use crate::monitor::watch::metric_named;

/// Start of the wall clock in these tests.
const WALL_MS: u64 = 1_000_000;

fn at(mono_ms: u64) -> Now {
    Now { mono_ms, mono_us: 1_000 * mono_ms, wall_ms: WALL_MS + mono_ms }
}

fn rule(bound: AlertBound, for_ms: u64, cooldown_ms: u64) -> AlertRule {
    AlertRule {
        name: "x".to_owned(),
        metric: metric_named("memory_share").expect("in the table"),
        bound,
        for_ms,
        severity: Severity::Warning,
        cooldown_ms,
    }
}

/// Rules that have not been held against a figure yet.
fn quiet_rules(rules: Vec<AlertRule>) -> AlertRules {
    let mut quiet = AlertRules::default();
    assert_eq!(quiet.replace(rules, at(0)), []);
    quiet
}

/// Pairs of milliseconds and the value read then.
type Readings<'a> = &'a [(u64, Option<f64>)];

/// Returns the messages of a rule over `(ms, value)` readings, as `(ms, word)`.
fn told(rule: AlertRule, readings: Readings<'_>) -> Vec<(u64, &'static str)> {
    let mut rules = quiet_rules(vec![rule]);
    let mut told = Vec::new();
    for &(ms, value) in readings {
        let notices = rules.evaluate(at(ms), |_| (value, None));
        told.extend(notices.iter().map(|notice| (notice.at_ms - WALL_MS, notice.change.name())));
    }
    told
}

const HIGH: Option<f64> = Some(0.95);
const LOW: Option<f64> = Some(0.1);

#[test]
fn an_alert_fires_after_its_time_and_is_over_after_the_same_time() {
    let rows: &[(Readings<'_>, &[(u64, &str)])] = &[
        (&[(0, LOW), (1_000, HIGH), (2_000, HIGH)], &[]),
        (&[(0, HIGH), (2_000, HIGH), (3_000, HIGH), (4_000, HIGH)], &[(3_000, "firing")]),
        // A dip starts the time again.
        (&[(0, HIGH), (2_000, LOW), (3_000, HIGH), (5_000, HIGH), (6_000, HIGH)], &[(6_000, "firing")]),
        // So does a peak while it fires.
        (
            &[(0, HIGH), (3_000, HIGH), (4_000, LOW), (6_000, HIGH), (7_000, LOW), (9_000, LOW)],
            &[(3_000, "firing")],
        ),
        (
            &[(0, HIGH), (3_000, HIGH), (4_000, LOW), (7_000, LOW), (8_000, LOW)],
            &[(3_000, "firing"), (7_000, "resolved")],
        ),
        // An unknown value crosses no bound.
        (&[(0, None), (9_000, None)], &[]),
        (
            &[(0, HIGH), (3_000, HIGH), (4_000, None), (7_000, None)],
            &[(3_000, "firing"), (7_000, "resolved")],
        ),
        (&[(0, Some(f64::NAN)), (9_000, Some(f64::INFINITY))], &[]),
    ];
    for (readings, expected) in rows {
        assert_eq!(told(rule(AlertBound::Above(0.9), 3_000, 0), readings), *expected, "{readings:?}");
    }
}

#[test]
fn without_a_time_it_fires_and_ends_at_once_and_on_the_other_side_as_well() {
    let readings = [(0, HIGH), (1_000, LOW), (2_000, HIGH)];
    assert_eq!(
        told(rule(AlertBound::Above(0.9), 0, 0), &readings),
        [(0, "firing"), (1_000, "resolved"), (2_000, "firing")]
    );
    assert_eq!(told(rule(AlertBound::Below(0.5), 0, 0), &readings), [(1_000, "firing"), (2_000, "resolved")]);
}

#[test]
fn a_cool_down_delays_what_still_fires_and_swallows_what_is_over() {
    let flapping = [(0, HIGH), (1_000, LOW), (2_000, HIGH), (3_000, LOW), (11_000, LOW)];
    assert_eq!(
        told(rule(AlertBound::Above(0.9), 0, 10_000), &flapping),
        [(0, "firing"), (1_000, "resolved")]
    );
    let lasting = [(0, HIGH), (1_000, LOW), (2_000, HIGH), (9_999, HIGH), (10_000, HIGH), (12_000, LOW)];
    assert_eq!(
        told(rule(AlertBound::Above(0.9), 0, 10_000), &lasting),
        [(0, "firing"), (1_000, "resolved"), (10_000, "firing"), (12_000, "resolved")]
    );
}

#[test]
fn the_history_has_what_the_cool_down_kept_quiet_and_is_bounded() {
    let mut rules = quiet_rules(vec![rule(AlertBound::Above(0.9), 0, 1_000_000)]);
    for second in 0..(2 * ALERT_HISTORY_MAX as u64) {
        rules.evaluate(at(second * 1_000), |_| (if second % 2 == 0 { HIGH } else { LOW }, None));
    }
    let status = rules.status();
    let history = status["history"].as_array().expect("a list");
    assert_eq!(history.len(), ALERT_HISTORY_MAX);
    let last_ms = WALL_MS + (2 * ALERT_HISTORY_MAX as u64 - 1) * 1_000;
    assert_eq!((&history[0]["at_ms"], &history[0]["state"]), (&json!(last_ms), &json!("resolved")));
    assert_eq!(history[1]["state"], "firing");
}

#[test]
fn the_status_names_what_fires() {
    let mut rules = quiet_rules(vec![rule(AlertBound::Above(0.9), 0, 0)]);
    assert_eq!(rules.status(), json!({ "active": [], "history": [] }));
    rules.evaluate(at(5_000), |metric| ((metric == "memory_share").then_some(0.95), None));
    assert_eq!(rules.firing_count(), 1);
    assert_eq!(
        rules.status()["active"],
        json!([{
            "name": "x", "severity": "warning", "since_ms": WALL_MS + 5_000, "value": 0.95, "threshold": 0.9,
            "text": "resident memory as a share of its limit is 95 %, above 90 %",
        }])
    );
    assert_eq!(rules.status()["history"][0]["value_text"], "95 %");
}

#[test]
fn replaced_rules_keep_their_state_and_gone_ones_are_over() {
    let kept = rule(AlertBound::Above(0.9), 0, 0);
    let gone = AlertRule { name: "gone".to_owned(), ..kept.clone() };
    let mut rules = quiet_rules(vec![gone, kept.clone()]);
    assert_eq!(rules.evaluate(at(0), |_| (HIGH, None)).len(), 2);
    let raised = AlertRule { name: "raised".to_owned(), bound: AlertBound::Above(0.99), ..kept.clone() };
    let kept = AlertRule { cooldown_ms: 9, severity: Severity::Info, ..kept };
    let notices = rules.replace(vec![kept, raised], at(1_000));
    let words: Vec<_> = notices.iter().map(|notice| (notice.rule.name.as_str(), notice.change)).collect();
    assert_eq!(words, [("gone", AlertChange::Resolved)]);
    assert_eq!(rules.evaluate(at(2_000), |_| (HIGH, None)), []);
    assert_eq!(rules.firing_count(), 1);
    assert_eq!(rules.status()["active"][0]["severity"], "info");
}

#[test]
fn messages_say_the_same_as_text_json_variables_and_mail() {
    let rule = AlertRule { name: "memory_high".to_owned(), ..rule(AlertBound::Above(0.9), 0, 0) };
    let firing = AlertNotice {
        rule,
        change: AlertChange::Firing,
        value: Some(0.95),
        why: None,
        at_ms: 5_000,
        since_ms: 5_000,
    };
    let resolved =
        AlertNotice { change: AlertChange::Resolved, value: None, at_ms: 65_000, ..firing.clone() };
    assert_eq!(
        firing.text("web1"),
        "warning alert memory_high on web1: resident memory as a share of its limit is 95 %, above 90 %"
    );
    assert_eq!(
        resolved.text("web1"),
        "resolved alert memory_high on web1 after 60 s: resident memory as a share of its limit is unknown, \
         allowed up to 90 %"
    );
    let json = firing.json("a<b>&c");
    assert!(json["text"].as_str().expect("a text").contains("on a&lt;b&gt;&amp;c: "), "{json}");
    assert_eq!(
        (&json["state"], &json["value"], &json["threshold"]),
        (&json!("firing"), &json!(0.95), &json!(0.9))
    );
    let variables = resolved.variables("web1");
    let variable =
        |name: &str| variables.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str());
    assert_eq!(variable("ALERT_NAME"), Some("memory_high"));
    assert_eq!(variable("ALERT_STATE"), Some("resolved"));
    assert_eq!(variable("ALERT_VALUE"), Some(""));
    assert_eq!(variable("ALERT_TEXT"), Some(resolved.text("web1").as_str()));
    let why = Some("worker_late: worker 2".to_owned());
    let rule = AlertRule {
        metric: metric_named("ready").expect("in the table"),
        bound: AlertBound::Below(1.0),
        ..resolved.rule
    };
    let not_ready = AlertNotice { rule, value: Some(0.0), why, ..firing.clone() };
    assert_eq!(
        not_ready.text("web1"),
        "warning alert memory_high on web1: readiness is no (worker_late: worker 2)"
    );
    let torn = AlertNotice { why: Some("a\nBcc: x".to_owned()), ..not_ready };
    assert!(
        !torn.text("web1").contains('\n') && torn.mail(&[], "web1").lines().all(|line| line != "Bcc: x)")
    );
    let mail = firing.mail(&["a@example.org".to_owned(), "root".to_owned()], "web1");
    let (head, body) = mail.split_once("\n\n").expect("a head and a body");
    assert!(
        head.starts_with("To: a@example.org, root\nSubject: [fanwheel] warning alert memory_high on web1")
    );
    assert!(body.contains("\nthreshold: 0.9\n") && !body.contains("text:"), "{body}");
}
