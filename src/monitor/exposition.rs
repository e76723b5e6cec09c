//! The two text formats in which metrics are exposed: Prometheus 0.0.4 and OpenMetrics 1.0.
//!
//! Owns their grammar: names, suffixes, `HELP` and `TYPE`, numbers, the end. Knows no metric. Label values
//! are words of this program, never a user's text.

use std::fmt::Write;

use crate::base::histogram::Distribution;
use crate::base::snapshot::MetricsFormat;

/// A page of metrics that is being written.
#[derive(Debug)]
pub(crate) struct Exposition {
    out: String,
    format: MetricsFormat,
}

/// Bytes that a new page reserves.
const PAGE_BYTES: usize = 32 * 1_024;

impl Exposition {
    /// Begins an empty page.
    pub(crate) fn new(format: MetricsFormat) -> Exposition {
        Exposition { out: String::with_capacity(PAGE_BYTES), format }
    }

    /// Writes a counter without labels. `name` is without `_total`.
    pub(crate) fn counter(&mut self, name: &str, help: &str, value: impl Into<SampleValue>) {
        self.counters(name, help, "", [("", value)]);
    }

    /// Writes a counter for each value of one label. `name` is without `_total`.
    pub(crate) fn counters<T: AsRef<str>>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (T, impl Into<SampleValue>)>,
    ) {
        let announced = match self.format {
            MetricsFormat::Prometheus => format!("{name}_total"),
            MetricsFormat::OpenMetrics => name.to_owned(),
        };
        self.announce(&announced, "counter", help);
        self.samples(&format!("{name}_total"), label, values);
    }

    /// Writes a gauge without labels.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: impl Into<SampleValue>) {
        self.gauges(name, help, "", [("", value)]);
    }

    /// Writes a gauge for each value of one label.
    pub(crate) fn gauges<T: AsRef<str>>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (T, impl Into<SampleValue>)>,
    ) {
        self.announce(name, "gauge", help);
        self.samples(name, label, values);
    }

    /// Writes an info metric: always 1, with its content in a label. `name` is without `_info`.
    pub(crate) fn info(&mut self, name: &str, help: &str, label: &str, value: &str) {
        match self.format {
            MetricsFormat::Prometheus => self.announce(&format!("{name}_info"), "gauge", help),
            MetricsFormat::OpenMetrics => self.announce(name, "info", help),
        }
        self.samples(&format!("{name}_info"), label, [(value, 1_u64)]);
    }

    /// Writes a distribution. Its values have `units_per_second` to a second; 1 means plain numbers.
    pub(crate) fn histogram(&mut self, name: &str, help: &str, of: &Distribution, units_per_second: u64) {
        self.announce(name, "histogram", help);
        let bounds = of.scale.bounds();
        let mut published = of.scale.published().peekable();
        let mut below = 0;
        for (bucket, bound) in bounds.iter().enumerate() {
            below += of.counts.get(bucket).copied().unwrap_or(0);
            if published.next_if_eq(&bucket).is_some() {
                let bound = self.bound(*bound as f64 / units_per_second as f64);
                self.write(format_args!("{name}_bucket{{le=\"{bound}\"}} {below}\n"));
            }
        }
        let count = of.count();
        self.write(format_args!("{name}_bucket{{le=\"+Inf\"}} {count}\n"));
        self.write(format_args!(
            "{name}_sum {}\n{name}_count {count}\n",
            of.sum as f64 / units_per_second as f64
        ));
    }

    /// Ends the page and returns its text.
    pub(crate) fn finish(mut self) -> String {
        if self.format == MetricsFormat::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }

    /// Writes a bound of a bucket; OpenMetrics requires the form of a float.
    fn bound(&self, bound: f64) -> String {
        match self.format {
            MetricsFormat::OpenMetrics if bound.fract() == 0.0 => format!("{bound:.1}"),
            _ => bound.to_string(),
        }
    }

    fn announce(&mut self, name: &str, kind: &str, help: &str) {
        debug_assert!(!help.contains(['\n', '\\', '"']), "help is written as it is");
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn samples<T: AsRef<str>>(
        &mut self,
        name: &str,
        label: &str,
        values: impl IntoIterator<Item = (T, impl Into<SampleValue>)>,
    ) {
        for (of, value) in values {
            let (of, value) = (of.as_ref(), value.into());
            debug_assert!(!of.contains(['\n', '\\', '"']), "labels are words of this program");
            match label {
                "" => self.write(format_args!("{name} {}\n", value.0)),
                label => self.write(format_args!("{name}{{{label}=\"{of}\"}} {}\n", value.0)),
            }
        }
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.out.write_fmt(text).expect("writing to a String cannot fail");
    }
}

/// A sample's value as text.
#[derive(Debug)]
pub(crate) struct SampleValue(String);

impl From<u64> for SampleValue {
    fn from(value: u64) -> SampleValue {
        SampleValue(value.to_string())
    }
}

impl From<f64> for SampleValue {
    fn from(value: f64) -> SampleValue {
        SampleValue(value.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::histogram::HistogramScale;

    fn page(format: MetricsFormat) -> String {
        let mut page = Exposition::new(format);
        page.counter("x_accepted", "Things accepted.", 7_u64);
        page.counters("x_closed", "Things closed.", "reason", [("peer", 1_u64), ("reset", 2)]);
        page.gauge("x_uptime_seconds", "Time.", 1.5);
        page.info("x_build", "Always 1.", "version", "1.2.3");
        page.finish()
    }

    #[test]
    fn each_format_has_its_own_suffixes_and_end() {
        let prometheus = "# HELP x_accepted_total Things accepted.\n# TYPE x_accepted_total counter\n\
                          x_accepted_total 7\n\
                          # HELP x_closed_total Things closed.\n# TYPE x_closed_total counter\n\
                          x_closed_total{reason=\"peer\"} 1\nx_closed_total{reason=\"reset\"} 2\n\
                          # HELP x_uptime_seconds Time.\n# TYPE x_uptime_seconds gauge\n\
                          x_uptime_seconds 1.5\n\
                          # HELP x_build_info Always 1.\n# TYPE x_build_info gauge\n\
                          x_build_info{version=\"1.2.3\"} 1\n";
        assert_eq!(page(MetricsFormat::Prometheus), prometheus);
        let open = prometheus
            .replace("HELP x_accepted_total", "HELP x_accepted")
            .replace("TYPE x_accepted_total", "TYPE x_accepted")
            .replace("HELP x_closed_total", "HELP x_closed")
            .replace("TYPE x_closed_total", "TYPE x_closed")
            .replace("HELP x_build_info", "HELP x_build")
            .replace("TYPE x_build_info gauge", "TYPE x_build info");
        assert_eq!(page(MetricsFormat::OpenMetrics), open + "# EOF\n");
    }

    #[test]
    fn histograms_are_cumulative_and_in_seconds() {
        let of = Distribution::of(HistogramScale::Spans, &[10, 11, 70_000, u64::from(u32::MAX)]);
        let written = |format| {
            let mut page = Exposition::new(format);
            page.histogram("x_seconds", "Time.", &of, 1_000_000);
            page.finish()
        };
        let text = written(MetricsFormat::Prometheus);
        let bucket = |bound: &str| {
            let start = format!("x_seconds_bucket{{le=\"{bound}\"}} ");
            text.lines().find_map(|line| line.strip_prefix(&start)).map(str::to_owned)
        };
        let rows =
            [("0.00001", "1"), ("0.00002", "2"), ("0.05", "2"), ("0.1", "3"), ("1", "3"), ("+Inf", "4")];
        for (bound, expected) in rows {
            assert_eq!(bucket(bound).as_deref(), Some(expected), "{bound}\n{text}");
        }
        assert_eq!(bucket("0.000013"), None, "a bound between is not published");
        assert!(text.ends_with("x_seconds_sum 4295.037316\nx_seconds_count 4\n"), "{text}");
        assert!(written(MetricsFormat::OpenMetrics).contains("{le=\"1.0\"} 3"));
    }

    #[test]
    fn a_distribution_that_nobody_knows_has_all_of_its_buckets() {
        let mut page = Exposition::new(MetricsFormat::Prometheus);
        page.histogram("x", "Events.", &Distribution::of(HistogramScale::Sizes, &[]), 1);
        let text = page.finish();
        assert_eq!(text.lines().count(), 2 + HistogramScale::Sizes.bounds().len() + 3, "{text}");
        assert!(text.contains("x_bucket{le=\"50000\"} 0\n"), "{text}");
    }
}
