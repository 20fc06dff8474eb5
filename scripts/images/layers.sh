#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Called by mmdebstrap once the base system is in place: goes on changing it as the build of an image does, cuts the layers,
# and leaves the file system image in the directory rovl of the tree. Runs as root, or as what passes for root in a user
# namespace, so nothing here may need device nodes or trusted attributes on the host.
#   layers.sh TREE EPOCH EXTRA PACKAGE..    the packages are those of the second layer; EXTRA is the one that containers install
set -eu

tree=$1
epoch=$2
extra=$3
shift 3
work=$tree/rovl
tool=$work/rovl-run
PATH=$PATH:/usr/sbin:/sbin

# Everything that was touched since layer N-1 gets one time in whole seconds, which is all that mke2fs keeps. Left out are the
# directories where the build has something mounted.
settle() {
	(cd "$tree" && find . \( -path ./dev -o -path ./proc -o -path ./run -o -path ./sys -o -path ./tmp -o -path ./rovl \) -prune -o \
		-newermt "@$1" -print0 | xargs -0 -r touch -h -d "@$1")
}

# A copy without what belongs to the build and not to the result; those directories are empty in it.
copy_tree() {
	mkdir "$1" "$1/dev" "$1/proc" "$1/run" "$1/sys" "$1/tmp"
	chmod 1777 "$1/tmp"
	chmod 555 "$1/proc" "$1/sys"
	touch -d "@$epoch" "$1/dev" "$1/proc" "$1/run" "$1/sys" "$1/tmp"
	tar -C "$tree" --exclude=./dev --exclude=./proc --exclude=./run --exclude=./sys --exclude=./tmp --exclude=./rovl \
		--exclude='./var/lib/apt/lists/*' --exclude='./var/cache/apt/*' \
		--sparse --xattrs --acls --numeric-owner -cf - . | extract "$1"
}

extract() {
	tar -C "$1" --xattrs --xattrs-include='*' --acls --numeric-owner --same-owner -xpf -
}

# cut_layer N: from the trees N-1 and N.
cut_layer() {
	"$tool" cut "$work/tree-$(($1 - 1))" "$work/tree-$1" "$work/layers/$1" "/layers/$1"
	mkdir "$work/layers/$1"
	tar -C "$work/tree-$1" --no-recursion --null --verbatim-files-from -T "$work/layers/$1.taken" \
		--sparse --xattrs --acls --numeric-owner -cf - | extract "$work/layers/$1"
}

echo "layers: the base system"
mkdir "$work/layers"
settle "$epoch"
copy_tree "$work/tree-1"

echo "layers: $* on top"
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -o DPkg::Chroot-Directory="$tree" --yes install "$@"
settle $((epoch + 1))
copy_tree "$work/tree-2"

echo "layers: edits"
mkdir -p "$tree/srv/audit"
cp "$work"/programs/* "$tree/srv/audit/"
chmod 755 "$tree"/srv/audit/*
chroot "$tree" /bin/sh -eu -s <"$work/edit.sh"
settle $((epoch + 2))
copy_tree "$work/tree-3"

echo "layers: what a container makes of it"
mkdir -p "$work/image/packages" "$work/archives/partial" "$tree/tmp/packages"
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -o DPkg::Chroot-Directory="$tree" -o Dir::Cache::archives="$work/archives" \
	--yes --download-only install "$extra"
# A colon, which parts the epoch of a version, is escaped in the names; the version is in the package.
for package in "$work"/archives/*.deb; do
	name=${package##*/}
	cp "$package" "$work/image/packages/${name%%_*}.deb"
done
cp "$work"/image/packages/*.deb "$tree/tmp/packages/"
"$tool" work left "$tree"
copy_tree "$work/tree-left"

echo "layers: cutting"
cut_layer 2
cut_layer 3
cp -a "$work/tree-1" "$work/layers/1"

echo "layers: what the guest has to find"
expect=$work/image/expect
mkdir -p "$expect/programs"
"$tool" expect "$expect" "$work/tree-3" "$work/layers/1" "$work/layers/2" "$work/layers/3"
for program in "$work"/programs/*; do
	name=${program##*/}
	"$tool" chroot "$work/tree-3" "/srv/audit/$name" >"$expect/programs/$name"
	printf '%s: ' "$name"
	tail -n 1 "$expect/programs/$name"
done
"$tool" list "$work/tree-left" >"$expect/left"
chroot "$work/tree-3" dpkg-query -W >"$work/packages"

echo "layers: the file system"
mkdir "$work/image/layers"
mv "$work/layers/1" "$work/layers/2" "$work/layers/3" "$work/image/layers/"
chmod 755 "$work/image" "$work/image/layers"
image=$work/layers.ext4
kibibytes=$(du -s --block-size=1024 "$work/image" | cut -f1)
objects=$(find "$work/image" | wc -l)
mke2fs -q -t ext4 -m 0 -b 4096 -L rovl-layers -N $((objects + objects / 8 + 2048)) -d "$work/image" \
	"$image" "$((kibibytes + kibibytes / 8 + 32768))k"
cat "$work/layers/2.debugfs" "$work/layers/3.debugfs" >"$work/marks"
# debugfs says on stderr what went wrong, below a line with its version, and ends with 0 all the same.
debugfs -w -f "$work/marks" "$image" 2>"$work/debugfs.errors" >"$work/debugfs.out"
if sed 1d "$work/debugfs.errors" | grep .; then
	echo "layers: debugfs could not mark whiteouts and opaque directories" >&2
	exit 1
fi
# Directories made one entry after the other have no index yet, which those of an engine's layers have.
status=0
e2fsck -fyD "$image" || status=$?
[ "$status" -le 1 ]
