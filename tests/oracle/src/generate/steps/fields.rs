// SPDX-License-Identifier: GPL-2.0-only

//! Steps on attributes that have fields of their own.

use super::Generator;
use crate::step::*;

impl Generator {
    fn attr(&mut self) -> Attr {
        let attrs = [
            Attr::None,
            Attr::None,
            Attr::Append,
            Attr::Immutable,
            Attr::NoDump,
            Attr::NoAtime,
        ];
        *self.random.pick(&attrs)
    }

    fn project(&mut self) -> u32 {
        *self.random.pick(&[0, 0, 0, 7])
    }

    pub(super) fn set_attr(&mut self) -> Step {
        Step::SetAttr {
            slot: self.slot(),
            attr: self.attr(),
        }
    }

    pub(super) fn get_fields(&mut self) -> Step {
        Step::GetFields { slot: self.slot() }
    }

    pub(super) fn set_fields(&mut self) -> Step {
        Step::SetFields {
            slot: self.slot(),
            attr: self.attr(),
            project: self.project(),
        }
    }

    pub(super) fn get_fields_at(&mut self) -> Step {
        Step::GetFieldsAt {
            path: self.path(),
            last: self.last(),
        }
    }

    pub(super) fn set_fields_at(&mut self) -> Step {
        Step::SetFieldsAt {
            path: self.path(),
            attr: self.attr(),
            project: self.project(),
            last: self.last(),
        }
    }

    pub(super) fn statx(&mut self) -> Step {
        Step::Statx {
            path: self.path(),
            last: self.last(),
        }
    }
}
