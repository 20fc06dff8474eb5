// SPDX-License-Identifier: GPL-2.0-only

//! Content of which it can be told whether it is whole: blocks that each repeat one word.

use anyhow::ensure;
use anyhow::Result;

/// Files grow and shrink by whole blocks. None crosses a page.
pub const BLOCK: usize = 512;

pub fn block(word: u64) -> Vec<u8> {
    word.to_ne_bytes().repeat(BLOCK / 8)
}

/// Fails unless each block is of one write, or a hole.
pub fn check(data: &[u8]) -> Result<()> {
    ensure!(
        data.len() % BLOCK == 0,
        "{} bytes are no whole blocks",
        data.len()
    );
    for (number, block) in data.chunks(BLOCK).enumerate() {
        let whole = block.chunks(8).all(|word| *word == block[..8]);
        ensure!(whole, "block {number} is of two writes");
    }
    Ok(())
}
