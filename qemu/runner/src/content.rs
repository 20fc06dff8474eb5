// SPDX-License-Identifier: GPL-2.0-only

//! What the guest's root holds: busybox and its commands, init with its settings, the caller's
//! modules and files.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{bail, ensure, Context, Result};

use crate::initramfs::Tree;
use crate::spec::FileSpec;
use crate::terminal::WindowSize;

/// The guest's first process.
const INIT: &str = include_str!("../../init");

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
const GROUP: &str = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n";
const HOSTS: &str = "127.0.0.1 localhost rovl\n";

/// What the caller wants in the guest.
#[derive(Debug, Default)]
pub struct Content<'a> {
    pub busybox: PathBuf,
    pub modules: &'a [PathBuf],
    pub boot_modules: &'a [PathBuf],
    pub files: &'a [FileSpec],
    pub command: &'a [OsString],
    pub out: bool,
    pub kmemleak: bool,
    /// The size of the terminal that is connected to the command, if one is.
    pub interactive: Option<WindowSize>,
}

impl Content<'_> {
    /// Makes the tree.
    pub fn tree(&self) -> Result<Tree> {
        let mut tree = Tree::default();
        for directory in [
            "dev",
            "proc",
            "sys",
            "run",
            "root",
            "mnt",
            "out",
            "lib/modules",
        ] {
            tree.directory(directory, 0o755)?;
        }
        tree.directory("tmp", 0o1777)?;
        add_busybox(&mut tree, &self.busybox)?;
        tree.text("init", 0o755, INIT)?;
        tree.text("etc/passwd", 0o644, PASSWD)?;
        tree.text("etc/group", 0o644, GROUP)?;
        tree.text("etc/hosts", 0o644, HOSTS)?;
        tree.symlink("etc/mtab", "/proc/self/mounts")?;
        tree.text("rovl/command", 0o644, script(self.command))?;
        tree.text("rovl/settings", 0o644, self.settings()?)?;
        add_modules(&mut tree, "lib/modules", self.modules)?;
        add_modules(&mut tree, "rovl/boot", self.boot_modules)?;
        for file in self.files {
            tree.copy(&file.guest, &file.host, file.mode)?;
        }
        Ok(tree)
    }

    /// The variables that init reads.
    fn settings(&self) -> Result<String> {
        let mut names = Vec::new();
        for module in self.boot_modules {
            let name = file_name(module)?
                .to_str()
                .context("a module's name is not UTF-8")?;
            ensure!(
                !name.contains(char::is_whitespace),
                "a module's name has a space in it"
            );
            names.push(name);
        }
        let yes = |set: bool| if set { "yes" } else { "" };
        let size = self.interactive.unwrap_or_default();
        let terminal = std::env::var_os("TERM").unwrap_or_else(|| "vt102".into());
        let terminal = String::from_utf8_lossy(&quote(&terminal)).into_owned();
        Ok([
            format!("BOOT_MODULES='{}'", names.join(" ")),
            format!("OUT={}", yes(self.out)),
            format!("KMEMLEAK={}", yes(self.kmemleak)),
            format!("INTERACTIVE={}", yes(self.interactive.is_some())),
            format!(
                "ROWS={} COLUMNS={} TERMINAL={terminal}",
                size.rows, size.columns
            ),
            String::new(),
        ]
        .join("\n"))
    }
}

/// Adds busybox under each of its names.
fn add_busybox(tree: &mut Tree, busybox: &Path) -> Result<()> {
    tree.copy("bin/busybox", busybox, Some(0o755))?;
    let output = Command::new(busybox)
        .arg("--list-full")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", busybox.display()))?;
    let names =
        String::from_utf8(output.stdout).context("busybox lists names that are not UTF-8")?;
    ensure!(
        output.status.success() && !names.is_empty(),
        "{} lists no commands",
        busybox.display()
    );
    for name in names.lines().filter(|name| *name != "bin/busybox") {
        tree.symlink(name, "/bin/busybox")?;
    }
    Ok(())
}

fn add_modules(tree: &mut Tree, directory: &str, modules: &[PathBuf]) -> Result<()> {
    for (index, module) in modules.iter().enumerate() {
        let name = file_name(module)?;
        if modules[..index]
            .iter()
            .any(|other| other.file_name() == Some(name))
        {
            bail!("two modules have the name of {}", module.display());
        }
        tree.copy(Path::new(directory).join(name), module, Some(0o644))?;
    }
    Ok(())
}

fn file_name(path: &Path) -> Result<&OsStr> {
    path.file_name()
        .with_context(|| format!("{} has no file name", path.display()))
}

/// A shell script that becomes the command.
fn script(command: &[OsString]) -> Vec<u8> {
    let mut script = b"exec".to_vec();
    for word in command {
        script.push(b' ');
        script.extend(quote(word));
    }
    script.push(b'\n');
    script
}

/// The word as the shell takes it literally.
fn quote(word: &OsStr) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for byte in word.as_bytes() {
        match byte {
            b'\'' => quoted.extend(br"'\''"),
            other => quoted.push(*other),
        }
    }
    quoted.push(b'\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        let words = [
            "printf",
            "%s|",
            "plain",
            "two words",
            "it's",
            "$HOME `x` \\ \"",
            "",
            "a\nb",
        ];
        let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
        let script = OsString::from(String::from_utf8(script(&words)).unwrap());
        let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            "plain|two words|it's|$HOME `x` \\ \"||a\nb|"
        );
    }

    #[test]
    fn settings_are_shell_variables() {
        let modules = ["/x/virtio.ko".into(), "/x/9p.ko".into()];
        let content = Content {
            boot_modules: &modules,
            kmemleak: true,
            ..Content::default()
        };
        let settings = content.settings().unwrap();
        assert!(settings.contains("BOOT_MODULES='virtio.ko 9p.ko'\n"));
        assert!(settings.contains("KMEMLEAK=yes\n"));
        assert!(settings.contains("OUT=\n"));
    }

    #[test]
    fn modules_of_one_name_are_refused() {
        let modules = ["/x/overlay.ko".into(), "/y/overlay.ko".into()];
        let refusal = add_modules(&mut Tree::default(), "m", &modules[..]).unwrap_err();
        assert!(!refusal.to_string().is_empty());
    }
}
