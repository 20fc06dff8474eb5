// SPDX-License-Identifier: GPL-2.0-only

//! Readers of one tree: what they see must be right at every moment.

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rovl_kit::kmod;
use rovl_kit::ktap::Passed;
use rovl_kit::mounts;
use rovl_kit::mounts::Overlay;
use rovl_kit::random::Random;
use rovl_kit::sys;
use rovl_kit::sys::Mapping;
use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mm::ProtFlags;

use crate::churn::Roots;
use crate::crew::Crew;
use crate::tree;
use crate::tree::Kind;
use crate::tree::Node;
use crate::tree::Tree;
use crate::Load;

/// Where the layers are, the topmost first, as far as the guest has such disks.
const BACKINGS: [&str; 3] = ["tmpfs", "ext4", "xfs"];

pub fn run(fs_type: &str, load: Load) -> Result<Passed> {
    let mut used = Vec::new();
    let mut layers = Vec::new();
    for kind in BACKINGS {
        if let Some(place) = mounts::backing(kind)? {
            for name in ["a", "b"] {
                let layer = place.join(name);
                std::fs::create_dir(&layer)?;
                layers.push(layer);
            }
            used.push(kind);
        }
    }
    let tree = tree::create(&layers, load.seed).context("make the layers")?;
    let overlay = Overlay::of(fs_type, &layers);
    let roots = Roots::new(&overlay)?;

    let crew = Crew::for_time(load.time);
    let mounted = Crew::for_time(load.time);
    std::thread::scope(|scope| {
        for number in 0..load.threads {
            let seed = load.seed * 1000 + number as u64;
            crew.start(scope, format!("reader {number}"), seed, |random| {
                read_something(&tree, &roots, random)
            });
        }
        mounted.start(scope, "mounting".to_owned(), load.seed, |random| {
            let result = roots.replace(&overlay, random);
            sleep(Duration::from_millis(random.below(50) as u64));
            result
        });
        crew.start(scope, "caches".to_owned(), load.seed, |random| {
            sleep(Duration::from_millis(100 + random.below(200) as u64));
            Ok(sys::drop_caches(1 + random.below(3) as u8)?)
        });
    });
    let steps = crew.finish()?;
    let mounts = mounted.finish()?;
    drop(roots);

    // With everything closed, nothing may hold the layers or the module.
    for kind in used {
        mounts::release(kind)?;
    }
    kmod::unload(fs_type)?;
    kmod::ensure_type(fs_type)?;
    Ok(Passed::Did(format!(
        "{} threads, {steps} steps, {mounts} mounts",
        load.threads
    )))
}

fn read_something(tree: &Tree, roots: &Roots, random: &mut Random) -> Result<()> {
    let root = roots.choose(random);
    if random.one_in(50) {
        return walk(tree, &root);
    }
    if random.one_in(8) && !tree.absent.is_empty() {
        let path = random.pick(&tree.absent);
        let seen = rustix::fs::statat(&*root, path, AtFlags::SYMLINK_NOFOLLOW);
        match seen {
            Err(Errno::NOENT) => {}
            Err(error) => bail!("{path} must not be there, and is refused: {error}"),
            Ok(_) => bail!("{path} is seen, and it must not be"),
        }
        return Ok(());
    }
    let node = random.pick(&tree.nodes);
    look_at(&root, node, random).with_context(|| node.path.clone())
}

/// Looks at every path in turn, as find does.
fn walk(tree: &Tree, root: &OwnedFd) -> Result<()> {
    for node in &tree.nodes {
        check_stat(root, node)?;
        if let Kind::Dir(names) = &node.kind {
            list(root, &node.path, names, 4096).with_context(|| node.path.clone())?;
        }
    }
    Ok(())
}

fn check_stat(root: &OwnedFd, node: &Node) -> Result<()> {
    let stat = rustix::fs::statat(root, &node.path, AtFlags::SYMLINK_NOFOLLOW)
        .with_context(|| format!("stat {}", node.path))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    ensure!(kind == node.kind.file_type(), "{} is {kind:?}", node.path);
    let size = match &node.kind {
        Kind::Dir(_) => return Ok(()),
        Kind::File(data) => data.len(),
        Kind::Link(target) => target.len(),
    };
    let found = stat.st_size;
    ensure!(found == size as i64, "{} has {found} bytes", node.path);
    Ok(())
}

fn look_at(root: &OwnedFd, node: &Node, random: &mut Random) -> Result<()> {
    check_stat(root, node)?;
    match &node.kind {
        Kind::Dir(names) => list(root, &node.path, names, 256 << random.below(8)),
        Kind::Link(target) => {
            let found = rustix::fs::readlinkat(root, &node.path, Vec::new())?;
            ensure!(
                found.to_bytes() == target.as_bytes(),
                "it points to {found:?}"
            );
            Ok(())
        }
        Kind::File(data) => {
            let file = open(root, &node.path, OFlags::RDONLY)?;
            let before = rustix::fs::fstat(&file)?;
            match random.below(4) {
                0 => map(file.as_fd(), data, random)?,
                1 => read_parts(file.as_fd(), data, random)?,
                _ => read_all(file.as_fd(), data)?,
            }
            let after = rustix::fs::fstat(&file)?;
            ensure!(before.st_ino == after.st_ino, "its inode number changed");
            Ok(())
        }
    }
}

fn open(root: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(root, path, flags, Mode::empty()).with_context(|| format!("open {path}"))
}

fn list(root: &OwnedFd, path: &str, names: &[String], buffer: usize) -> Result<()> {
    let dir = open(root, path, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let entries = sys::read_dir(&dir, buffer).context("list")?;
    let mut found: Vec<_> = entries
        .iter()
        .map(|entry| entry.name.to_string_lossy().into_owned())
        .collect();
    found.sort();
    ensure!(found == names, "listed are {found:?}, and not {names:?}");
    for entry in &entries {
        let wanted = if Path::new(&entry.name).to_string_lossy().starts_with("dir") {
            entry.kind == FileType::Directory
        } else {
            entry.kind == FileType::RegularFile || entry.kind == FileType::Symlink
        };
        ensure!(wanted, "{:?} is listed as {:?}", entry.name, entry.kind);
    }
    Ok(())
}

fn read_all(file: BorrowedFd<'_>, data: &[u8]) -> Result<()> {
    let mut found = vec![0; data.len() + 1];
    let mut at = 0;
    loop {
        match rustix::io::read(file, &mut found[at..]) {
            Ok(0) => break,
            Ok(length) => at += length,
            Err(Errno::INTR) => {}
            Err(error) => bail!("read at {at}: {error}"),
        }
    }
    ensure!(found[..at] == *data, "read is something else");
    Ok(())
}

fn read_parts(file: BorrowedFd<'_>, data: &[u8], random: &mut Random) -> Result<()> {
    let mut buffer = [0; 3000];
    for _ in 0..8 {
        let at = random.below(data.len() + 100);
        let length = rustix::io::pread(file, &mut buffer, at as u64).context("pread")?;
        let wanted = data.get(at..).unwrap_or_default();
        let wanted = &wanted[..wanted.len().min(buffer.len())];
        ensure!(
            buffer[..length] == *wanted,
            "read at {at} is something else"
        );
    }
    Ok(())
}

fn map(file: BorrowedFd<'_>, data: &[u8], random: &mut Random) -> Result<()> {
    if data.is_empty() {
        return Ok(());
    }
    let mapping = Mapping::new(file, data.len(), ProtFlags::READ).context("map")?;
    let mut found = [0; 512];
    for _ in 0..8 {
        let at = random.below(data.len());
        let wanted = &data[at..data.len().min(at + found.len())];
        let found = &mut found[..wanted.len()];
        mapping.read(at, found);
        ensure!(found == wanted, "mapped at {at} is something else");
    }
    Ok(())
}
