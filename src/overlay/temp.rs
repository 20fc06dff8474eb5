// SPDX-License-Identifier: GPL-2.0-only

//! Names for what is being prepared in the work directory: `#` and a number. (C: `ovl_tempname`.)

#![forbid(unsafe_code)]

use kernel::sync::atomic::{
    ordering::Relaxed,
    Atomic, //
};

/// `#` and eight hexadecimal digits.
const MAX: usize = 9;

/// The last number that was given out. It may come round: the names do not live long.
static LAST: Atomic<u32> = Atomic::new(0);

/// A name that nothing else is being prepared under.
pub(super) struct TempName {
    bytes: [u8; MAX],
    len: usize,
}

impl TempName {
    /// The next name.
    pub(super) fn next() -> Self {
        Self::of(LAST.fetch_add(1, Relaxed).wrapping_add(1))
    }

    fn of(number: u32) -> Self {
        let digits = number.checked_ilog2().map_or(1, |bits| bits / 4 + 1);
        let mut bytes = [b'#'; MAX];
        let mut len = 1;
        for (place, digit) in bytes.iter_mut().skip(1).zip((0..digits).rev()) {
            *place = match number >> (digit * 4) & 0xf {
                // CAST: A single digit.
                low @ 0..=9 => b'0' + low as u8,
                // CAST: As above.
                high => b'a' + (high - 10) as u8,
            };
            len += 1;
        }
        Self { bytes, len }
    }

    /// The name.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}
