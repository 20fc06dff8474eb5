// SPDX-License-Identifier: GPL-2.0-only

//! Content of which it can be told whether it is whole: blocks that each repeat one word.

use anyhow::ensure;
use anyhow::Result;

/// Files grow and shrink by whole blocks. None crosses a page.
pub const BLOCK: usize = 512;

pub fn block(word: u64) -> Vec<u8> {
    word.to_ne_bytes().repeat(BLOCK / 8)
}

/// Fails unless each block is of one write, or a hole, which repeats 0.
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

/// Fails, naming the first block that differs, unless a file has what it should have.
pub fn compare(found: &[u8], wanted: &[u8]) -> Result<()> {
    ensure!(
        found.len() == wanted.len(),
        "{} bytes are there, and not {}",
        found.len(),
        wanted.len()
    );
    let pairs = found.chunks(BLOCK).zip(wanted.chunks(BLOCK));
    for (number, (found, wanted)) in pairs.enumerate() {
        ensure!(
            found == wanted,
            "block {number} begins with {:x?}, and should with {:x?}",
            &found[..8],
            &wanted[..8]
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        [block(1), block(0), block(7)].concat()
    }

    #[test]
    fn blocks_are_whole() {
        assert!(check(&file()).is_ok());
        let mut torn = file();
        torn[BLOCK + 100] = 1;
        assert!(check(&torn).is_err());
        assert!(check(&file()[1..]).is_err());
    }

    #[test]
    fn what_differs_is_told() {
        assert!(compare(&file(), &file()).is_ok());
        let mut other = file();
        other[3 * BLOCK - 1] = 1;
        let told = |found: &[u8]| compare(found, &file()).map_err(|error| error.to_string());
        assert!(told(&other).is_err_and(|error| error.starts_with("block 2 ")));
        assert!(told(&file()[..BLOCK]).is_err_and(|error| error.starts_with("512 bytes")));
    }
}
