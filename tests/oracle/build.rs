// SPDX-License-Identifier: GPL-2.0-only

//! Puts the kept regressions into the program, which runs where there are no files.

use std::fmt::Write;
use std::path::Path;
use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let var = |name| std::env::var_os(name).unwrap_or_default();
    let folder = Path::new(&var("CARGO_MANIFEST_DIR")).join("regressions");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    let mut code = String::from("const REGRESSIONS: &[(&str, &str)] = &[\n");
    for file in &files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let _ = writeln!(
            code,
            "    ({name:?}, include_str!({:?})),",
            file.display().to_string()
        );
    }
    code.push_str("];\n");
    std::fs::write(Path::new(&var("OUT_DIR")).join("regressions.rs"), code)
}
