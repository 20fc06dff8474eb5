// SPDX-License-Identifier: GPL-2.0-only

//! The terminal of an interactive guest: its size, and the raw mode in which every key reaches the
//! guest.

use anyhow::{Context, Result};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{isatty, tcgetattr, tcgetwinsize, tcsetattr, OptionalActions, Termios};

/// The key that ends the guest: Ctrl-].
pub const ESCAPE: u8 = 0x1d;

/// The end of input as a terminal's line discipline knows it: Ctrl-D.
pub const END_OF_INPUT: u8 = 0x04;

/// The size of a terminal in characters.
#[derive(Clone, Copy, Debug)]
pub struct WindowSize {
    pub rows: u16,
    pub columns: u16,
}

impl Default for WindowSize {
    fn default() -> Self {
        Self {
            rows: 24,
            columns: 80,
        }
    }
}

impl WindowSize {
    /// The size of the terminal on standard output, or the usual one where there is none.
    pub fn current() -> Self {
        match tcgetwinsize(stdout()) {
            Ok(size) if size.ws_row > 0 && size.ws_col > 0 => Self {
                rows: size.ws_row,
                columns: size.ws_col,
            },
            _ => Self::default(),
        }
    }
}

/// Raw mode, while this value lives. Without a terminal on standard input it does nothing.
#[must_use]
#[derive(Debug)]
pub struct RawMode {
    before: Option<Termios>,
}

impl RawMode {
    pub fn enter() -> Result<Self> {
        if !isatty(stdin()) {
            return Ok(Self { before: None });
        }
        let before = tcgetattr(stdin()).context("cannot read the terminal's mode")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Drain, &raw)
            .context("cannot set the terminal's mode")?;
        Ok(Self {
            before: Some(before),
        })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // There is nothing left to do about a terminal that has gone away.
            let _ = tcsetattr(stdin(), OptionalActions::Drain, before);
        }
    }
}
