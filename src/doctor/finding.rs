//! A finding of the doctor: value, need, verdict, reason and remedy, as text and as JSON.
//!
//! Knows neither hosts nor proxies. Values may come from a stranger's server, so they are escaped.

use std::fmt::Write;

use serde::Serialize;

use crate::base::logfmt::EscapedText;

/// Columns of the widest key and value to which the table is aligned; wider ones stick out.
const KEY_COLUMNS_MAX: usize = 44;
const VALUE_COLUMNS_MAX: usize = 28;

/// The judgement of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// The value is good enough.
    Ok,
    /// Something will go wrong: the exit code is 1.
    Bad,
    /// The value could be better, or matters only in some cases.
    Note,
    /// The value could not be read, or does not exist here.
    Unknown,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// The key of a setting or the name of a check.
    pub(crate) key: String,
    /// Unit of the values; empty for none.
    pub(crate) unit: String,
    /// The value that was found.
    pub(crate) found: String,
    /// The value that is needed; empty where nothing is judged.
    pub(crate) needed: String,
    /// The judgement of the value.
    pub(crate) verdict: Verdict,
    /// The trouble that a bad value causes.
    pub(crate) why: String,
    /// The price of the remedy; empty for none.
    pub(crate) price: String,
    /// Remedies, a line each; empty when there is nothing to do.
    pub(crate) fix: Vec<String>,
}

/// Returns whether no finding is bad.
pub(crate) fn is_fine(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.verdict != Verdict::Bad)
}

/// Writes a table with a line for each finding, and reason and remedy below those that are not good.
pub(crate) fn text(findings: &[Finding]) -> String {
    let width = |field: fn(&Finding) -> &str, most: usize| {
        findings.iter().map(|finding| field(finding).chars().count()).filter(|&width| width <= most).max()
    };
    let keys = width(|finding| &finding.key, KEY_COLUMNS_MAX).unwrap_or(0);
    let values = width(|finding| &finding.found, VALUE_COLUMNS_MAX).unwrap_or(0);
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
