#!/usr/bin/env bash
# make test-vm: boots two virtual machines side by side, in virtual time, and judges what they report.
# run.sh PYTHON: the interpreter that has neuralpower with its sampler
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../../.." && pwd)
work=$top/build/vm
began=$SECONDS

rm -f "$top/build/bench/vm.json"  # no old ratio beside a run that failed
made=$("$here/build.sh")
read -r kernel root modules <<<"$made"
rm -rf "$work" && mkdir -p "$work/code/modules"
cp "$modules"/*.ko "$work/code/modules/"
gcc -std=c11 -O2 -Wall -Wextra -static -o "$work/code/bare_loop" "$here/bare_loop.c"
tar -cf "$work/code.tar" -C "$top" --exclude=__pycache__ sampler_c/neuralpower_sampler wire align daemon client tests/beds/vm/guest \
    -C "$work/code" modules bare_loop

boot() {  # job: until the machine powers off
    local share=$work/$1
    mkdir "$share" && ln "$work/code.tar" "$share/code.tar"
    timeout 900 qemu-system-x86_64 -accel tcg -icount shift=0,sleep=off -smp 1 -m 1024 -machine q35 -cpu max \
        -nodefaults -no-user-config -display none -no-reboot -serial "file:$work/$1.console" \
        -kernel "$kernel/vmlinux" -initrd "$kernel/initramfs.cpio" \
        -append "console=ttyS0 quiet panic=-1 preempt=full tsc=reliable bed.job=$1" \
        -drive "file=$root/disk,format=raw,if=virtio,snapshot=on" \
        -virtfs "local,path=$share,mount_tag=share,security_model=none" </dev/null >"$work/$1.qemu" 2>&1 || true
    [ "$(cat "$share/status" 2>/dev/null)" = 0 ] && return
    echo "test-vm: $1 did not come to its end; the last of build/vm/$1:" >&2
    tail -n 15 "$share/log" "$work/$1.qemu" "$work/$1.console" >&2 2>/dev/null
    return 1
}

echo "test-vm: two virtual machines run, log: build/vm/*/log ($((SECONDS - began)) s for what they boot)"
began=$SECONDS
boot hour &
hour=$!
failed=0
boot drive || failed=1
wait "$hour" || failed=1
echo "test-vm: they ran $((SECONDS - began)) s"
[ "$failed" = 0 ] || exit 1
exec "${1:-python3}" "$here/judge.py" "$work" "$top/build/bench/vm.json"
