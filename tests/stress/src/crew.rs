// SPDX-License-Identifier: GPL-2.0-only

//! Threads that work until time is up or one of them fails.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::Mutex;
use std::thread::Scope;
use std::thread::ScopedJoinHandle;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use rovl_kit::random::Random;

/// What the threads of a load have in common.
pub struct Crew {
    end: Instant,
    stop: AtomicBool,
    failure: Mutex<Option<anyhow::Error>>,
    done: AtomicU64,
}

impl Crew {
    pub fn for_time(time: Duration) -> Self {
        Crew {
            end: Instant::now() + time,
            stop: AtomicBool::new(false),
            failure: Mutex::new(None),
            done: AtomicU64::new(0),
        }
    }

    /// Starts a thread that repeats `step` until the end. A failed step ends the work of all.
    pub fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        name: String,
        seed: u64,
        mut step: impl FnMut(&mut Random) -> Result<()> + Send + 'scope,
    ) -> ScopedJoinHandle<'scope, ()> {
        scope.spawn(move || {
            let mut random = Random::new(seed);
            let mut count = 0_u64;
            while self.is_on() {
                if let Err(error) = step(&mut random) {
                    let context = format!("{name}, seed {seed}, step {count}");
                    self.fail(error.context(context));
                }
                count += 1;
            }
            self.done.fetch_add(count, Ordering::Relaxed);
        })
    }

    pub fn is_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed) && Instant::now() < self.end
    }

    /// Ends the work of all; the first failure is the one that is told.
    pub fn fail(&self, error: anyhow::Error) {
        self.stop.store(true, Ordering::Relaxed);
        let mut failure = self.failure.lock().unwrap_or_else(|e| e.into_inner());
        failure.get_or_insert(error);
    }

    /// How many steps were done, once all threads have ended.
    pub fn finish(self) -> Result<u64> {
        let failure = self.failure.into_inner();
        match failure.ok().flatten() {
            Some(error) => Err(error).context("a thread failed"),
            None => Ok(self.done.into_inner()),
        }
    }
}
