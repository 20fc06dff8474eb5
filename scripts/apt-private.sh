#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Downloads packages of a Debian suite that the system does not list, in an apt directory of our own: the system's sources,
# lists and package database stay as they are. apt verifies what it fetches by the archive's own key.
#   scripts/apt-private.sh SUITE DIRECTORY PACKAGE[=VERSION]..   downloads into the directory
#   scripts/apt-private.sh --versions SUITE PACKAGE              prints the versions that the suite has, newest first
# Exit status 2: the suite lacks the package.

source "$(dirname "$0")/lib.sh"

versions_only=
if [[ ${1:-} == --versions ]]; then
	versions_only=1
	shift
	suite=$1
	set -- "$2"
else
	suite=$1
	directory=$2
	shift 2
fi

command -v apt-get >/dev/null || die "packages of $suite are fetched by apt, which this system has not"

# The mirror is the one that the system uses for Debian itself: neither security updates nor some third party's packages.
# Both deb and deb-src lines would do; the first address wins.
mirror() {
	apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' 2>/dev/null |
		awk -F'|' '$1 == "Debian" && $2 == "Debian" && $3 == "main" { print $4; exit }'
}

keyring() {
	local file
	for file in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
		if [[ -f $file ]]; then
			echo "$file"
			return
		fi
	done
}

# A suite's directory holds its list of sources, its lists and nothing that has to be kept.
home=$cache/apt/$suite
lock "apt-$suite"
mkdir -p "$home/state/lists/partial" "$home/cache/archives/partial"

address=$(mirror)
if [[ -z $address ]]; then
	say "apt: the system's package lists name no Debian mirror yet: reading them"
	"$top/scripts/packages.sh" --update
	address=$(mirror)
fi
[[ -n $address ]] || die "apt's configuration names no Debian mirror, so packages of $suite cannot be fetched; give KERNEL_TARBALL= or KDIR= instead"
keys=$(keyring)
[[ -n $keys ]] || die "the package debian-archive-keyring is not installed, so packages of $suite cannot be verified"
printf 'deb [signed-by=%s] %s %s main\n' "$keys" "$address" "$suite" >"$home/sources.list.new"
if ! cmp -s "$home/sources.list.new" "$home/sources.list"; then
	rm -f "$home/fresh"
fi
mv "$home/sources.list.new" "$home/sources.list"

# Read after the system's own configuration, whose proxies and certificates stay in force.
cat >"$home/apt.conf" <<END
Dir::Etc::SourceList "$home/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "$home/state";
Dir::State::status "/dev/null";
Dir::Cache "$home/cache";
Debug::NoLocking "true";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "2";
APT::Update::Error-Mode "any";
#clear Acquire::IndexTargets::deb;
Acquire::IndexTargets::deb::Packages {
	MetaKey "\$(COMPONENT)/binary-\$(ARCHITECTURE)/Packages";
	flatMetaKey "Packages";
	ShortDescription "Packages";
	Description "\$(RELEASE)/\$(COMPONENT) \$(ARCHITECTURE) Packages";
	Optional "0";
};
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
END
options=(-q -c "$home/apt.conf")
log=$cache/log/apt-$suite.log

# Lists of less than a day do.
if [[ -z $(find "$home/fresh" -mmin -1440 2>/dev/null) ]]; then
	long "apt $suite" "$log" apt-get "${options[@]}" update ||
		die "the package lists of $suite could not be read from the system's mirror"
	touch "$home/fresh"
fi

versions_of() {
	apt-cache "${options[@]}" show "$1" 2>/dev/null | sed -n 's/^Version: //p' | sort -rV
}

if [[ -n $versions_only ]]; then
	versions_of "$1"
	exit 0
fi

for package; do
	[[ -n $(versions_of "${package%%=*}") ]] || exit 2
done
mkdir -p "$directory"
cd "$directory"
if ! long "apt $suite" "$log" apt-get "${options[@]}" download "$@"; then
	# The mirror may have moved on since the lists were read.
	rm -f "$home/fresh"
	die "$* could not be downloaded from $suite"
fi
