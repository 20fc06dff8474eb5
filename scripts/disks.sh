#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Makes the formatted disks that guest tests put layers on, and prints the folder that holds them: ext4.img and xfs.img, and
# small-ext4.img and small-xfs.img for tests that copy a disk often.
# They are sparse, and a guest gets them as snapshots, so that each finds them empty.

source "$(dirname "$0")/lib.sh"

"$top/scripts/packages.sh" test
PATH=$PATH:/usr/sbin:/sbin

recipe=2
id=$({
	echo "$recipe"
	mkfs.ext4 -V 2>&1
	mkfs.xfs -V
} | key)
out=$cache/disks/$id
if [[ ! -d $out ]]; then
	lock disks
fi
if [[ ! -d $out ]]; then
	rm -rf "$out.part"
	mkdir -p "$out.part"
	truncate -s 1G "$out.part/ext4.img" "$out.part/xfs.img"
	log=$cache/log/disks.log
	# What Debian's installer would make, and verity besides.
	long disks "$log" mkfs.ext4 -q -O verity "$out.part/ext4.img" || die "the ext4 disk could not be made; the reason is above"
	long disks "$log" mkfs.xfs -q -m reflink=1 "$out.part/xfs.img" || die "the xfs disk could not be made; the reason is above"
	# The smallest of each that has a journal. What is not written to takes no room in a copy.
	truncate -s 64M "$out.part/small-ext4.img"
	truncate -s 300M "$out.part/small-xfs.img"
	long disks "$log" mkfs.ext4 -q -J size=4 -E lazy_itable_init=0 "$out.part/small-ext4.img" ||
		die "the small ext4 disk could not be made; the reason is above"
	long disks "$log" mkfs.xfs -q "$out.part/small-xfs.img" || die "the small xfs disk could not be made; the reason is above"
	sync -f "$out.part"
	mv "$out.part" "$out"
	did disks "ext4 and xfs, large and small, formatted"
else
	in_place disks "ext4 and xfs, made before"
fi
used "$out"
echo "$out"
