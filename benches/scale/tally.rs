//! The counts of many subscribers, as a line of text between processes and as a sum over them.

use fanwheel::load::histogram::LatencyHistogram;

/// The counts.
#[derive(Default, Clone)]
pub struct Tally {
    /// Streams open now.
    pub open: u64,
    /// Streams that ended after their greeting.
    pub closed: u64,
    /// Of those, with the end of the chunked body.
    pub ends: u64,
    /// Connections that ended before a greeting.
    pub failed: u64,
    /// Answers other than 200.
    pub refused: u64,
    /// Events taken, repeats excluded.
    pub events: u64,
    /// Events missing between two others without a gap having been told.
    pub lost: u64,
    /// Events missing behind a gap event.
    pub told: u64,
    /// Events with a number not above the last one of their publisher.
    pub repeated: u64,
    /// Gap events.
    pub gaps: u64,
    /// Heartbeats.
    pub heartbeats: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Reads with a byte that may not stand where it stood.
    pub foreign: u64,
    /// The first such bytes.
    pub first_foreign: Option<String>,
    /// From publishing to reading.
    pub latency: LatencyHistogram,
    /// From connecting to the greeting.
    pub opening: LatencyHistogram,
}

impl Tally {
    fn counts(&mut self) -> [&mut u64; 13] {
        [
            &mut self.open,
            &mut self.closed,
            &mut self.ends,
            &mut self.failed,
            &mut self.refused,
            &mut self.events,
            &mut self.lost,
            &mut self.told,
            &mut self.repeated,
            &mut self.gaps,
            &mut self.heartbeats,
            &mut self.bytes,
            &mut self.foreign,
        ]
    }

    /// Starts anew, but keeps the counts of open streams and foreign events.
    pub fn forget(&mut self) {
        let Tally { open, foreign, ref mut first_foreign, .. } = *self;
        *self = Tally { open, foreign, first_foreign: first_foreign.take(), ..Tally::default() };
    }

    /// Adds another.
    pub fn add(&mut self, mut other: Tally) {
        for (mine, theirs) in self.counts().into_iter().zip(other.counts()) {
            *mine += *theirs;
        }
        self.latency.merge(&other.latency);
        self.opening.merge(&other.opening);
        self.first_foreign = self.first_foreign.take().or(other.first_foreign);
    }

    /// One line.
    pub fn to_text(&self) -> String {
        let mut copy = self.clone();
        let counts: Vec<String> = copy.counts().iter().map(|count| count.to_string()).collect();
        let foreign = self.first_foreign.as_deref().unwrap_or("");
        format!("{}|{}|{}|{foreign}", counts.join(" "), self.latency.to_text(), self.opening.to_text())
    }

    /// From that line.
    pub fn from_text(text: &str) -> Option<Tally> {
        let mut tally = Tally::default();
        let mut parts = text.splitn(4, '|');
        let counts: Vec<u64> = parts.next()?.split(' ').map_while(|count| count.parse().ok()).collect();
        let cells = tally.counts();
        if counts.len() != cells.len() {
            return None;
        }
        for (cell, count) in cells.into_iter().zip(counts) {
            *cell = count;
        }
        tally.latency = LatencyHistogram::from_text(parts.next()?)?;
        tally.opening = LatencyHistogram::from_text(parts.next()?)?;
        tally.first_foreign = parts.next().filter(|text| !text.is_empty()).map(str::to_owned);
        Some(tally)
    }
}
