//! What maps share: the CPUs that programs run on, and where randomness begins.

use std::num::NonZeroU32;

use crate::cpu::Cpus;

/// What maps of one runtime share; a cheap handle.
#[derive(Clone, Debug)]
pub struct World {
    cpus: Cpus,
    seed: u64,
}

impl World {
    /// A world with these CPUs, whose runs are alike: hash maps order keys always the same.
    pub fn new(cpus: Cpus) -> Self {
        Self { cpus, seed: 0x9e37_79b9_7f4a_7c15 }
    }

    /// A world with so many CPUs; with none it gets one.
    pub fn with_cpus(count: u32) -> Self {
        Self::new(Cpus::new(NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN)))
    }

    /// The same CPUs, with another beginning for randomness: for those who take keys from
    /// strangers, who must not guess which keys collide.
    pub fn with_seed(&self, seed: u64) -> Self {
        Self { cpus: self.cpus.clone(), seed }
    }

    /// The CPUs that programs run on.
    pub const fn cpus(&self) -> &Cpus {
        &self.cpus
    }

    /// Where randomness begins.
    pub const fn seed(&self) -> u64 {
        self.seed
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new(Cpus::available())
    }
}
