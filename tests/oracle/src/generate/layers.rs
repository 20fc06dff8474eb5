// SPDX-License-Identifier: GPL-2.0-only

//! Objects of layers. All layers draw from the same few names, so that they cover each other.

use super::DIRS;
use super::FILES;
use super::NODE;
use super::TARGETS;
use crate::random::Random;
use crate::script::Backing;
use crate::script::Kind;
use crate::script::Layer;
use crate::script::Object;
use crate::script::Setup;
use crate::script::Xattr;
use crate::text::Bytes;
use crate::text::Octal;

const FILE_MODES: [u32; 9] = [
    0o644, 0o644, 0o666, 0o600, 0o755, 0o4755, 0o2755, 0o400, 0o000,
];
const DIR_MODES: [u32; 6] = [0o755, 0o777, 0o777, 0o1777, 0o2775, 0o700];
const SIZES: [u64; 9] = [0, 0, 1, 100, 4095, 4096, 5000, 10_000, 70_000];

pub fn objects(random: &mut Random, setup: &Setup) -> Vec<(Layer, Object)> {
    let mut all = Vec::new();
    for number in 0..=setup.lowers {
        let layer = match number {
            0 => Layer::Upper,
            _ => Layer::Lower(number),
        };
        let count = match layer {
            // Most uppers begin empty, the others as an earlier run has left them.
            Layer::Upper if random.chance(60) || setup.upper_on == Backing::Small => 0,
            Layer::Upper => 1 + random.below(8),
            Layer::Lower(_) => 2 + random.below(12),
        };
        let mut made = Vec::new();
        let mut root = Object::new(".", Kind::Dir, *random.pick(&[0o755, 0o777, 0o1777]));
        root.age = random.below(100_000) as u32;
        made.push(root);
        let is_last = number == setup.lowers;
        for _ in 0..count {
            let path = super::path(random);
            add(random, setup, &mut made, &path, is_last);
        }
        all.extend(made.into_iter().map(|object| (layer, object)));
    }
    all
}

/// Adds an object and the directories it needs, unless one of the names is taken.
fn add(random: &mut Random, setup: &Setup, made: &mut Vec<Object>, path: &str, is_last: bool) {
    let kind_of = |made: &[Object], path: &str| {
        let found = made.iter().find(|object| object.path == path);
        found.map(|object| object.kind.clone())
    };
    let parents = path.match_indices('/').map(|(end, _)| &path[..end]);
    for parent in parents {
        match kind_of(made, parent) {
            Some(Kind::Dir) => {}
            Some(_) => return,
            None => {
                let object = object(random, setup, parent, Kind::Dir, is_last);
                made.push(object);
            }
        }
    }
    if kind_of(made, path).is_some() {
        return;
    }
    let mut kind = kind(random, made, path);
    // How much of a file with holes is copied is not the same on both sides, which counts where there is
    // little room.
    if matches!(kind, Kind::Sparse { .. }) && setup.upper_on == Backing::Small {
        kind = file(random);
    }
    let mut object = object(random, setup, path, kind, is_last);
    // The other form of a whiteout, which counts only in a directory that says so.
    if matches!(object.kind, Kind::File { size: 0, .. }) && random.chance(10) {
        object.xattrs = vec![private(setup, "whiteout", b"y")];
        let parent = path.rsplit_once('/').map_or(".", |(parent, _)| parent);
        if let Some(parent) = made.iter_mut().find(|object| object.path == parent) {
            let opaque = private(setup, "opaque", b"x");
            parent.xattrs.retain(|xattr| xattr.name != opaque.name);
            parent.xattrs.push(opaque);
        }
    }
    made.push(object);
}

fn kind(random: &mut Random, made: &[Object], path: &str) -> Kind {
    let name = path.rsplit('/').next().unwrap_or(path);
    let dice = random.below(100);
    if DIRS.contains(&name) {
        return match dice {
            0..=81 => Kind::Dir,
            82..=91 => Kind::Whiteout,
            92..=95 => file(random),
            _ => Kind::Symlink((*random.pick(&TARGETS)).to_owned()),
        };
    }
    if FILES.contains(&name) {
        return match dice {
            0..=68 => file(random),
            69..=74 => Kind::Sparse {
                size: 50_000,
                data_at: *random.pick(&[0, 8192, 40_960]),
            },
            75..=84 => Kind::Whiteout,
            85..=95 => hard_link(random, made),
            _ => Kind::Dir,
        };
    }
    if name == NODE {
        return match dice {
            0..=24 => Kind::Fifo,
            25..=44 => Kind::Socket,
            45..=59 => Kind::Char(1, 3),
            60..=74 => Kind::Char(240, 5),
            75..=84 => Kind::Block(240, 5),
            _ => Kind::Whiteout,
        };
    }
    match dice {
        0..=84 => Kind::Symlink((*random.pick(&TARGETS)).to_owned()),
        85..=92 => Kind::Whiteout,
        _ => file(random),
    }
}

fn file(random: &mut Random) -> Kind {
    Kind::File {
        size: *random.pick(&SIZES),
        fill: random.below(200) as u8,
    }
}

fn hard_link(random: &mut Random, made: &[Object]) -> Kind {
    let linkable: Vec<_> = made
        .iter()
        .filter(|object| !matches!(object.kind, Kind::Dir | Kind::HardLink(_) | Kind::Whiteout))
        .collect();
    if linkable.is_empty() {
        return file(random);
    }
    Kind::HardLink(random.pick(&linkable).path.clone())
}

fn object(random: &mut Random, setup: &Setup, path: &str, kind: Kind, is_last: bool) -> Object {
    let is_dir = kind == Kind::Dir;
    let mode = *random.pick(if is_dir {
        &DIR_MODES[..]
    } else {
        &FILE_MODES[..]
    });
    let mut object = Object::new(path, kind, mode);
    match object.kind {
        Kind::HardLink(_) => return object,
        Kind::Whiteout => {
            object.mode = Octal(0);
            return object;
        }
        _ => {}
    }
    object.uid = *random.pick(&[0, 0, 0, 1000, 1000, 1001]);
    object.gid = object.uid;
    object.age = random.below(100_000) as u32;
    if is_dir && !is_last && random.chance(12) {
        object.xattrs.push(private(setup, "opaque", b"y"));
    }
    while random.chance(15) {
        let xattr = xattr(random, setup, is_dir);
        if !object.xattrs.iter().any(|other| other.name == xattr.name) {
            object.xattrs.push(xattr);
        }
    }
    if matches!(object.kind, Kind::File { .. }) {
        object.append_only = random.chance(2);
        object.immutable = random.chance(2);
    }
    object
}

fn private(setup: &Setup, name: &str, value: &[u8]) -> Xattr {
    Xattr {
        name: format!("{}{name}", setup.private_prefix()),
        value: Bytes::from(value),
    }
}

fn xattr(random: &mut Random, setup: &Setup, is_dir: bool) -> Xattr {
    let plain = |name: &str, value: &[u8]| Xattr {
        name: name.to_owned(),
        value: Bytes::from(value),
    };
    match random.below(11) {
        0 => plain("user.a", b"1"),
        1 => plain("user.b", &[b'v'; 100]),
        2 => plain("trusted.t", b"t"),
        3 => plain("user.empty", b""),
        4 if !is_dir => plain("security.capability", &super::capability()),
        4 | 5 if is_dir => plain("system.posix_acl_default", &super::acl(random)),
        5 | 6 => plain("system.posix_acl_access", &super::acl(random)),
        7 => private(setup, "overlay.kept", b"escaped"),
        8 => private(setup, "unknown", b"hidden"),
        9 => plain("user.overlay.other", b"o"),
        _ => plain("trusted.overlay.other", b"o"),
    }
}
