//! Hostile input, made from real input: cut, flipped, spliced, overwritten; and plain noise.
//!
//! The same seed gives the same mutants on every machine.

use bpf_fuzz::Random;

/// How many mutants a test makes of each kind of input: 2,000, or what `BPFKIT_MUTANTS` says.
///
/// # Panics
///
/// Panics if the variable is set to something that is no number.
pub fn count() -> usize {
    std::env::var("BPFKIT_MUTANTS")
        .map_or(2_000, |text| text.parse().expect("BPFKIT_MUTANTS is a number"))
}

/// A generator of mutants.
#[derive(Clone, Debug)]
pub struct Mutator {
    random: Random,
}

/// Numbers that sit at the edges of formats.
const EDGES: [u64; 12] = [
    0,
    1,
    7,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0xffff_ffff_ffff_ffff,
];

impl Mutator {
    /// A generator that begins from `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { random: Random::new(seed) }
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.random.next()
    }

    /// A number below `end`; 0 if `end` is 0.
    pub const fn below(&mut self, end: usize) -> usize {
        self.random.below(end)
    }

    /// A mutant of `original`: one to eight changes, of which the last may cut it off.
    pub fn mutant(&mut self, original: &[u8]) -> Vec<u8> {
        let mut bytes = original.to_vec();
        for _ in 0..=self.below(8) {
            self.change(&mut bytes);
        }
        if self.below(4) == 0 {
            bytes.truncate(self.below(bytes.len() + 1));
        }
        bytes
    }

    /// Up to `most` bytes of noise.
    pub fn noise(&mut self, most: usize) -> Vec<u8> {
        let len = self.below(most + 1);
        (0..len).map(|_| self.byte()).collect()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        let Some(byte) = bytes.get_mut(at) else { return };
        match self.below(5) {
            0 => *byte ^= 1 << self.below(8),
            1 => *byte = self.byte(),
            2 => {
                // A number at an edge, in one of the usual widths.
                let width = 1 << self.below(4);
                let edge = EDGES[self.below(EDGES.len())].wrapping_sub(self.next() & 1);
                for (to, from) in bytes[at..].iter_mut().zip(edge.to_le_bytes()).take(width) {
                    *to = from;
                }
            }
            3 => {
                // A stretch of the input, copied elsewhere over itself.
                let (from, len) = (self.below(bytes.len()), 1 + self.below(64));
                let stretch: Vec<u8> = bytes[from..].iter().copied().take(len).collect();
                for (to, from) in bytes[at..].iter_mut().zip(stretch) {
                    *to = from;
                }
            }
            _ => {
                // A stretch left out.
                let end = bytes.len().min(at + 1 + self.below(16));
                bytes.drain(at..end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_mutants_and_another_does_not() {
        let original: Vec<u8> = (0..200).collect();
        let some = |seed| {
            let mut mutator = Mutator::new(seed);
            (0..50).map(|_| mutator.mutant(&original)).collect::<Vec<_>>()
        };
        assert_eq!(some(1), some(1));
        assert_ne!(some(1), some(2));
    }

    #[test]
    fn mutants_differ_from_what_they_were_made_from() {
        let original: Vec<u8> = (0..200).collect();
        let mut mutator = Mutator::new(3);
        let same = (0..1000).filter(|_| mutator.mutant(&original) == original).count();
        assert!(same < 50, "{same} of 1000 are unchanged");
        assert_eq!(mutator.mutant(&[]), [0_u8; 0]);
    }
}
