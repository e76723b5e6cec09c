//! Latencies in buckets that are 3 % wide: small to keep, quick to fill, easy to add up over processes.
//!
//! The server's histograms in `base` cannot serve here, nor these there: those have one writer and readers in
//! other threads, and buckets that Prometheus gets as they are. They read a percentile right to a third,
//! which is too coarse for a comparison, while 2 048 buckets for each distribution of each worker would be
//! wasted there.

/// The binary logarithm of the sub-buckets in each power of two.
const FINE_BITS: u32 = 5;
const FINE: u64 = 1 << FINE_BITS;
const BUCKETS: usize = 64 * FINE as usize;
/// The greatest width of a bucket as a share of its values, which is the precision of a percentile.
pub const BUCKET_SHARE: f64 = 1.0 / FINE as f64;

/// Latencies in microseconds, counted by bucket.
#[derive(Clone)]
pub struct LatencyHistogram {
    counts: Vec<u64>,
    max: u64,
}

impl Default for LatencyHistogram {
    fn default() -> LatencyHistogram {
        LatencyHistogram { counts: vec![0; BUCKETS], max: 0 }
    }
}

fn bucket_of(micros: u64) -> usize {
    let shift = (63 - (micros | 1).leading_zeros()).saturating_sub(FINE_BITS);
    (u64::from(shift) * FINE + (micros >> shift)) as usize
}

/// Returns the largest value of a bucket.
fn bucket_end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * FINE {
        return bucket;
    }
    let shift = bucket / FINE - 1;
    ((bucket % FINE + FINE + 1) << shift) - 1
}

impl LatencyHistogram {
    /// Counts one latency in microseconds.
    pub fn add(&mut self, micros: u64) {
        self.counts[bucket_of(micros)] += 1;
        self.max = self.max.max(micros);
    }

    /// Adds the counts of another histogram.
    pub fn merge(&mut self, other: &LatencyHistogram) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.max = self.max.max(other.max);
    }

    /// Returns the number of values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the value that a share of all values does not exceed, in milliseconds.
    pub fn ms(&self, share: f64) -> f64 {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return bucket_end(bucket).min(self.max) as f64 / 1_000.0;
            }
        }
        0.0
    }

    /// Returns the largest value, in milliseconds.
    pub fn max_ms(&self) -> f64 {
        self.max as f64 / 1_000.0
    }

    /// Writes the histogram as text without spaces.
    pub fn to_text(&self) -> String {
        let mut text = self.max.to_string();
        for (bucket, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            text.push_str(&format!(",{bucket}:{count}"));
        }
        text
    }

    /// Reads the text of [`LatencyHistogram::to_text`].
    pub fn from_text(text: &str) -> Option<LatencyHistogram> {
        let mut histogram = LatencyHistogram::default();
        let mut parts = text.split(',');
        histogram.max = parts.next()?.parse().ok()?;
        for part in parts {
            let (bucket, count) = part.split_once(':')?;
            *histogram.counts.get_mut(bucket.parse::<usize>().ok()?)? = count.parse().ok()?;
        }
        Some(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_ends_where_the_next_begins_and_is_narrow() {
        for micros in (0..5_000).chain([1 << 20, (1 << 33) + 7]) {
            let end = bucket_end(bucket_of(micros));
            assert!(end >= micros && end <= micros + micros / 31, "{micros} in a bucket up to {end}");
            assert_eq!(bucket_of(end + 1), bucket_of(micros) + 1);
        }
    }

    #[test]
    fn text_form_keeps_everything() {
        let mut histogram = LatencyHistogram::default();
        (0..1_000).for_each(|micros| histogram.add(micros * micros));
        let copy = LatencyHistogram::from_text(&histogram.to_text()).expect("own text");
        assert_eq!((copy.count(), copy.ms(0.5), copy.max_ms()), (1_000, histogram.ms(0.5), 998.001));
    }
}
