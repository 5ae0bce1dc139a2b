#!/usr/bin/env bash
# Makes what the virtual machine boots: kernel, initial RAM disk, disk, modules; all of it in a cache outside the checkout.
# Prints the folder. Fetches packages with apt, installs none; run by run.sh.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/neuralpower/vm
suite=bookworm
packages=python3-minimal,libpython3-stdlib,python3-numpy,python3-cffi-backend,python3-msgpack,python3-zmq
PATH=$PATH:/usr/sbin:/sbin
modules="virtio_pci virtio_blk crc32c_generic ext4 9pnet_virtio 9p i2c-dev"

die() { echo "test-vm: $*" >&2; exit 1; }

need() {  # command, package
    command -v "$1" >/dev/null || missing="$missing $2"
}

missing=
need qemu-system-x86_64 qemu-system-x86
need mmdebstrap mmdebstrap
need busybox busybox-static
need mke2fs e2fsprogs
need cpio cpio
need depmod kmod
need xz xz-utils
need gcc gcc
need make make
headers=$(find /usr/src -maxdepth 1 -name 'linux-headers-6.1.*-amd64' ! -name '*-cloud-*' ! -name '*-rt-*' 2>/dev/null | sort -V | tail -n 1)
[ -n "$headers" ] || missing="$missing linux-headers-amd64"
[ "$(uname -m)" = x86_64 ] || die "this bed is for an x86-64 machine with Debian 12"
[ -z "$missing" ] || die "packages are missing: apt-get install --no-install-recommends$missing"

kernel=${headers#/usr/src/linux-headers-}
version=$(dpkg-query -W -f '${Version}' "linux-headers-$kernel")
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9

find "$cache" -mindepth 1 -maxdepth 1 -type d -mtime +30 -exec rm -rf {} +

fetch() {  # package, version: leaves the .deb in the present folder
    apt-get download "$1=$2" >fetch.log 2>&1 || die "cannot fetch $1 $2: apt-get update, then apt-get upgrade linux-headers-amd64 ($(tail -n 1 fetch.log))"
}

# Runs a step in a fresh folder and renames that into place, so that what is there is whole.
step() {  # folder, function
    [ -d "$cache/$1" ] && return
    echo "test-vm: making $1" >&2
    rm -rf "$cache/$1.new" && mkdir "$cache/$1.new"
    (cd "$cache/$1.new" && "$2") >&2
    mv "$cache/$1.new" "$cache/$1"
}

make_kernel() {
    fetch "linux-image-$kernel" "$version"
    dpkg-deb -x ./*.deb tree
    rm ./*.deb
    python3 - "tree/boot/vmlinuz-$kernel" vmlinux <<'PYTHON'
import lzma, struct, sys
image = open(sys.argv[1], "rb").read()
offset, length = struct.unpack_from("<II", image, 0x248)  # payload_offset, payload_length of the boot protocol
begin = (image[0x1F1] + 1) * 512 + offset
open(sys.argv[2], "wb").write(lzma.LZMADecompressor().decompress(image[begin : begin + length]))
PYTHON
    depmod -b tree "$kernel"
    mkdir -p ram/bin ram/lib ram/proc ram/dev ram/root
    cp "$(command -v busybox)" ram/bin/busybox
    modprobe -d tree -S "$kernel" -a --show-depends $modules | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >order
    while read -r module; do
        cp "$module" ram/lib/ && echo "${module##*/}"
    done <order >ram/lib/order
    cp "$here/guest/initramfs" ram/init
    (cd ram && find . | cpio --quiet -o -H newc) >initramfs.cpio
    rm -rf tree ram
}

make_root() {
    mmdebstrap --variant=apt --include="$packages" --aptopt='APT::Install-Recommends "false"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        "$suite" root.tar >mmdebstrap.log 2>&1 || { tail -n 5 mmdebstrap.log; die "mmdebstrap failed"; }
    mkdir root && tar -xf root.tar -C root --exclude='./dev/*'
    rm root.tar
    mkdir -p root/np root/share
    truncate -s 900M disk
    mke2fs -q -t ext4 -O ^has_journal -d root disk
    rm -rf root
}

# The driver of Linux 5.10, from the Debian release that has it; only its remove() is told of what has changed since.
fetch_older() {
    mkdir -p apt/lists/partial apt/cache/archives/partial
    # From wherever this machine has its own security updates.
    security=$(apt-get indextargets --format '$(REPO_URI)' | grep -m 1 security) || return 1
    echo "deb $security bullseye-security main" >apt/list
    set -- -o "Dir::Etc::sourcelist=$PWD/apt/list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$PWD/apt/lists" \
        -o "Dir::Cache=$PWD/apt/cache" -o Acquire::Check-Valid-Until=false
    apt-get "$@" update >older.log 2>&1 && apt-get "$@" download linux-source-5.10 >>older.log 2>&1 || return 1
    dpkg-deb --fsys-tarfile ./linux-source-5.10*.deb | tar -xO ./usr/src/linux-source-5.10.tar.xz |
        tar -xJO linux-source-5.10/drivers/hwmon/ina3221.c |
        sed '/^static int ina3221_remove/,/^}/{s/^static int/static void/;/return 0;/d}' >ina3221_older.c || return 1
}

make_modules() {
    fetch_older || { rm -f ina3221_older.c; echo "test-vm: the older driver cannot be fetched, it will not be judged" >&2; }
    rm -rf apt ./*.deb
    fetch linux-source-6.1 "$version"
    dpkg-deb --fsys-tarfile ./*.deb | tar -xO ./usr/src/linux-source-6.1.tar.xz | tar -xJO linux-source-6.1/drivers/hwmon/ina3221.c >ina3221.c
    rm ./*.deb
    cp "$here"/chip/* .
    make -s -C "/lib/modules/$kernel/build" M="$PWD" modules >make.log 2>&1 || { cat make.log; die "the modules do not build"; }
}

# The day of use is the folder's, so that what is in use is not cleared away.
kernel_folder=kernel-$version-$(sha256sum "$here/guest/initramfs" | cut -c 1-12)
root_folder=root-$(echo "$suite $packages" | sha256sum | cut -c 1-12)
module_folder=modules-$version-$(cat "$here"/chip/* | sha256sum | cut -c 1-12)
step "$kernel_folder" make_kernel
step "$root_folder" make_root
step "$module_folder" make_modules
touch "$cache/$kernel_folder" "$cache/$root_folder" "$cache/$module_folder"
echo "$cache/$kernel_folder $cache/$root_folder $cache/$module_folder"
