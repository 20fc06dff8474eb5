// SPDX-License-Identifier: GPL-2.0-only

//! The scalar mount options: their values, how they are parsed, and when they are printed (M6 to
//! M16, P1, P2).
//!
//! Follows `fs/overlayfs/params.c`. What becomes of options that do not go together is in
//! [`resolve`], what becomes of them when a layer cannot do what they need in [`fallback`]. Layers
//! and credentials are options too, but not scalar ones.

#![forbid(unsafe_code)]

pub(crate) mod fallback;
pub(crate) mod resolve;

/// Defines an enum whose values have names in mount options.
macro_rules! named_values {
    ($(#[$attr:meta])* $name:ident { $($(#[$doc:meta])* $value:ident = $text:literal,)+ }) => {
        $(#[$attr])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name {
            $($(#[$doc])* $value,)+
        }

        impl $name {
            /// Returns the value of this name.
            fn parse(text: &[u8]) -> Option<Self> {
                $(if text == $text.as_bytes() {
                    return Some(Self::$value);
                })+
                None
            }

            /// Returns the name, as mount options have it.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)+
                }
            }
        }
    };
}

named_values! {
    /// `redirect_dir=`: renaming of directories that are merged (M7). The value `off` is one of the
    /// others in disguise.
    RedirectDir {
        /// Redirects are followed, none is made.
        Follow = "follow",
        /// Redirects are neither followed nor made.
        NoFollow = "nofollow",
        /// Redirects are followed and made.
        On = "on",
    }
}

named_values! {
    /// `uuid=`: the identity of the overlay, and whether those of layers count (M9).
    Uuid {
        /// Stored file handles have no uuid, and those of layers are ignored.
        Off = "off",
        /// The overlay has none.
        Null = "null",
        /// The overlay has the stored one; a new overlay gets one.
        Auto = "auto",
        /// The overlay has one that is stored.
        On = "on",
    }
}

named_values! {
    /// `xino=`: inode numbers that tell the layer (M12).
    Xino {
        /// Numbers are those of the layers.
        Off = "off",
        /// Done where numbers are persistent.
        Auto = "auto",
        /// Done, with a warning where a number leaves no room.
        On = "on",
    }
}

named_values! {
    /// `verity=`: digests of data in metacopy files (M14).
    Verity {
        /// Neither written nor checked.
        Off = "off",
        /// Written where the data has one, and checked where it is there.
        On = "on",
        /// Demanded.
        Require = "require",
    }
}

named_values! {
    /// `fsync=`: what is flushed to disk (M15).
    Fsync {
        /// Nothing.
        Volatile = "volatile",
        /// The data of a file before its copy becomes visible.
        Auto = "auto",
        /// Metadata too.
        Strict = "strict",
    }
}

named_values! {
    /// The value of `index=`, `nfs_export=` and `metacopy=`.
    Switch {
        /// Off.
        Off = "off",
        /// On.
        On = "on",
    }
}

impl From<bool> for Switch {
    fn from(on: bool) -> Self {
        if on {
            Self::On
        } else {
            Self::Off
        }
    }
}

/// The module parameters, which give options their defaults (P4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Defaults {
    /// `redirect_dir=on` is the default.
    pub(crate) redirect_dir: bool,
    /// `redirect_dir=off` means `follow`, else `nofollow`.
    pub(crate) redirect_always_follow: bool,
    /// `xino=auto` is the default.
    pub(crate) xino_auto: bool,
    /// `index=on` is the default.
    pub(crate) index: bool,
    /// `nfs_export=on` is the default.
    pub(crate) nfs_export: bool,
    /// `metacopy=on` is the default.
    pub(crate) metacopy: bool,
}

impl Defaults {
    /// The values of a freshly loaded module.
    pub(crate) const LOADED: Self = Self {
        redirect_dir: false,
        redirect_always_follow: true,
        xino_auto: false,
        index: false,
        nfs_export: false,
        metacopy: false,
    };

    /// Returns what `redirect_dir=off` means.
    const fn redirect_off(&self) -> RedirectDir {
        if self.redirect_always_follow {
            RedirectDir::Follow
        } else {
            RedirectDir::NoFollow
        }
    }

    /// Returns the options of a mount that names none.
    const fn options(&self) -> Options {
        Options {
            default_permissions: false,
            redirect_dir: if self.redirect_dir {
                RedirectDir::On
            } else {
                self.redirect_off()
            },
            index: self.index,
            uuid: Uuid::Auto,
            nfs_export: self.nfs_export,
            xino: if self.xino_auto {
                Xino::Auto
            } else {
                Xino::Off
            },
            metacopy: self.metacopy,
            fsync: Fsync::Auto,
            userxattr: false,
            verity: Verity::Off,
        }
    }
}

/// The values of all scalar options of an overlay (`struct ovl_config`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Printed, and of no effect (M6).
    pub(crate) default_permissions: bool,
    /// Renaming of merged directories (M7).
    pub(crate) redirect_dir: RedirectDir,
    /// Hard links survive copy-up (M8).
    pub(crate) index: bool,
    /// The identity of the overlay (M9).
    pub(crate) uuid: Uuid,
    /// File handles can be decoded (M10).
    pub(crate) nfs_export: bool,
    /// Numbers of inodes tell the layer (M12).
    pub(crate) xino: Xino,
    /// Copy-up of metadata alone (M13).
    pub(crate) metacopy: bool,
    /// What is flushed to disk (M15, M16).
    pub(crate) fsync: Fsync,
    /// Attributes are in the namespace `user.` (M11).
    pub(crate) userxattr: bool,
    /// Digests in metacopy files (M14).
    pub(crate) verity: Verity,
}

/// On how many filesystems the layers of an overlay are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filesystems {
    /// All on the same one: inode numbers are unique as they are.
    One,
    /// On several.
    Several,
}

impl Options {
    /// Whether lower layers may be changed while the overlay is not mounted: no feature in use
    /// stores where they were (`ovl_allow_offline_changes()`).
    pub(crate) fn allow_offline_changes(&self) -> bool {
        !self.index
            && !self.metacopy
            && self.redirect_dir != RedirectDir::On
            && self.xino != Xino::On
    }

    /// Calls `print` for each option that the list of mounts shows, in its order, with the value
    /// unless it is a flag.
    ///
    /// An option is shown if it differs from the default at the time of reading, which is in `now`
    /// (P2).
    pub(crate) fn show(
        &self,
        now: &Defaults,
        filesystems: Filesystems,
        print: &mut dyn FnMut(&'static str, Option<&'static str>),
    ) {
        let default = now.options();
        let switch = |on: bool| Some(Switch::from(on).name());

        if self.default_permissions {
            print("default_permissions", None);
        }
        if self.redirect_dir != default.redirect_dir {
            print("redirect_dir", Some(self.redirect_dir.name()));
        }
        if self.index != default.index {
            print("index", switch(self.index));
        }
        if self.uuid != default.uuid {
            print("uuid", Some(self.uuid.name()));
        }
        if self.nfs_export != default.nfs_export {
            print("nfs_export", switch(self.nfs_export));
        }
        if self.xino != default.xino && filesystems == Filesystems::Several {
            print("xino", Some(self.xino.name()));
        }
        if self.metacopy != default.metacopy {
            print("metacopy", switch(self.metacopy));
        }
        if self.fsync != default.fsync {
            print("fsync", Some(self.fsync.name()));
        }
        if self.userxattr {
            print("userxattr", None);
        }
        if self.verity != default.verity {
            print("verity", Some(self.verity.name()));
        }
    }
}

/// Why an option is refused, with EINVAL, as soon as it is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueError {
    /// Not one of the values of the option, or none at all.
    Bad,
    /// A flag with a value.
    Unexpected,
}

/// The options that were named, and the defaults of the others at the time the mount was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Requested {
    options: Options,
    named: Named,
}

/// Which options were named that others give way to (`struct ovl_opt_set`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Named {
    redirect_dir: bool,
    index: bool,
    nfs_export: bool,
    metacopy: bool,
}

impl Requested {
    /// Starts with the defaults of now.
    pub(crate) fn new(now: &Defaults) -> Self {
        Self {
            options: now.options(),
            named: Named::default(),
        }
    }

    /// Whether `userxattr` was named, which settles the names of extended attributes.
    pub(crate) fn userxattr(&self) -> bool {
        self.options.userxattr
    }

    /// Takes an option, or returns `None` if it is not a scalar one. The last of several counts.
    pub(crate) fn set(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        now: &Defaults,
    ) -> Option<Result<(), ValueError>> {
        Some(match key {
            b"default_permissions" => flag(value, &mut self.options.default_permissions),
            b"userxattr" => flag(value, &mut self.options.userxattr),
            b"volatile" => match value {
                None => {
                    self.options.fsync = Fsync::Volatile;
                    Ok(())
                }
                Some(_) => Err(ValueError::Unexpected),
            },
            b"redirect_dir" => {
                let parse = |text: &[u8]| match text {
                    b"off" => Some(now.redirect_off()),
                    _ => RedirectDir::parse(text),
                };
                self.named.redirect_dir |= value.and_then(parse).is_some();
                choice(value, parse, &mut self.options.redirect_dir)
            }
            b"index" => switch(value, &mut self.options.index, &mut self.named.index),
            b"nfs_export" => switch(
                value,
                &mut self.options.nfs_export,
                &mut self.named.nfs_export,
            ),
            b"metacopy" => switch(value, &mut self.options.metacopy, &mut self.named.metacopy),
            b"uuid" => choice(value, Uuid::parse, &mut self.options.uuid),
            b"xino" => choice(value, Xino::parse, &mut self.options.xino),
            b"verity" => choice(value, Verity::parse, &mut self.options.verity),
            b"fsync" => choice(value, Fsync::parse, &mut self.options.fsync),
            _ => return None,
        })
    }
}

fn flag(value: Option<&[u8]>, flag: &mut bool) -> Result<(), ValueError> {
    match value {
        None => {
            *flag = true;
            Ok(())
        }
        Some(_) => Err(ValueError::Unexpected),
    }
}

fn choice<T>(
    value: Option<&[u8]>,
    parse: impl Fn(&[u8]) -> Option<T>,
    option: &mut T,
) -> Result<(), ValueError> {
    *option = value.and_then(parse).ok_or(ValueError::Bad)?;
    Ok(())
}

fn switch(value: Option<&[u8]>, option: &mut bool, named: &mut bool) -> Result<(), ValueError> {
    *option = value.and_then(Switch::parse).ok_or(ValueError::Bad)? == Switch::On;
    *named = true;
    Ok(())
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::string::String;
    use std::vec;
    use std::vec::Vec;

    const LOADED: Defaults = Defaults::LOADED;

    fn requested(options: &[(&str, Option<&str>)]) -> Requested {
        let mut requested = Requested::new(&LOADED);

        for (key, value) in options {
            let value = value.map(str::as_bytes);
            assert_eq!(
                requested.set(key.as_bytes(), value, &LOADED),
                Some(Ok(())),
                "{key}"
            );
        }
        requested
    }

    fn shown(options: &Options, now: &Defaults, filesystems: Filesystems) -> String {
        let mut shown = vec![];

        options.show(now, filesystems, &mut |key, value| {
            shown.push(match value {
                Some(value) => std::format!("{key}={value}"),
                None => key.into(),
            });
        });
        shown.join(",")
    }

    #[test]
    fn unnamed_options_have_the_defaults_of_debian() {
        let options = Requested::new(&LOADED).options;

        assert_eq!(options.redirect_dir, RedirectDir::Follow);
        assert_eq!(options.uuid, Uuid::Auto);
        assert_eq!(options.xino, Xino::Off);
        assert_eq!(options.fsync, Fsync::Auto);
        assert_eq!(options.verity, Verity::Off);
        assert!(!options.index && !options.nfs_export && !options.metacopy);
        assert_eq!(shown(&options, &LOADED, Filesystems::Several), "");
    }

    #[test]
    fn parameters_give_the_defaults() {
        let redirect = |redirect_dir, redirect_always_follow| {
            let now = Defaults {
                redirect_dir,
                redirect_always_follow,
                ..LOADED
            };
            let mut named = Requested::new(&now);
            let default = named.options.redirect_dir;
            let _ = named.set(b"redirect_dir", Some(b"off"), &now);
            (default, named.options.redirect_dir)
        };

        assert_eq!(redirect(true, true), (RedirectDir::On, RedirectDir::Follow));
        assert_eq!(
            redirect(true, false),
            (RedirectDir::On, RedirectDir::NoFollow)
        );
        assert_eq!(
            redirect(false, true),
            (RedirectDir::Follow, RedirectDir::Follow)
        );
        assert_eq!(
            redirect(false, false),
            (RedirectDir::NoFollow, RedirectDir::NoFollow)
        );
    }

    #[test]
    fn all_options_are_taken_and_shown_in_order() {
        let requested = requested(&[
            ("verity", Some("require")),
            ("userxattr", None),
            ("fsync", Some("strict")),
            ("metacopy", Some("on")),
            ("xino", Some("auto")),
            ("nfs_export", Some("on")),
            ("uuid", Some("null")),
            ("index", Some("on")),
            ("redirect_dir", Some("nofollow")),
            ("default_permissions", None),
        ]);
        let all = "default_permissions,redirect_dir=nofollow,index=on,uuid=null,nfs_export=on,\
                   xino=auto,metacopy=on,fsync=strict,userxattr,verity=require";

        assert!(requested.userxattr());
        assert_eq!(
            shown(&requested.options, &LOADED, Filesystems::Several),
            all
        );
        assert_eq!(
            shown(&requested.options, &LOADED, Filesystems::One),
            all.replace("xino=auto,", "")
        );
    }

    #[test]
    fn the_default_of_reading_time_decides_what_is_shown() {
        let now = Defaults {
            redirect_dir: true,
            index: true,
            xino_auto: true,
            ..LOADED
        };

        assert_eq!(
            shown(&LOADED.options(), &now, Filesystems::Several),
            "redirect_dir=follow,index=off,xino=off"
        );
    }

    #[test]
    fn the_last_of_several_counts() {
        let fsync = |options| requested(options).options.fsync;

        assert_eq!(
            fsync(&[("volatile", None), ("fsync", Some("auto"))]),
            Fsync::Auto
        );
        assert_eq!(
            fsync(&[("fsync", Some("strict")), ("volatile", None)]),
            Fsync::Volatile
        );
    }

    #[test]
    fn wrong_values_are_refused_and_change_nothing() {
        let mut requested = Requested::new(&LOADED);
        let before = requested;
        let mut set = |key: &str, value: Option<&str>| {
            requested.set(key.as_bytes(), value.map(str::as_bytes), &LOADED)
        };

        for key in ["redirect_dir", "index", "uuid", "nfs_export", "xino"] {
            assert_eq!(set(key, None), Some(Err(ValueError::Bad)));
            assert_eq!(set(key, Some("")), Some(Err(ValueError::Bad)));
            assert_eq!(set(key, Some("ON")), Some(Err(ValueError::Bad)));
        }
        for key in ["metacopy", "verity", "fsync"] {
            assert_eq!(set(key, Some("1")), Some(Err(ValueError::Bad)));
        }
        for key in ["default_permissions", "userxattr", "volatile"] {
            assert_eq!(set(key, Some("")), Some(Err(ValueError::Unexpected)));
        }
        for key in ["lowerdir", "override_creds", "unsupported", "", "Xino"] {
            assert_eq!(set(key, None), None);
        }
        assert_eq!(requested, before);
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_named_again(
            options in prop::collection::vec((0..9usize, 0..5usize), 0..12),
        ) {
            let keys =
                ["redirect_dir", "index", "uuid", "nfs_export", "xino", "metacopy", "fsync",
                 "verity", "userxattr"];
            let values = ["on", "off", "auto", "require", "nofollow"];
            let mut first = Requested::new(&LOADED);
            for (key, value) in options {
                let _ = first.set(keys[key].as_bytes(), Some(values[value].as_bytes()), &LOADED);
            }

            let mut again = Requested::new(&LOADED);
            let mut shown: Vec<(&str, Option<&str>)> = vec![];
            first.options.show(&LOADED, Filesystems::Several, &mut |k, v| shown.push((k, v)));
            for (key, value) in shown {
                let value = value.map(str::as_bytes);
                prop_assert_eq!(again.set(key.as_bytes(), value, &LOADED), Some(Ok(())));
            }
            prop_assert_eq!(again.options, first.options);
        }
    }
}
