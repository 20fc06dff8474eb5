// SPDX-License-Identifier: GPL-2.0-only

//! How fast the processors' time stamp counter (TSC) counts. An emulated one shows the host's, and
//! the guest's kernel would have to time it against emulated clocks that a busy host delays: it
//! may be wrong by a factor, and all its time after that as well.

use std::thread;
use std::time::{Duration, Instant};

/// How long the counter is watched.
const WATCH: Duration = Duration::from_millis(50);

/// How many readings each end of the watch is chosen from.
const READINGS: usize = 16;

/// The counter's rate in kHz, where an emulated processor shows the host's counter.
pub fn emulated_khz() -> Option<u64> {
    let (begun, first) = reading()?;
    thread::sleep(WATCH);
    let (ended, last) = reading()?;
    let ticks = u128::from(last.checked_sub(first)?);
    let khz = ticks * 1_000_000 / (ended - begun).as_nanos().max(1);
    u64::try_from(khz).ok().filter(|khz| *khz > 0)
}

/// The counter at an instant. Of several readings the one that was the least interrupted.
fn reading() -> Option<(Instant, u64)> {
    let readings = (0..READINGS).map(|_| {
        let before = Instant::now();
        let count = count();
        (before.elapsed(), before, count)
    });
    let (_, at, count) = readings.min_by_key(|(took, ..)| *took)?;
    Some((at, count?))
}

#[cfg(target_arch = "x86_64")]
fn count() -> Option<u64> {
    // SAFETY: Every processor of this architecture has the instruction, and it changes nothing but
    // two registers. A system that forbids it to programs runs no emulator of QEMU's either.
    #[expect(unsafe_code, reason = "the counter is read by an instruction")]
    Some(unsafe { core::arch::x86_64::_rdtsc() })
}

/// QEMU counts nanoseconds here, or something of the host's own.
#[cfg(not(target_arch = "x86_64"))]
fn count() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn two_measurements_agree() {
        let (one, other) = (emulated_khz().unwrap(), emulated_khz().unwrap());
        assert!(one.abs_diff(other) < one / 100, "{one} and {other} kHz");
    }
}
