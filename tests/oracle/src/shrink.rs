// SPDX-License-Identifier: GPL-2.0-only

//! Makes a script smaller as long as it shows a difference of the same stage.

use std::time::Duration;
use std::time::Instant;

use crate::run::Difference;
use crate::script::Script;
use crate::step::User;

/// When enough has been tried.
const LIMIT: Duration = Duration::from_secs(60);

struct Shrinker<'a> {
    best: Script,
    difference: Difference,
    try_run: &'a mut dyn FnMut(&Script) -> Option<Difference>,
    end: Instant,
}

/// Returns the smallest script that was found, with its difference.
pub fn shrink(
    script: Script,
    difference: Difference,
    try_run: &mut dyn FnMut(&Script) -> Option<Difference>,
) -> (Script, Difference) {
    let mut shrinker = Shrinker {
        best: script,
        difference,
        try_run,
        end: Instant::now() + LIMIT,
    };
    loop {
        let before = shrinker.best.clone();
        shrinker.steps();
        shrinker.objects();
        shrinker.simplify();
        if shrinker.best == before || shrinker.is_late() {
            return (shrinker.best, shrinker.difference);
        }
    }
}

impl Shrinker<'_> {
    fn is_late(&self) -> bool {
        Instant::now() > self.end
    }

    fn attempt(&mut self, change: impl FnOnce(&mut Script)) -> bool {
        if self.is_late() {
            return false;
        }
        let mut smaller = self.best.clone();
        change(&mut smaller);
        if smaller == self.best {
            return false;
        }
        match (self.try_run)(&smaller) {
            Some(found) if found.stage.is_like(self.difference.stage) => {
                self.best = smaller;
                self.difference = found;
                true
            }
            _ => false,
        }
    }

    /// Takes out ranges, from half of the list down to single ones, the last ones first.
    fn ranges(&mut self, count: fn(&Script) -> usize, take: fn(&mut Script, usize, usize)) {
        let mut length = count(&self.best).div_ceil(2);
        while length > 0 {
            let mut end = count(&self.best);
            while end > 0 {
                let start = end.saturating_sub(length);
                self.attempt(|script| take(script, start, end));
                end = start;
            }
            length /= 2;
        }
    }

    fn steps(&mut self) {
        self.ranges(
            |script| script.steps.len(),
            |script, start, end| drop(script.steps.drain(start..end)),
        );
    }

    fn objects(&mut self) {
        self.ranges(
            |script| script.objects.len(),
            |script, start, end| drop(script.objects.drain(start..end)),
        );
    }

    fn simplify(&mut self) {
        self.attempt(|script| script.setup.watch = false);
        self.attempt(|script| script.setup.mapped = None);
        self.attempt(|script| script.setup.processes = false);
        self.attempt(|script| script.setup.options.clear());
        // Layers do not fit where there is little room.
        if self.best.setup.upper_on != crate::script::Backing::Small {
            self.attempt(|script| script.setup.lowers_on = vec![script.setup.upper_on]);
        }
        self.attempt(|script| script.setup.upper_on = crate::script::Backing::Tmpfs);
        self.attempt(|script| script.setup.lowers_on = vec![crate::script::Backing::Tmpfs]);
        while self.best.setup.lowers > 1 && self.attempt(|script| script.setup.lowers -= 1) {}
        for index in 0..self.best.steps.len() {
            self.attempt(|script| {
                if let Some((user, _)) = script.steps.get_mut(index) {
                    *user = User::Root;
                }
            });
        }
        for index in 0..self.best.objects.len() {
            let on_object = |change: fn(&mut crate::script::Object)| {
                move |script: &mut Script| {
                    if let Some((_, object)) = script.objects.get_mut(index) {
                        change(object);
                    }
                }
            };
            self.attempt(on_object(|object| object.xattrs.clear()));
            while self.attempt(on_object(|object| drop(object.xattrs.pop()))) {}
            self.attempt(on_object(|object| {
                object.append_only = false;
                object.immutable = false;
            }));
            self.attempt(on_object(|object| (object.uid, object.gid) = (0, 0)));
            self.attempt(on_object(|object| object.age = 0));
        }
    }
}
