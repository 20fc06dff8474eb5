// SPDX-License-Identifier: GPL-2.0-only

//! Files of an overlay as block devices.

use std::fs;

use crate::check::Result;
use crate::expect::content;
use crate::expect::data;
use crate::fixture::Fixture;
use crate::image;
use crate::image::Mode;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("loop_device_of_lower_file", "F1 F3 F10 L7", of_lower),
    Test::new("loop_device_writes_to_a_copy", "C1 C4 F3 F6 F8", writes),
];

/// A lower layer with a filesystem in a file, in which there is a file.
fn with_image(fx: &Fixture) -> Result<Layer> {
    let lower = fx.layer("lower")?;
    let image = lower.join("image");
    image::format(&image)?;
    let inside = fx.place("inside")?;
    image::mount(fx, &image, Mode::Writable, &inside)?;
    fs::write(inside.join("file"), "data")?;
    fx.unmount(&inside)?;
    Ok(lower)
}

fn of_lower(fx: &Fixture) -> Result {
    let (lower, upper) = (with_image(fx)?, fx.layer("upper")?);
    let ov = fx.upper(&upper, &[&lower])?;
    let inside = fx.place("inside")?;
    image::mount(fx, &ov.join("image"), Mode::ReadOnly, &inside)?;
    content(inside.join("file"), "data")?;
    fx.unmount(&inside)?;
    // What only reads copies nothing.
    crate::expect::lists::<&str>(upper.path(), &[])
}

fn writes(fx: &Fixture) -> Result {
    let (lower, upper) = (with_image(fx)?, fx.layer("upper")?);
    let before = fs::read(lower.join("image"))?;
    let ov = fx.upper(&upper, &[&lower])?;
    let inside = fx.place("inside")?;
    let big = sys::pattern(300_000, 5);
    for round in ["first", "second"] {
        image::mount(fx, &ov.join("image"), Mode::Writable, &inside)?;
        content(inside.join("file"), "data")?;
        fs::write(inside.join(round), &big)?;
        fx.unmount(&inside)?;
    }
    // What is seen through the overlay is what is in upper, and holds both.
    image::mount(fx, &upper.join("image"), Mode::ReadOnly, &inside)?;
    data(inside.join("first"), &big)?;
    data(inside.join("second"), &big)?;
    fx.unmount(&inside)?;
    data(lower.join("image"), &before)
}
