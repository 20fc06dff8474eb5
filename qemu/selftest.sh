#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Checks the guest runner with a real kernel: every exit status, and what must come back with it.
#
# usage: qemu/selftest.sh BZIMAGE [RUNNER]
#
# A kernel with kmemleak (the test kernel) lets the leak check run as well. QEMU's acceleration is whatever the
# runner chooses; KVM=off in the environment forbids it.
# shellcheck disable=SC2016 # What stands in single quotes is for the guest's shell.
set -euo pipefail

if [ $# -lt 1 ]; then
    echo "usage: $0 BZIMAGE [RUNNER]" >&2
    exit 2
fi
kernel=$1
runner=${2:-rovl-guest}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export TMPDIR=$dir
passed=0 failed=0

# ok NAME CONDITION...: counts one check.
ok() {
    local name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
        echo "ok - $name"
    else
        failed=$((failed + 1))
        echo "not ok - $name"
        head -c 400 "$dir/stdout" | sed 's/^/#   stdout: /'
        head -c 800 "$dir/stderr" | sed 's/^/#   stderr: /'
    fi
}

# guest STATUS NAME OPTIONS -- COMMAND: runs a guest and compares its exit status.
guest() {
    local want=$1 name=$2 got=0
    shift 2
    "$runner" --kernel "$kernel" --kvm "${KVM:-auto}" --timeout 120 --log "$dir/log" "$@" \
        >"$dir/stdout" 2>"$dir/stderr" </dev/null || got=$?
    ok "$name: status $want (is $got)" [ "$got" = "$want" ]
}

says() { grep -q -- "$1" "$dir/stderr"; }
logs() { grep -q -- "$1" "$dir/log"; }
silent() { [ ! -s "$dir/stderr" ]; }
printed() { printf '%s' "$1" | cmp -s - "$dir/stdout"; }

guest 0 "a command that works" -- true
ok "nothing is said of it" silent
ok "the log is whole" logs "reboot: Power down"
ok "the log has no carriage returns" bash -c "! grep -q $'\r' '$dir/log'"

guest 0 "output" -- printf 'one\ntwo\r\n\tthree é\n'
ok "output arrives as it was written" printed $'one\ntwo\r\n\tthree é\n'

guest 0 "much output" -- seq 1 200000
ok "nothing of it is lost" bash -c "seq 1 200000 | cmp -s - '$dir/stdout'"

guest 7 "a command that fails" -- sh -c 'echo out; echo err >&2; exit 7'
ok "both of its streams arrive" printed $'out\nerr\n'
ok "the log is named" says "status 7; the kernel's log is $dir/log"

guest 119 "a command that is killed" -- sh -c 'kill -SEGV $$'
ok "the signal is named" says "signal 11"

guest 119 "a command that is not there" -- no-such-command
ok "that is said" says "not found in the guest"

# What the command prints is not the kernel's log, whatever it looks like.
guest 0 "a command that speaks of bugs" -- echo 'BUG: WARNING: Kernel panic'

echo data >"$dir/file"
mkdir -p "$dir/tree/sub"
echo '#!/bin/sh' >"$dir/tree/sub/run"
chmod 755 "$dir/tree/sub/run"
guest 0 "files, modes and trees" --file "$dir/file:/a/b/c:0640" --file "$dir/tree:/tree" -- \
    sh -c '[ "$(cat /a/b/c)" = data ] && [ "$(stat -c %a /a/b/c)" = 640 ] && /tree/sub/run'

guest 0 "what a command finds" -- sh -ec '
    [ "$(id -u)" = 0 ]
    [ "$(pwd)" = / ]
    for dir in /proc /sys /dev /dev/pts /dev/shm /tmp /run /sys/fs/cgroup /sys/kernel/debug; do
        grep -q " $dir " /proc/mounts
    done
    ip addr show lo | grep -q "inet 127.0.0.1"
    [ "$(hostname)" = rovl ]
    touch /tmp/x && echo x >/dev/null && echo x >/dev/stderr
    [ -z "$(cat)" ]'

truncate -s 8M "$dir/kept.img" "$dir/fixed.img" "$dir/shown.img"
guest 0 "disks" --disk "$dir/kept.img" --disk "$dir/fixed.img:ro" --disk "$dir/shown.img:snapshot" \
    --scratch s1:1G --scratch s2:3T -- sh -ec '
    cd /dev/disk/rovl
    [ "$(ls | xargs)" = "fixed kept s1 s2 shown" ]
    [ "$(blockdev --getsize64 s2)" = 3298534883328 ]
    for disk in kept shown s1 s2; do echo written >$disk; done
    sync
    ! echo written >fixed'
ok "a disk keeps what is written" grep -q written "$dir/kept.img"
ok "a snapshot does not" bash -c "! grep -q written '$dir/shown.img'"

guest 0 "files out" --out "$dir/out" -- sh -c 'mkdir /out/d && echo result >/out/d/f'
ok "the file is there" grep -q result "$dir/out/d/f"

guest 120 "a panic" --out "$dir/crash" -- sh -c 'echo before >/out/f; echo last words; echo c >/proc/sysrq-trigger'
ok "the panic is shown" says "Kernel panic - not syncing: sysrq triggered crash"
ok "files written before are there" grep -q before "$dir/crash/f"
ok "output printed before is there" printed $'last words\n'

guest 120 "a complaint in the log" -- sh -c 'echo "WARNING: fs/x.c:1 at f+0x0/0x1" >/dev/kmsg; sleep 1; echo after; exit 7'
ok "the complaint is shown" says "the kernel complained: WARNING: fs/x.c:1"
ok "the command went on" printed $'after\n'

guest 121 "a time limit" --timeout 20 -- sh -c 'echo waiting; sleep 1000'
ok "the limit is named" says "time limit of 20 s"
ok "output until then is there" printed $'waiting\n'

guest 121 "a time limit during the boot" --timeout 1 -- true
ok "that is said" says "before the command began"

guest 122 "a guest that switches itself off" -- poweroff -f
ok "that is said" says "the guest died"

guest 122 "a guest that reboots" -- reboot -f

guest 123 "no kernel" --kernel "$dir/none" -- true
guest 123 "a kernel that is none" --kernel "$dir/file" -- true
guest 123 "no command"
guest 123 "a module that is not there" --module "$dir/none.ko" -- true
guest 123 "an emulator that is not there" --qemu "$dir/none" -- true
ok "that is said" says "cannot start"

# Whatever ends the runner must end the emulator.
for signal in INT TERM KILL; do
    "$runner" --kernel "$kernel" --kvm "${KVM:-auto}" --log "$dir/log" -- sleep 1000 >/dev/null 2>&1 &
    pid=$!
    sleep 3
    emulator=$(pgrep -P "$pid" || true)
    ok "an emulator runs" [ -n "$emulator" ]
    kill "-$signal" "$pid"
    wait "$pid" 2>/dev/null && status=0 || status=$?
    ok "SIG$signal ends the runner (status $status)" [ "$status" = "$((128 + $(kill -l "$signal")))" ]
    sleep 0.5
    # A zombie that nobody has collected yet is gone, too.
    ok "and the emulator" bash -c "! grep -Eqs '^State:[[:space:]]+[^ZX[:space:]]' /proc/$emulator/status"
done

got=0
printf 'tty; stty size; exit 9\n' | "$runner" --kernel "$kernel" --kvm "${KVM:-auto}" --log "$dir/log" --timeout 120 \
    --interactive -- sh >"$dir/stdout" 2>"$dir/stderr" || got=$?
ok "a shell on a terminal (status $got)" [ "$got" = 9 ]
ok "it is a terminal" grep -q /dev/hvc0 "$dir/stdout"

guest 0 "kmemleak" --kmemleak -- true
if says "no kmemleak"; then
    failed=$((failed - 1))
    echo "# the line above is not counted: this kernel has no kmemleak"
fi

ok "no temporary file stays" [ -z "$(find "$dir" -name 'rovl-guest.*' -o -name '.tmp*')" ]
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
