//! The nearest known name to a mistyped one. Knows words only.

/// The candidate that a slip of the finger most likely meant, whatever its case; none when nothing is near.
pub(crate) fn nearest<'a>(typed: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let typed: Vec<char> = typed.chars().take(64).map(|typed| typed.to_ascii_lowercase()).collect();
    let far = typed.len() / 3 + 1;
    candidates
        .map(|candidate| (distance(&typed, candidate), candidate))
        .filter(|(distance, _)| *distance <= far)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance, one row at a time.
fn distance(typed: &[char], candidate: &str) -> usize {
    let mut row: Vec<usize> = (0..=typed.len()).collect();
    for (line, c) in candidate.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for column in 1..row.len() {
            let changed = diagonal + usize::from(typed[column - 1] != c.to_ascii_lowercase());
            diagonal = row[column];
            row[column] = changed.min(row[column] + 1).min(row[column - 1] + 1);
        }
    }
    row[typed.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let names = ["heartbeat_ms", "head_ms", "listen", "history_ms"];
        let rows: &[(&str, Option<&str>)] = &[
            ("heartbeat", Some("heartbeat_ms")),
            ("hartbeat_ms", Some("heartbeat_ms")),
            ("heartbeat-ms", Some("heartbeat_ms")),
            ("lisen", Some("listen")),
            ("headms", Some("head_ms")),
            ("LISTEN", Some("listen")),
            ("HeartbeatMs", Some("heartbeat_ms")),
            ("colour_of_the_moon", None),
            ("", None),
        ];
        for (typed, expected) in rows {
            assert_eq!(nearest(typed, names.into_iter()), *expected, "{typed}");
        }
    }
}
