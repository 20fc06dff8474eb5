// SPDX-License-Identifier: GPL-2.0-only

//! A process in which one user's steps are done: with descriptors, mappings and a umask of its own.
//!
//! It is a copy of this one, so it knows the script, and is told a step by its number.

use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::panic::catch_unwind;
use std::panic::AssertUnwindSafe;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::waitpid;
use rustix::process::Pid;
use rustix::process::WaitOptions;

use super::Outcome;
use super::Session;
use crate::side::Side;
use crate::step::User;
use crate::sys;
use crate::sys::queue::Queues;

/// In the place of a number: the process is to end.
const END: u32 = u32::MAX;

pub struct Process {
    pub user: User,
    pid: Pid,
    socket: UnixStream,
}

impl Process {
    /// Starts it. Nothing is open that it could keep open.
    pub fn start(side: &Side<'_>, user: User) -> io::Result<Self> {
        let (socket, other) = UnixStream::pair()?;
        if let Some(pid) = sys::fork()? {
            return Ok(Process { user, pid, socket });
        }
        // What the copied stack owns is not this process's to take down.
        drop(socket);
        let served = catch_unwind(AssertUnwindSafe(|| serve(other, side, user)));
        std::process::exit(i32::from(!matches!(served, Ok(Ok(())))));
    }

    /// Has a step of the script done.
    pub fn run(&mut self, index: usize) -> Outcome {
        match self.ask(index) {
            Ok(outcome) => outcome,
            Err(error) => panic!("the process of {:?} is gone: {error}", self.user),
        }
    }

    fn ask(&mut self, index: usize) -> io::Result<Outcome> {
        write_number(&mut self.socket, as_number(index)?)?;
        let errno = i32::from_ne_bytes(read_number(&mut self.socket)?.to_ne_bytes());
        let text = read_text(&mut self.socket)?;
        let seen = read_text(&mut self.socket)?;
        let result = match errno {
            0 => Ok(text),
            errno => Err(Errno::from_raw_os_error(errno)),
        };
        Ok(Outcome { result, seen })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself. Its end of the socket is held by those that came later as well.
        let _ = write_number(&mut self.socket, END);
        let _ = waitpid(Some(self.pid), WaitOptions::empty());
    }
}

/// Does what is asked, until it is told to end.
fn serve(mut socket: UnixStream, side: &Side<'_>, user: User) -> io::Result<()> {
    rustix::process::umask(Mode::from_raw_mode(match user {
        User::Root => 0o022,
        User::Alice => 0o027,
        User::Bob => 0o002,
    }));
    let queues = Queues::default();
    let mut session = Session::new(side, &queues);
    loop {
        let index = read_number(&mut socket)?;
        if index == END {
            return Ok(());
        }
        let outcome = session.run(side.script, usize::try_from(index).unwrap_or(usize::MAX));
        let (errno, text) = match &outcome.result {
            Ok(text) => (0, text.as_str()),
            Err(error) => (error.raw_os_error(), ""),
        };
        let mut reply = errno.to_ne_bytes().to_vec();
        for part in [text, &outcome.seen] {
            reply.extend(as_number(part.len())?.to_ne_bytes());
            reply.extend(part.as_bytes());
        }
        socket.write_all(&reply)?;
    }
}

fn as_number(count: usize) -> io::Result<u32> {
    u32::try_from(count).map_err(io::Error::other)
}

fn write_number(socket: &mut UnixStream, number: u32) -> io::Result<()> {
    socket.write_all(&number.to_ne_bytes())
}

fn read_number(socket: &mut UnixStream) -> io::Result<u32> {
    let mut number = [0; 4];
    socket.read_exact(&mut number)?;
    Ok(u32::from_ne_bytes(number))
}

fn read_text(socket: &mut UnixStream) -> io::Result<String> {
    let length = read_number(socket)?;
    let mut text = String::new();
    let read = socket.take(length.into()).read_to_string(&mut text)?;
    if read != usize::try_from(length).unwrap_or(usize::MAX) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(text)
}
