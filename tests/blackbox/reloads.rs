//! SIGHUP: one reload changes the log, alerts and classes of topics together, or nothing at all.

use crate::harness::{ConfigFile, Launch, SOON, Server, ms, poll_until, reload};

/// A configuration that sets the log's level, the bound of an alert, and the history of a class.
fn config(log_level: &str, above: usize, history_events: usize) -> String {
    format!(
        "log_level = '{log_level}'\n\
         [[alerts]]\nname = 'crowd'\nmetric = 'subscribers_open'\nabove = {above}\n\
         [[class]]\nname = 'prices'\ntopics = ['prices.*']\nhistory_events = {history_events}\n"
    )
}

/// Whether the log has debug lines: one of them tells each stray signal.
fn tells_debug_lines(server: &Server) -> bool {
    let lines = || server.log().matches("event=signal_ignored").count();
    let before = lines();
    server.signal("USR1");
    poll_until(ms(500), || (lines() > before).then_some(())).is_some()
}

fn is_firing(server: &Server) -> bool {
    server.get("/status").json()["alerts"]["active"][0]["name"] == "crowd"
}

/// The payload of the oldest event that the topic keeps.
fn oldest_kept(server: &Server) -> String {
    server.subscribe("topic=prices.eur&last=1000").event().data
}

fn setting(server: &Server, name: &str) -> serde_json::Value {
    server.get("/settings").json()[name]["value"].clone()
}

#[test]
fn one_reload_changes_log_alerts_and_classes_or_nothing() {
    let file = ConfigFile::new("reload-together", &config("info", 100, 50));
    let server = Launch::workers(2).set("config", &file.0).start();
    let _stream = server.subscribe("topic=a");
    server.publish_all("prices.eur", (0..10).map(|n| n.to_string()));
    assert_eq!((oldest_kept(&server).as_str(), is_firing(&server)), ("0", false));

    file.write(&config("debug", 0, 3));
    reload(&server, "event=reloaded setting=log_level was=info is=debug");
    assert_eq!(oldest_kept(&server), "7", "what is reported is in force");
    assert!(poll_until(SOON, || is_firing(&server).then_some(())).is_some(), "{}", server.log());
    assert!(tells_debug_lines(&server), "{}", server.log());

    let wanted = config("error", 100, 9);
    let contradictory = format!("history_topic_bytes_max = 5000\n{wanted}");
    let hidden = format!("{wanted}[[class]]\nname = 'b'\ntopics = ['prices.usd']\n");
    for (nth, (mistake, words)) in
        [(hidden, "prices.usd"), (contradictory, "; a restart applies both")].iter().enumerate()
    {
        file.write(mistake);
        reload(&server, "event=reload_refused");
        let log = server.log();
        let line = log.lines().rfind(|line| line.contains("event=reload_refused")).expect("awaited");
        assert!(line.contains(words), "{line}");
        assert_eq!(setting(&server, "log_level"), "debug");
        assert_eq!(server.metrics().get("reloads_refused"), nth as u64 + 1);
        server.publish("prices.eur", (10 + nth).to_string());
        assert_eq!(oldest_kept(&server), (8 + nth).to_string());
        assert!(is_firing(&server) && tells_debug_lines(&server), "{log}");
    }

    file.write(&config("error", 100, 9));
    reload(&server, "event=reloaded setting=log_level was=debug is=error");
    assert!(!tells_debug_lines(&server), "{}", server.log());
    assert_eq!(setting(&server, "log_level"), "error");
    assert!(poll_until(SOON, || (!is_firing(&server)).then_some(())).is_some());
}
