#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# What the third layer does to the tree; runs inside it. Each block is one way in which an image's build changes what the
# layers below gave it.
set -eu

# Removed: whiteouts, one for each name that is gone from a directory that stays.
rm -rf /usr/share/man /usr/share/zoneinfo/right /usr/share/doc/tar /usr/share/doc/perl
rm -f /usr/share/zoneinfo/leapseconds
cd /usr/share/locale
for language in *; do
	case $language in
	de | fr | locale.alias) ;;
	*) rm -rf "$language" ;;
	esac
done
cd /

# Replaced wholly: opaque directories. The first gets none of its old names again, the second does.
for directory in /usr/share/doc/bash /usr/share/doc/sed; do
	rm -rf "$directory"
	mkdir -p "$directory/examples/deep"
	echo "Replaced as a whole." >"$directory/README"
	echo "Far down." >"$directory/examples/deep/example"
done
echo "Another text under an old name." >/usr/share/doc/sed/copyright

# Edited: in a merged directory, one file of the base and one of the second layer.
echo "# A line for every shell." >>/etc/bash.bashrc
for module in /usr/lib/python3.*/os.py; do
	echo "# A line more." >>"$module"
done

# Only the metadata changed.
chmod 2750 /usr/share/doc/dpkg
chmod 4711 /usr/bin/id
chown 33:33 /usr/share/doc/coreutils /usr/share/doc/coreutils/copyright
touch -h -d @86400 /usr/share/zoneinfo/UTC

# Another kind of object under the same name: file and directory, directory and link, link and file.
rm /var/log/dpkg.log
mkdir /var/log/dpkg.log
echo "A directory where a file was." >/var/log/dpkg.log/inside
rm -rf /usr/share/doc/gzip
echo "A file where a directory was." >/usr/share/doc/gzip
rm -rf /usr/share/doc/grep
ln -s dpkg /usr/share/doc/grep
rm /usr/share/zoneinfo/localtime
echo "A file where a link was." >/usr/share/zoneinfo/localtime

# Renamed: gone in one place, new in another.
mv /usr/share/zoneinfo/Arctic /usr/share/zoneinfo/North
mv /usr/share/doc/hostname/copyright /usr/share/doc/hostname/licence

# Removed and made again empty.
rm -rf /usr/share/doc/findutils
mkdir /usr/share/doc/findutils

# New: names, contents and kinds that are rare.
mkdir -p /srv/odd/empty /srv/odd/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p
cd /srv/odd
echo deep >a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/file
: >"$(printf '%0255d' 7)"
echo newline >"$(printf 'two\nlines')"
echo space >' begins with a space'
echo bytes >"$(printf 'no utf-8 \377')"
echo backslash >'back\slash,comma:colon'
ln -s "$(printf '%04000d' 1)" long-link
ln -s . self
mkfifo fifo
truncate -s 8M sparse
printf end >>sparse
truncate -s 70000 cut
ln cut cut-again
mkdir many
cd many
seq 1 1500 | while read -r number; do : >"entry-$number"; done
