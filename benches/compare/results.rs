//! What was measured: all runs of all peers, their medians, and the tables for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use fanwheel::load::median::median;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::scenario::{Best, Figure, Scenario};

/// The yardstick that everything is held against.
const YARDSTICK: &str = "bare";

/// The runs of one peer in one scenario.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Runs {
    /// The values of each figure, run by run, by its name.
    pub figures: BTreeMap<String, Vec<f64>>,
    /// The failures, run by run; empty without any.
    pub troubles: Vec<String>,
    /// In how many runs the load said that itself was the limit.
    pub client_limited: usize,
}

impl Runs {
    /// Adds a run.
    pub fn add(&mut self, scenario: &Scenario, report: &Value, trouble: String) {
        for figure in scenario.figures {
            if let Some(value) = report.pointer(figure.pointer).and_then(Value::as_f64) {
                self.figures.entry(figure.name.to_owned()).or_default().push(value);
            }
        }
        let notes = report.pointer("/notes").and_then(Value::as_array).map_or(0, Vec::len);
        self.client_limited += usize::from(notes > 0);
        if !trouble.is_empty() {
            self.troubles.push(trouble);
        }
    }

    /// The median of a figure.
    pub fn median(&self, figure: &str) -> Option<f64> {
        median(self.figures.get(figure)?)
    }
}

/// All runs, by scenario and peer.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Results(pub BTreeMap<String, BTreeMap<String, Runs>>);

impl Results {
    /// The runs of a peer in a scenario.
    pub fn runs(&mut self, scenario: &str, peer: &str) -> &mut Runs {
        self.0.entry(scenario.to_owned()).or_default().entry(peer.to_owned()).or_default()
    }

    /// A median.
    pub fn median(&self, scenario: &str, peer: &str, figure: &str) -> Option<f64> {
        self.0.get(scenario)?.get(peer)?.median(figure)
    }

    /// The medians of a figure with the peers' names and titles, the best first.
    pub fn ranked<'a>(
        &self,
        scenario: &Scenario,
        figure: &Figure,
        peers: &'a [(String, String)],
    ) -> Vec<(f64, &'a str, &'a str)> {
        let value = |(name, title): &'a (String, String)| {
            Some((self.median(scenario.name, name, figure.name)?, name.as_str(), title.as_str()))
        };
        let mut rows: Vec<_> = peers.iter().filter_map(value).collect();
        rows.sort_by(|a, b| match figure.best {
            Best::Low => a.0.total_cmp(&b.0),
            Best::High => b.0.total_cmp(&a.0),
        });
        rows
    }

    /// One scenario's table: ratios in front, absolute numbers behind. `peers` gives order and titles.
    pub fn table(&self, scenario: &Scenario, peers: &[(String, String)]) -> String {
        let mut text = format!("{}: {}\n", scenario.name, scenario.about);
        let Some(all) = self.0.get(scenario.name) else { return text };
        for figure in scenario.figures {
            let base = self.median(scenario.name, YARDSTICK, figure.name);
            let _ = writeln!(text, "  {} ({})", figure.name, figure.unit);
            for (value, name, title) in self.ranked(scenario, figure, peers) {
                let runs = &all[name];
                let ratio = base.map_or("-".to_owned(), |base| format!("{:.2} ×", value / base));
                let _ = writeln!(
                    text,
                    "    {ratio:>9}  {title:<28} {:>12}{}{}",
                    shown(value),
                    spread(runs, figure),
                    if runs.client_limited > 0 { "  (the load was the limit)" } else { "" }
                );
            }
        }
        let absent = peers.iter().filter(|(name, _)| !all.contains_key(name));
        let absent: Vec<&str> = absent.map(|(_, title)| title.as_str()).collect();
        if !absent.is_empty() {
            let _ = writeln!(text, "  cannot do this: {}", absent.join(", "));
        }
        if let Some(other) = scenario.against {
            self.against(scenario, other, peers, &mut text);
        }
        for (name, title) in peers {
            let troubles = all.get(name).map(|runs| runs.troubles.as_slice()).unwrap_or_default();
            if let Some(first) = troubles.first() {
                let _ = writeln!(text, "  {title}: {first} ({} of its runs)", troubles.len());
            }
        }
        text
    }

    fn against(&self, scenario: &Scenario, other: &str, peers: &[(String, String)], text: &mut String) {
        let Some(figure) = scenario.figures.first() else { return };
        let _ = writeln!(text, "  {} against the same peer's in `{other}`", figure.name);
        for (name, title) in peers {
            let pair =
                self.median(scenario.name, name, figure.name).zip(self.median(other, name, figure.name));
            if let Some((value, base)) = pair {
                let _ = writeln!(text, "    {:>7.2} ×  {title}", value / base);
            }
        }
    }
}

/// The least and the most of a figure's runs.
fn spread(runs: &Runs, figure: &Figure) -> String {
    let values = runs.figures.get(figure.name).map(Vec::as_slice).unwrap_or_default();
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    if values.len() < 2 { String::new() } else { format!("  ({} to {})", shown(least), shown(most)) }
}

/// A number with as many digits as help.
pub fn shown(value: f64) -> String {
    fanwheel::base::number_text::short_number(value)
}
