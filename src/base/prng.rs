//! A small seeded generator for jitter: repeatable, not for secrets. The seed is an argument.

/// SplitMix64 (Steele, Lea, Flood 2014): one multiply chain a draw, any seed is good.
#[derive(Clone, Debug)]
pub struct Prng(u64);

impl Prng {
    /// A generator whose draws depend on nothing but the seed.
    pub fn new(seed: u64) -> Prng {
        Prng(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; 0 when the bound is 0. The bias is below 2⁻³² for bounds below 2³².
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// `value` moved by a uniform share of itself, up to `percent` in either direction.
    pub(crate) fn jittered(&mut self, value: u64, percent: u64) -> u64 {
        let span = value.saturating_mul(percent) / 100;
        value - span + self.below(2 * span + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_its_percent_and_uses_the_range() {
        let mut prng = Prng::new(1);
        let draws: Vec<u64> = (0..10_000).map(|_| prng.jittered(1_000, 20)).collect();
        assert!(draws.iter().all(|&d| (800..=1_200).contains(&d)));
        assert!(draws.iter().any(|&d| d < 820) && draws.iter().any(|&d| d > 1_180));
        assert_eq!(prng.jittered(0, 20), 0);
    }
}
