//! Which vector instructions the kernels use, found out once.

use std::fmt;

#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Portable, Work};

/// A set of vector instructions that this machine has: there is no other way to come by one than to ask the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(Set);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Level {
    /// The fastest level of this machine.
    pub fn best() -> Self {
        Level::available().next().unwrap_or(Level(Set::Portable))
    }

    /// All levels of this machine, the fastest first. For tests and benches; who computes takes [`Level::best`].
    pub fn available() -> impl Iterator<Item = Level> {
        #[cfg(target_arch = "x86_64")]
        let sets = [Avx512::detect().map(Set::Avx512), Avx2::detect().map(Set::Avx2), Some(Set::Portable)];
        #[cfg(not(target_arch = "x86_64"))]
        let sets = [Some(Set::Portable)];
        sets.into_iter().flatten().map(Level)
    }

    /// Does `work` with these instructions.
    pub(crate) fn run<W: Work>(self, work: W) -> W::Output {
        use crate::simd::Simd as _;
        match self.0 {
            Set::Portable => Portable.vectorize(work),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(simd) => simd.vectorize(work),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(simd) => simd.vectorize(work),
        }
    }
}

/// A short name, for people: `avx512`.
impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Set::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => "avx512",
        })
    }
}
