//! The report of a scenario: rows with an optional limit, printed as a table and as one line of JSON.

use serde_json::{Value, json};

/// The rows of one scenario.
pub struct Report {
    name: &'static str,
    rows: Vec<Row>,
}

struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    limit: Option<f64>,
}

impl Report {
    /// An empty report.
    pub fn new(name: &'static str) -> Report {
        Report { name, rows: Vec::new() }
    }

    /// A number that is good to know.
    pub fn row(&mut self, what: impl Into<String>, value: f64, unit: &'static str) {
        self.rows.push(Row { what: what.into(), value, unit, limit: None });
    }

    /// A number that must not exceed a limit.
    pub fn at_most(&mut self, what: impl Into<String>, value: f64, unit: &'static str, limit: f64) {
        self.rows.push(Row { what: what.into(), value, unit, limit: Some(limit) });
    }

    /// Adds a count that must be zero.
    pub fn none(&mut self, what: impl Into<String>, count: u64) {
        self.at_most(what, count as f64, "", 0.0);
    }

    /// Adds a count that must be exact; the row shows how many are missing or too many.
    pub fn exactly(&mut self, what: &str, got: u64, wanted: u64) {
        self.row(what, got as f64, "");
        self.none(format!("{what}: missing or too many"), got.abs_diff(wanted));
    }

    /// Prints it; true if every limit was kept.
    pub fn print(&self) -> bool {
        println!("\n== {}", self.name);
        for row in &self.rows {
            let limit = row.limit.map(|limit| format!("  limit {}", number(limit))).unwrap_or_default();
            let verdict = if row.kept() { "" } else { "  MISSED" };
            println!("{:<52} {:>14} {:<6}{limit}{verdict}", row.what, number(row.value), row.unit);
        }
        let rows: Vec<Value> = self.rows.iter().map(Row::to_json).collect();
        println!("{}", json!({ "scenario": self.name, "rows": rows }));
        self.rows.iter().all(Row::kept)
    }
}

impl Row {
    fn kept(&self) -> bool {
        self.limit.is_none_or(|limit| self.value <= limit)
    }

    fn to_json(&self) -> Value {
        let mut row = json!({ "what": self.what, "value": self.value, "unit": self.unit });
        if let Some(limit) = self.limit {
            row["limit"] = json!(limit);
            row["kept"] = json!(self.kept());
        }
        row
    }
}

/// Whole numbers without a fraction, others with as much as helps.
fn number(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value}")
    } else if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}
