//! What `doctor` has to say about one thing: found, needed, verdict, why, what to do; as text and as JSON.
//! Knows neither hosts nor proxies. What was found may come from a stranger's server, so it is escaped.

use std::fmt::Write;

use serde::Serialize;

use crate::base::logfmt::EscapedText;

/// Whether it is good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Good enough.
    Ok,
    /// Something will go wrong: the exit code is 1.
    Bad,
    /// It may be better, or matters only in some cases.
    Note,
    /// It could not be looked at, or does not exist here.
    Unknown,
}

/// One thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The key of a setting or the name of a check.
    pub key: String,
    /// Of the values; empty for none.
    pub unit: String,
    /// What there is.
    pub found: String,
    /// What there should be; empty where nothing is judged.
    pub needed: String,
    /// The judgement.
    pub verdict: Verdict,
    /// What goes wrong otherwise.
    pub why: String,
    /// What the remedy costs; empty for nothing.
    pub price: String,
    /// What to do about it, a line each; empty when there is nothing to do.
    pub fix: Vec<String>,
}

/// Whether nothing is bad.
pub fn is_fine(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.verdict != Verdict::Bad)
}

/// A table with a line for each finding, and reason and remedy below those that are not good.
pub fn text(findings: &[Finding]) -> String {
    let width = |field: fn(&Finding) -> &str, most: usize| {
        findings.iter().map(|finding| field(finding).chars().count()).filter(|&width| width <= most).max()
    };
    let keys = width(|finding| &finding.key, 44).unwrap_or(0);
    let values = width(|finding| &finding.found, 28).unwrap_or(0);
    let mut out = String::new();
    for finding in findings {
        let verdict = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Bad => "BAD",
            Verdict::Note => "note",
            Verdict::Unknown => "-",
        };
        let (key, found) = (EscapedText(&finding.key).to_string(), EscapedText(&finding.found).to_string());
        let mut line = format!("{verdict:<5} {key:<keys$}  {found:<values$}");
        if !finding.needed.is_empty() {
            push(&mut line, format_args!("  needed: {}", EscapedText(&finding.needed)));
        }
        if !finding.unit.is_empty() {
            push(&mut line, format_args!(" ({})", EscapedText(&finding.unit)));
        }
        push(&mut out, format_args!("{}\n", line.trim_end()));
        if matches!(finding.verdict, Verdict::Bad | Verdict::Note) {
            push(&mut out, format_args!("        why: {}\n", EscapedText(&finding.why)));
            for fix in &finding.fix {
                push(&mut out, format_args!("        fix: {}\n", EscapedText(fix)));
            }
            if !finding.price.is_empty() {
                push(&mut out, format_args!("        price: {}\n", EscapedText(&finding.price)));
            }
        }
    }
    out
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(verdict: Verdict) -> Finding {
        Finding {
            key: "net.x".to_owned(),
            unit: "things".to_owned(),
            found: "1\u{1b}[31m".to_owned(),
            needed: "2".to_owned(),
            verdict,
            why: "because".to_owned(),
            price: "an hour".to_owned(),
            fix: vec!["do this".to_owned(), "or that".to_owned()],
        }
    }

    #[test]
    fn only_what_is_not_good_has_reason_and_remedy() {
        assert_eq!(text(&[finding(Verdict::Ok)]), "ok    net.x  1\\x1b[31m  needed: 2 (things)\n");
        assert_eq!(
            text(&[finding(Verdict::Bad)]),
            "BAD   net.x  1\\x1b[31m  needed: 2 (things)\n        why: because\n\
             \x20       fix: do this\n        fix: or that\n        price: an hour\n"
        );
    }

    #[test]
    fn only_what_is_bad_is_not_fine() {
        let rows =
            [(Verdict::Ok, true), (Verdict::Note, true), (Verdict::Unknown, true), (Verdict::Bad, false)];
        for (verdict, expected) in rows {
            assert_eq!(is_fine(&[finding(Verdict::Ok), finding(verdict)]), expected, "{verdict:?}");
        }
    }
}
