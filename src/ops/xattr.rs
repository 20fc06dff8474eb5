// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks for extended attributes.

#![forbid(unsafe_code)]

use core::marker::PhantomData;
use kernel::prelude::*;

use crate::{
    model::names::Namespace,
    overlay::{
        fs::{
            Instance,
            Overlay, //
        },
        xattr::view, //
    },
    vfs::{
        dentry::Dentry,
        inode::Inode,
        vtable::xattr::{
            XattrHandler,
            XattrHandlers,
            XattrTable, //
        },
        xattr::{
            ValueBuffer,
            XattrChange, //
        },
    },
};

/// The handlers of each namespace that an overlay can keep its attributes in.
pub(crate) struct Handlers;

impl XattrHandlers for Handlers {
    type Fs = Overlay;

    fn of(instance: &Instance) -> XattrTable<Overlay> {
        match instance.namespace() {
            Namespace::Trusted => XattrTable::of_two::<Own<Trusted>, Other>(),
            Namespace::User => XattrTable::of_two::<Own<User>, Other>(),
        }
    }
}

/// A namespace, as a type.
trait InNamespace {
    const NAMESPACE: Namespace;
}

struct Trusted;

impl InNamespace for Trusted {
    const NAMESPACE: Namespace = Namespace::Trusted;
}

struct User;

impl InNamespace for User {
    const NAMESPACE: Namespace = Namespace::User;
}

/// Names that are the overlay's own on a layer, so that others with such a name are escaped there.
struct Own<N>(PhantomData<N>);

impl<N: InNamespace> XattrHandler for Own<N> {
    type Fs = Overlay;

    const PREFIX: &'static CStr = N::NAMESPACE.prefix();

    fn get(inode: &Inode<Overlay>, rest: &CStr, value: ValueBuffer<'_>) -> Result<usize> {
        view::get_escaped(inode, rest, value)
    }

    fn change(dentry: &Dentry<Overlay>, rest: &CStr, change: XattrChange<'_>) -> Result {
        view::change_escaped(dentry, rest, change)
    }
}

/// All other names.
struct Other;

impl XattrHandler for Other {
    type Fs = Overlay;

    const PREFIX: &'static CStr = c"";

    fn get(inode: &Inode<Overlay>, name: &CStr, value: ValueBuffer<'_>) -> Result<usize> {
        view::get(inode, name, value)
    }

    fn change(dentry: &Dentry<Overlay>, name: &CStr, change: XattrChange<'_>) -> Result {
        view::change(dentry, name, change)
    }
}
