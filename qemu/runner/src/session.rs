// SPDX-License-Identifier: GPL-2.0-only

//! Watches a running guest until it ends: passes its output on, keeps its log, looks for reports,
//! keeps the limits.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::stdio::stdin;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::ports::Console;
use crate::qemu::Guest;
use crate::splat::{Detector, Splat};
use crate::terminal::{END_OF_INPUT, ESCAPE};

/// How often the guest's ports are looked at.
const TICK: Duration = Duration::from_millis(10);

/// How long a kernel may take to reboot after a panic, or to switch off after init has reported the
/// status.
const GRACE: Duration = Duration::from_secs(15);

/// How a guest ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// The command ended with this status.
    Exited(u8),
    /// Init could not do what was asked.
    Failed(String),
    /// The time limit struck.
    TimedOut,
    /// The machine went off without a status.
    Died,
    /// QEMU did not run; this is what it said.
    NotStarted(String),
    /// A signal to the runner ended it.
    Interrupted(i32),
    /// The user pressed the escape key.
    Escaped,
}

/// All there is to say about a guest that has ended.
#[derive(Debug)]
pub struct Outcome {
    pub ending: Ending,
    pub splat: Option<Splat>,
    /// How long it took until the command began.
    pub boot: Option<Duration>,
    pub total: Duration,
}

/// The signals that end the runner, noted for the loop to see.
#[derive(Clone, Debug)]
pub struct Signals(Arc<AtomicUsize>);

impl Signals {
    pub fn watch() -> Result<Self> {
        let flag = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register_usize(signal, Arc::clone(&flag), signal as usize)
                .context("cannot watch for signals")?;
        }
        Ok(Self(flag))
    }

    /// The signal that came, if one did.
    pub fn caught(&self) -> Option<i32> {
        i32::try_from(self.0.load(Ordering::Relaxed))
            .ok()
            .filter(|signal| *signal != 0)
    }
}

/// Where a guest's words go.
pub struct Sinks<'a> {
    /// The command's output.
    pub output: &'a mut dyn Write,
    /// The kernel's log.
    pub log: &'a mut dyn Write,
    /// The log once more, for people.
    pub echo: Option<&'a mut dyn Write>,
}

/// A guest under watch.
pub struct Session<'a> {
    guest: Guest,
    sinks: Sinks<'a>,
    signals: Signals,
    limit: Option<Duration>,
    begun: Instant,
    boot: Option<Duration>,
    detector: Detector,
    /// Init's last report and the start of an unfinished one.
    report: Option<Ending>,
    partial: Vec<u8>,
    /// When the guest must be gone, because it has said its last word.
    last_call: Option<Instant>,
    input_open: bool,
    log_seen: bool,
}

impl<'a> Session<'a> {
    pub fn new(guest: Guest, sinks: Sinks<'a>, signals: Signals, limit: Option<Duration>) -> Self {
        Self {
            guest,
            sinks,
            signals,
            limit,
            begun: Instant::now(),
            boot: None,
            detector: Detector::default(),
            report: None,
            partial: Vec::new(),
            last_call: None,
            input_open: true,
            log_seen: false,
        }
    }

    /// Watches the guest until it is gone.
    pub fn run(mut self) -> Result<Outcome> {
        let ending = loop {
            // Looked at before the ports, so that nothing sent before the end is missed.
            let ended = self.guest.ended()?;
            self.read_ports()?;
            if let Some(status) = ended {
                let errors = String::from_utf8_lossy(&self.guest.errors.read()?)
                    .trim()
                    .to_owned();
                let began = status.success() || self.log_seen;
                break if began {
                    Ending::Died
                } else {
                    Ending::NotStarted(errors)
                };
            }
            if let Some(ending) = self.must_end() {
                self.guest.kill()?;
                self.read_ports()?;
                break ending;
            }
            if let Some(ending) = self.wait()? {
                self.guest.kill()?;
                break ending;
            }
        };
        self.detector.finish();
        self.sinks.log.flush()?;
        // A status that init has reported stands, whatever the machine did after it. Not so when
        // the user cut it short.
        let cut = matches!(ending, Ending::Interrupted(_) | Ending::Escaped);
        let ending = if cut {
            ending
        } else {
            self.report.unwrap_or(ending)
        };
        Ok(Outcome {
            ending,
            splat: self.detector.into_splat(),
            boot: self.boot,
            total: self.begun.elapsed(),
        })
    }

    /// Why the guest must be ended now.
    fn must_end(&mut self) -> Option<Ending> {
        if let Some(signal) = self.signals.caught() {
            return Some(Ending::Interrupted(signal));
        }
        if self
            .limit
            .is_some_and(|limit| self.begun.elapsed() >= limit)
        {
            return Some(Ending::TimedOut);
        }
        if self.report.is_some() || self.detector.panicked() {
            let last_call = *self.last_call.get_or_insert_with(|| Instant::now() + GRACE);
            return (Instant::now() >= last_call).then_some(Ending::Died);
        }
        None
    }

    fn read_ports(&mut self) -> Result<()> {
        self.read_log()?;
        self.read_status()?;
        let output = match &mut self.guest.console {
            Console::Output(tail) => tail.read()?,
            Console::Terminal(socket) => read_available(socket)?,
        };
        if !output.is_empty() {
            self.sinks
                .output
                .write_all(&output)
                .context("cannot write the command's output")?;
            self.sinks
                .output
                .flush()
                .context("cannot write the command's output")?;
        }
        Ok(())
    }

    fn read_log(&mut self) -> Result<()> {
        let mut bytes = self.guest.log.read()?;
        if bytes.is_empty() {
            return Ok(());
        }
        self.log_seen = true;
        self.detector.feed(&bytes);
        // A terminal in raw mode needs the carriage returns that a file has no use for.
        let raw = matches!(self.guest.console, Console::Terminal(_));
        if let Some(echo) = self.sinks.echo.as_mut().filter(|_| raw) {
            echo.write_all(&bytes)?;
        }
        bytes.retain(|byte| *byte != b'\r');
        if let Some(echo) = self.sinks.echo.as_mut().filter(|_| !raw) {
            echo.write_all(&bytes)?;
        }
        self.sinks
            .log
            .write_all(&bytes)
            .context("cannot write the kernel's log")
    }

    fn read_status(&mut self) -> Result<()> {
        self.partial.extend(self.guest.status.read()?);
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            match parse_report(String::from_utf8_lossy(&line).trim_end()) {
                Report::Start => self.boot = Some(self.begun.elapsed()),
                Report::End(ending) => self.report = Some(ending),
            }
        }
        Ok(())
    }

    /// Waits until something may have happened. A terminal's keys go to the guest meanwhile.
    fn wait(&mut self) -> Result<Option<Ending>> {
        let Console::Terminal(socket) = &mut self.guest.console else {
            thread::sleep(TICK);
            return Ok(None);
        };
        // What comes before the command would be lost in the boot.
        let listening = self.input_open && self.boot.is_some();
        let tick = Timespec {
            tv_sec: 0,
            tv_nsec: TICK.as_nanos() as i64,
        };
        let socket_ready = PollFd::new(socket, PollFlags::IN);
        let input_ready = PollFd::from_borrowed_fd(stdin(), PollFlags::IN);
        let mut ready = [socket_ready, input_ready];
        let watched = if listening {
            &mut ready[..]
        } else {
            &mut ready[..1]
        };
        match poll(watched, Some(&tick)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for the terminal"),
        }
        if !listening || ready[1].revents().is_empty() {
            return Ok(None);
        }
        let mut keys = [0; 1024];
        let count = rustix::io::read(stdin(), &mut keys).context("cannot read the terminal")?;
        let mut keys = &keys[..count];
        if keys.is_empty() {
            self.input_open = false;
            keys = &[END_OF_INPUT];
        }
        if keys.contains(&ESCAPE) {
            return Ok(Some(Ending::Escaped));
        }
        write_waiting(socket, keys)?;
        Ok(None)
    }
}

/// What init says.
enum Report {
    Start,
    End(Ending),
}

fn parse_report(line: &str) -> Report {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match (word, rest.parse()) {
        ("start", _) => Report::Start,
        ("exit", Ok(status)) => Report::End(Ending::Exited(status)),
        ("fail", _) => Report::End(Ending::Failed(rest.to_owned())),
        _ => Report::End(Ending::Failed(format!("init reported {line:?}"))),
    }
}

/// What can be read from the socket without waiting. QEMU closes it when it ends.
fn read_available(socket: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match socket.read_to_end(&mut bytes) {
        Err(error)
            if !matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::ConnectionReset
            ) =>
        {
            Err(error)
        }
        _ => Ok(bytes),
    }
}

/// Writes to a socket that does not block. A guest that reads no keys loses them after a second.
fn write_waiting(socket: &mut impl Write, mut keys: &[u8]) -> io::Result<()> {
    let patience = Instant::now() + Duration::from_secs(1);
    while !keys.is_empty() && Instant::now() < patience {
        match socket.write(keys) {
            Ok(count) => keys = &keys[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(TICK),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                ) =>
            {
                return Ok(())
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(line: &str) -> Ending {
        match parse_report(line) {
            Report::Start => panic!("{line:?} is taken for a start"),
            Report::End(ending) => ending,
        }
    }

    #[test]
    fn reports_of_init() {
        assert!(matches!(parse_report("start"), Report::Start));
        assert_eq!(ending("exit 0"), Ending::Exited(0));
        assert_eq!(ending("exit 255"), Ending::Exited(255));
        assert_eq!(ending("fail no disk"), Ending::Failed("no disk".into()));
        assert!(matches!(ending("exit 256"), Ending::Failed(_)));
        assert!(matches!(ending("exit"), Ending::Failed(_)));
        assert!(matches!(ending(""), Ending::Failed(_)));
    }
}
