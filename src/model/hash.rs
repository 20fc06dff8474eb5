// SPDX-License-Identifier: GPL-2.0-only

//! A keyed hash of names: SipHash-1-3.
//!
//! Names come from users, who could otherwise choose them so that all fall into one chain of a hash
//! table. The key has to be random and must not leave the kernel.

#![forbid(unsafe_code)]

/// The key of the hash.
#[derive(Clone, Copy)]
pub(crate) struct Seed {
    k0: u64,
    k1: u64,
}

impl Seed {
    /// Makes a key of random numbers.
    pub(crate) const fn new(k0: u64, k1: u64) -> Self {
        Self { k0, k1 }
    }

    /// Returns the hash of `bytes`.
    pub(crate) fn hash(self, bytes: &[u8]) -> u64 {
        let mut state = State {
            v0: self.k0 ^ 0x736f_6d65_7073_6575,
            v1: self.k1 ^ 0x646f_7261_6e64_6f6d,
            v2: self.k0 ^ 0x6c79_6765_6e65_7261,
            v3: self.k1 ^ 0x7465_6462_7974_6573,
        };

        let mut rest = bytes;
        while let Some((word, tail)) = rest.split_first_chunk::<8>() {
            state.compress(u64::from_le_bytes(*word));
            rest = tail;
        }

        // The last word holds what is left, and the length of all modulo 256 in its highest byte.
        let len = (bytes.len() as u64) << 56; // CAST: the higher bits are shifted out anyway.
        let last = rest
            .iter()
            .rev()
            .fold(0, |word, &byte| word << 8 | u64::from(byte));
        state.compress(len | last);
        state.finish()
    }
}

struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    fn compress(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.v0 ^= word;
    }

    fn finish(mut self) -> u64 {
        self.v2 ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
    }

    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.rotate_left(32);

        self.v2 = self.v2.wrapping_add(self.v1);
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::hash::DefaultHasher;
    use std::hash::Hasher;
    use std::vec::Vec;

    #[test]
    fn the_key_matters() {
        let hash = |k0, k1| Seed::new(k0, k1).hash(b"name");

        assert_ne!(hash(0, 0), hash(1, 0));
        assert_ne!(hash(0, 0), hash(0, 1));
    }

    proptest! {
        /// The standard library's hasher is SipHash-1-3 with a key of zero.
        #[test]
        fn agrees_with_the_standard_library(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut hasher = DefaultHasher::new();
            hasher.write(&bytes);
            prop_assert_eq!(Seed::new(0, 0).hash(&bytes), hasher.finish());
        }

        #[test]
        fn different_names_differ(a: Vec<u8>, b: Vec<u8>) {
            prop_assert_eq!(a == b, Seed::new(1, 2).hash(&a) == Seed::new(1, 2).hash(&b));
        }
    }
}
