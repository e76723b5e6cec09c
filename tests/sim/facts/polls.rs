//! Facts about long polls.

use fanwheel::base::listener::ListenerKind;
use fanwheel::base::settings::Settings;

use super::{Bench, batch_of};

#[test]
fn one_answer_holds_the_state_its_end_and_the_changes_behind_it() {
    let line = |key: &str, data: u32| format!("{{\"topic\":\"t\",\"key\":\"{key}\",\"data\":\"{data}\"}}\n");
    let lines = [line("x", 1), line("y", 2), line("x", 3), line("x", 4)].concat();
    for (last, expected) in [(1, "2 | 4"), (2, "2 | 3 4"), (4, "| 1 2 3 4"), (9, "| 1 2 3 4")] {
        let mut bench = Bench::new(Settings::default());
        bench.connect(ListenerKind::Control, &batch_of(&lines));
        bench.turn(1);
        let request =
            format!("GET /events?topic=t&snapshot=1&last={last}&wait_ms=9000 HTTP/1.1\r\nHost: a\r\n\r\n");
        let poll = bench.connect(ListenerKind::Public, request.as_bytes());
        (0..3).for_each(|_| bench.turn(1));
        let text = bench.read(poll);
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let items: Vec<&str> = data.map(|data| if data.starts_with('{') { "|" } else { data }).collect();
        assert_eq!(items.join(" "), expected, "last={last}: {text}");
    }
}
