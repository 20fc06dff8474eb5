#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Makes the disk that `make run` mounts, and prints the directory that holds it: layers.ext4, packages (what is inside) and
# sum. The disk holds a root file system of the distribution's own packages, cut into three layers as the build of a container
# image would, packages for a container to install, and what the guest has to find (see scripts/images/layers.sh).
#
# Needs no root, where the system lets users have user namespaces.

# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

# perl and tzdata have many files, links and programs for their size. Layer two is real work for dpkg: it unpacks, configures,
# runs triggers, and compiles.
base=(perl tzdata)
second=(python3-minimal)
# What a container installs on top, from files on the disk. All that it depends on beyond that is in the layers. It has
# configuration files, alternatives, and scripts, and is of use at once.
extra=vim-tiny

"$top/scripts/packages.sh" images

# The packages are those of the system's own release, from its own mirrors.
codename=$(
	# shellcheck source=/dev/null
	source /etc/os-release
	echo "${VERSION_CODENAME:-}"
)
keyring() {
	local file
	for file in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
		if [[ -f $file ]]; then
			echo "$file"
			return
		fi
	done
}
sources() {
	# apt expands these.
	# shellcheck disable=SC2016
	apt-get indextargets --format '$(ORIGIN)|$(CODENAME)|$(COMPONENT)|$(CREATED_BY)|$(REPO_URI)' 2>/dev/null |
		awk -F'|' -v name="$codename" -v keys="$(keyring)" '
			$1 == "Debian" && ($2 == name || $2 == name "-updates" || $2 == name "-security") && $3 == "main" && $4 == "Packages" {
				print "deb" (keys ? " [signed-by=" keys "]" : ""), $5, $2, $3
			}' | sort -u
}
[[ -n $codename ]] || die "/etc/os-release names no release, so it is not known which packages to make the image of"
mapfile -t mirrors < <(sources)
if ((${#mirrors[@]} == 0)); then
	say "images: the system's package lists name no mirror of $codename yet: reading them"
	"$top/scripts/packages.sh" --update
	mapfile -t mirrors < <(sources)
fi
((${#mirrors[@]} > 0)) || die "apt's configuration names no mirror of Debian $codename, of whose packages the guest's image is made"

# Which version of each package would be installed, as far as the system's package lists know. Where they are too old to know
# the pattern or a name, the image stays as it is until something else changes.
versions() {
	apt-get --simulate --no-install-recommends -o Dir::State::status=/dev/null -o APT::Get::Show-User-Simulation-Note=false \
		install '?essential' "${base[@]}" "${second[@]}" "$extra" 2>/dev/null | awk '$1 == "Inst" { print $2, $3 }' | sort || true
}

recipe=2
inputs=("$top"/scripts/images/* "$top"/tests/run/{programs,containers/left}/* "$top"/tests/run/src/{attributes,cut,expect,listing,merge,steps,walk}.rs)
id=$(
	{
		echo "$recipe $codename ${base[*]} / ${second[*]} / $extra"
		(cd "$top" && sha256sum "${inputs[@]#"$top"/}")
		versions
	} | key
)
out=$cache/images/$codename-$id

if [[ -f $out/layers.ext4 ]]; then
	used "$out"
	in_place images "$codename in three layers, made before"
	echo "$out"
	exit 0
fi
lock "images-$codename-$id"
if [[ -f $out/layers.ext4 ]]; then
	did images "made by another run meanwhile"
	echo "$out"
	exit 0
fi

tool=$("$top/scripts/program.sh" rovl-run)

# Where not root makes the image, another user has to read this.
stage=$(mktemp -d "${TMPDIR:-/var/tmp}/rovl-images.XXXXXX")
unfinished=$cache/images/.$codename-$id.new
trap 'rm -rf "$stage" "$unfinished"' EXIT
chmod 755 "$stage"
cp -r "$tool" "$top/scripts/images/layers.sh" "$top/scripts/images/edit.sh" "$top/tests/run/programs" "$stage/"
chmod -R a+rX "$stage"
rm -rf "$unfinished"
mkdir -p "$unfinished"

options=(--variant=essential --include="${base[*]}" --format=null --skip=cleanup --dpkgopt=force-unsafe-io)
if ((EUID == 0)); then
	options+=(--mode=root)
else
	options+=(--mode=unshare)
fi
# How to reach the mirrors is the system's affair, too.
while IFS= read -r line; do
	options+=(--aptopt="$line")
done < <(apt-config dump | grep -E '^Acquire::(https?|Retries|ForceIPv[46]|Check-Date|Check-Valid-Until)(::[^ ]*)? ".+";$')
# The hook's own shell expands the first one's argument, the tree.
# shellcheck disable=SC2016
options+=(
	--customize-hook='mkdir -m 755 "$1/rovl"'
	--customize-hook="copy-in $stage/rovl-run $stage/layers.sh $stage/edit.sh $stage/programs /rovl"
	--customize-hook="sh \"\$1/rovl/layers.sh\" \"\$1\" $(date +%s) $extra ${second[*]}"
	--customize-hook="download /rovl/packages $unfinished/packages"
	--customize-hook="download /rovl/layers.ext4 $unfinished/layers.ext4"
)

# mmdebstrap unpacks below TMPDIR, which needs about 1 GB; /tmp is often memory.
export TMPDIR=${TMPDIR:-/var/tmp}
log=$cache/log/images.log
long images "$log" mmdebstrap "${options[@]}" "$codename" /dev/null "${mirrors[@]}" ||
	die "the guest's image could not be made; the reason is above, all of it in $log"
[[ -s $unfinished/layers.ext4 && -s $unfinished/packages ]] || die "mmdebstrap ended well, but left no image; see $log"
# Downloading filled the holes.
fallocate --dig-holes "$unfinished/layers.ext4" 2>/dev/null || true
(cd "$unfinished" && sha256sum layers.ext4 >sum)
sync -f "$unfinished"
mv -T "$unfinished" "$out"
used "$out"
did images "$codename in three layers, $(wc -l <"$out/packages") packages, $(du -m "$out/layers.ext4" | cut -f1) MB"
echo "$out"
