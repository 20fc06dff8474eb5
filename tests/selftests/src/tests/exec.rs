// SPDX-License-Identifier: GPL-2.0-only

//! Running programs from an overlay. The program is this one.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Output;
use std::process::Stdio;

use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::check;
use crate::check::Context;
use crate::check::Result;
use crate::fixture::Fixture;
use crate::fixture::Options;
use crate::helper::EXIT_STATUS;
use crate::layer::Layer;
use crate::registry::Test;
use crate::sys;

pub const TESTS: &[Test] = &[
    Test::new("exec_from_lower", "F1 F5", from_lower).on_disks_too(),
    Test::new("exec_from_upper", "F1 F5 M4", from_upper).on_disks_too(),
    Test::new("exec_by_symlink_across_layers", "D7 F1", by_symlink),
    Test::new("exec_proc_exe_is_overlay_path", "F1 F5", proc_exe),
    Test::new("exec_through_two_overlays", "F1 F5 F25 L7", through_two),
    Test::new("exec_script", "F1 F3", script),
    Test::new("exec_without_x_bit", "F15", without_x_bit),
    Test::new("exec_of_others", "F15 F1", of_others),
    Test::new("exec_by_user", "F15", by_user),
    Test::new("exec_unreadable_by_user", "F15 F22", unreadable_by_user),
    Test::new("exec_suid_bit_takes_effect", "F13 F15", suid),
    Test::new("exec_nosuid_mount", "M18", nosuid),
    Test::new("exec_noexec_mount", "M18 F5", noexec),
    Test::new("exec_in_chroot", "F1 F5", in_chroot),
];

/// Puts this program into the layer.
fn install(layer: &Layer, name: &str) -> Result {
    fs::copy("/proc/self/exe", layer.join(name)).context("copy the program")?;
    layer.chmod(name, 0o755)?;
    Ok(())
}

fn command(path: &Path, helper: &str) -> Command {
    let mut command = Command::new(path);
    command.args(["--helper", helper]).stdin(Stdio::null());
    command
}

/// Runs the program's `exit` helper.
fn exits(path: &Path) -> Result {
    let status = command(path, "exit").status().context("run")?;
    let expected = Some(i32::from(EXIT_STATUS));
    check::equal("exit status", status.code(), expected)
}

fn line(output: Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn from_lower(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    install(&bottom, "program")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    exits(&ov.join("program"))?;
    exits(&ov.join("program"))
}

fn from_upper(fx: &Fixture) -> Result {
    let (upper, lower) = (fx.layer("upper")?, fx.layer("lower")?);
    install(&upper, "program")?;
    lower.file("program", "not a program")?;
    let ov = fx.upper(&upper, &[&lower])?;
    exits(&ov.join("program"))
}

fn by_symlink(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.dir("bin")?;
    install(&bottom, "bin/program")?;
    top.symlink("sh", "bin/program")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    exits(&ov.join("sh"))
}

fn proc_exe(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    install(&bottom, "program")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let path = ov.join("program");
    let shown = line(command(&path, "exe").output()?);
    check::equal("/proc/self/exe", Path::new(&shown), &*path)
}

/// The overlay on top is what is seen, whichever type the one below is of.
fn through_two(fx: &Fixture) -> Result {
    let layers = fx.layers(3)?;
    install(&layers[2], "program")?;
    for fs_type in fx.module().both_types() {
        let options = Options::new().lowers(&layers[1..]);
        let inner = fx.mount_type(&fs_type, &options)?;
        let inner = Layer::create(inner.path().to_owned())?;
        let ov = fx.lowers(&[&layers[0], &inner])?;
        let path = ov.join("program");
        let shown = line(command(&path, "exe").output()?);
        check::equal(format_args!("on {fs_type}"), Path::new(&shown), &*path)?;
        exits(&path)?;
        fx.unmount(ov.path())?;
        fx.unmount(inner.path())?;
    }
    Ok(())
}

fn script(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    install(&bottom, "program")?;
    let point = fx.mount_point()?;
    // The one argument of the script line reaches the program in one piece.
    let first_line = format!("#!{}/program --helper=exit\n", point.display());
    // The path of the script is an argument too, which the program refuses: status 2 of clap.
    top.file("script", first_line)?.chmod("script", 0o755)?;
    fx.mount_at(&point, &Options::new().lowers(&[&top, &bottom]))?;
    let output = Command::new(point.join("script")).output()?;
    check::equal("exit status", output.status.code(), Some(2))?;
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    check::ok(
        message.contains("script"),
        format_args!("it said {message:?}"),
    )
}

fn without_x_bit(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    install(&bottom, "program")?;
    bottom.chmod("program", 0o666)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let result = command(&ov.join("program"), "exit").status();
    check::errno("no x bit, as root", result, Errno::ACCESS)
}

fn of_others(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom
        .dir("dir")?
        .file("text", "no program")?
        .file("empty", "")?;
    bottom.chmod("text", 0o755)?.chmod("empty", 0o755)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let run = |name: &str| Command::new(ov.join(name)).status();
    check::errno("dir", run("dir"), Errno::ACCESS)?;
    check::errno("text", run("text"), Errno::NOEXEC)?;
    check::errno("empty", run("empty"), Errno::NOEXEC)?;
    check::errno("missing", run("missing"), Errno::NOENT)
}

fn by_user(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    install(&bottom, "program")?;
    install(&bottom, "private")?;
    bottom.chmod("private", 0o700)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    sys::as_user(1000, 1000, &[], || {
        exits(&ov.join("program"))?;
        let result = command(&ov.join("private"), "exit").status();
        check::errno("private", result, Errno::ACCESS)
    })?
}

/// The right to execute is enough; the mounter's rights read the layer.
fn unreadable_by_user(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    install(&bottom, "program")?;
    bottom.chmod("program", 0o711)?;
    let ov = fx.lowers(&[&top, &bottom])?;
    sys::as_user(1000, 1000, &[], || {
        let result = sys::open_read(ov.join("program"));
        check::errno("open", result, Errno::ACCESS)?;
        exits(&ov.join("program"))
    })?
}

/// The effective user of the program when user 1000 runs it.
fn effective_user(path: &Path) -> Result<String> {
    let output = sys::as_user(1000, 1000, &[], || command(path, "euid").output())?;
    Ok(line(output.context("run")?))
}

fn suid(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    install(&bottom, "program")?;
    bottom.chown("program", 3333, 3333)?;
    bottom.chmod("program", 0o4755)?;
    install(&top, "plain")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    check::equal(
        "set-user-id",
        &*effective_user(&ov.join("program"))?,
        "3333",
    )?;
    check::equal("plain", &*effective_user(&ov.join("plain"))?, "1000")
}

fn nosuid(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    install(&bottom, "program")?;
    bottom.chown("program", 3333, 3333)?;
    bottom.chmod("program", 0o4755)?;
    let options = Options::new().lowers(&[&top, &bottom]);
    let ov = fx.mount(&options.mount_flags(MountFlags::NOSUID))?;
    check::equal(
        "set-user-id",
        &*effective_user(&ov.join("program"))?,
        "1000",
    )
}

fn noexec(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    install(&bottom, "program")?;
    let options = Options::new().lowers(&[&top, &bottom]);
    let ov = fx.mount(&options.mount_flags(MountFlags::NOEXEC))?;
    let result = command(&ov.join("program"), "exit").status();
    check::errno("run", result, Errno::ACCESS)?;
    let access = rustix::fs::access(ov.join("program"), rustix::fs::Access::EXEC_OK);
    check::errno("access", access, Errno::ACCESS)?;
    let fd = sys::open_read(ov.join("program"))?;
    let prot = rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::EXEC;
    let result = sys::Mapping::new(&fd, 4096, rustix::mm::MapFlags::PRIVATE, prot);
    check::errno("mmap PROT_EXEC", result.map(drop), Errno::PERM)
}

fn in_chroot(fx: &Fixture) -> Result {
    let (top, bottom) = (fx.layer("top")?, fx.layer("bottom")?);
    bottom.dir("bin")?;
    install(&bottom, "bin/program")?;
    top.dir("bin")?.symlink("bin/link", "/bin/program")?;
    let ov = fx.lowers(&[&top, &bottom])?;
    let status = sys::with_own_root(|| -> Result<ExitStatus> {
        rustix::process::chroot(ov.path())?;
        rustix::process::chdir("/")?;
        Command::new("/bin/link")
            .args(["--helper", "exit"])
            .arg0("renamed")
            .status()
            .context("run in the chroot")
    })??;
    let expected = Some(i32::from(EXIT_STATUS));
    check::equal("exit status", status.code(), expected)
}
