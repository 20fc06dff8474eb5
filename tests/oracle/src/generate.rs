// SPDX-License-Identifier: GPL-2.0-only

//! Makes a script from a seed: first what holds for all of it, then the layers, then the steps.

mod layers;
mod steps;
mod tree;

use crate::random::Random;
use crate::script::Backing;
use crate::script::Mapped;
use crate::script::Script;
use crate::script::Setup;

/// What scripts may be made of.
#[derive(Debug, Clone)]
pub struct Choices {
    pub steps: usize,
    pub backings: Vec<Backing>,
    /// Sets of mount options.
    pub options: Vec<String>,
}

/// Names that are directories, for the most part.
const DIRS: [&str; 2] = ["d", "e"];
/// Names that are files, for the most part.
const FILES: [&str; 4] = ["f", "g", "h", "x"];
/// The name of symbolic links.
const LINK: &str = "s";
/// The name of pipes, sockets and devices.
const NODE: &str = "n";

pub fn script(seed: u64, choices: &Choices) -> Script {
    let mut random = Random::new(seed);
    let mut setup = setup(&mut random, choices);
    // Drawn apart, so that the rest of a script is what it was before there were any.
    setup.processes = Random::new(!seed).chance(40);
    let objects = layers::objects(&mut random, &setup);
    let steps = steps::steps(&mut random, &setup, &objects, choices.steps);
    Script {
        setup,
        objects,
        steps,
    }
}

fn setup(random: &mut Random, choices: &Choices) -> Setup {
    // What costs no time comes most often.
    let weight = |backing: &Backing| match backing {
        Backing::Tmpfs => 7,
        Backing::Tmpfs2 | Backing::Small => 1,
        Backing::Ext4 | Backing::Xfs => 2,
    };
    let one = |random: &mut Random| {
        let index = random.weighted(choices.backings.iter().map(weight));
        choices.backings[index]
    };
    let upper_on = one(random);
    let lowers = match random.below(10) {
        0..=3 => 1,
        4..=6 => 2,
        7 | 8 => 3,
        _ => 4 + random.below(3),
    };
    let mut lowers_on = match random.below(10) {
        0..=6 => vec![upper_on],
        7 | 8 => vec![one(random)],
        _ => vec![one(random), one(random)],
    };
    for backing in &mut lowers_on {
        if *backing == Backing::Small {
            *backing = Backing::Tmpfs;
        }
    }
    let mapped = match random.below(100) {
        0..=5 => Some(Mapped::Overlay),
        6..=11 => Some(Mapped::Layers),
        _ => None,
    };
    Setup {
        upper_on,
        lowers_on,
        lowers,
        options: random.pick(&choices.options).clone(),
        watch: random.chance(35),
        mapped,
        processes: false,
    }
}

/// A path that layers and steps may have: directories by their names, then any name.
fn path(random: &mut Random) -> String {
    let mut path = String::new();
    while path.len() < 6 && random.chance(45) {
        path.push_str(DIRS[random.below(DIRS.len())]);
        path.push('/');
    }
    path.push_str(leaf(random));
    path
}

fn leaf(random: &mut Random) -> &'static str {
    match random.below(100) {
        0..=34 => DIRS[random.below(DIRS.len())],
        35..=81 => FILES[random.below(FILES.len())],
        82..=91 => LINK,
        _ => NODE,
    }
}

/// Where symbolic links lead.
const TARGETS: [&str; 9] = [
    "f", "d", "../f", "d/f", "missing", "s", "../d/g", ".", "e/x",
];

/// An access control list in the form of the attribute.
fn acl(random: &mut Random) -> Vec<u8> {
    const USER_OBJ: u16 = 1;
    const USER: u16 = 2;
    const GROUP_OBJ: u16 = 4;
    const GROUP: u16 = 8;
    const MASK: u16 = 16;
    const OTHER: u16 = 32;
    const NOBODY: u32 = u32::MAX;
    let entries: &[(u16, u16, u32)] = match random.below(4) {
        0 => &[
            (USER_OBJ, 7, NOBODY),
            (GROUP_OBJ, 5, NOBODY),
            (OTHER, 0, NOBODY),
        ],
        1 => &[
            (USER_OBJ, 6, NOBODY),
            (USER, 6, 1001),
            (GROUP_OBJ, 4, NOBODY),
            (MASK, 6, NOBODY),
            (OTHER, 0, NOBODY),
        ],
        2 => &[
            (USER_OBJ, 7, NOBODY),
            (USER, 0, 1000),
            (GROUP_OBJ, 7, NOBODY),
            (GROUP, 7, 1001),
            (MASK, 7, NOBODY),
            (OTHER, 7, NOBODY),
        ],
        // Not a valid one: there is no mask.
        _ => &[
            (USER_OBJ, 7, NOBODY),
            (USER, 7, 1000),
            (GROUP_OBJ, 7, NOBODY),
            (OTHER, 7, NOBODY),
        ],
    };
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&permissions.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    value
}

/// A file capability: `cap_net_bind_service=ep`.
fn capability() -> Vec<u8> {
    let mut value = 0x0200_0001_u32.to_le_bytes().to_vec();
    value.extend_from_slice(&0x400_u32.to_le_bytes());
    value.extend_from_slice(&[0; 12]);
    value
}
