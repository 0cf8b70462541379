#!/bin/sh
# Mounts a root of its own and moves into it, and with it whoever is in this mount namespace. Also read by enter.sh.
# usage: root.sh ROOT MOUNTPOINT [SOURCE TARGET]... --
set -eu
umask 022
root=$1
mnt=$2
shift 2

# A user namespace may not bind a folder without the mounts below it, nor make those read-only: its user cannot write there anyway.
show() {
    mount -o bind,ro "$1" "$2" 2>/dev/null || mount --rbind "$1" "$2"
}

mount --bind "$root" "$mnt"
show /usr "$mnt/usr"
mount --bind "$root/usr/local" "$mnt/usr/local"
while [ "$1" != -- ]; do
    show "$1" "$mnt$2"
    shift 2
done
shift

# Where a container hides parts of /proc, the kernel refuses a new one.
mount -t proc proc "$mnt/proc" 2>/dev/null || mount --rbind /proc "$mnt/proc"
mount -o bind,ro "$mnt/proc/sys" "$mnt/proc/sys"
show /sys "$mnt/sys"
for device in null zero full random urandom tty; do
    mount --bind "/dev/$device" "$mnt/dev/$device"
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$mnt/dev/pts"

cd "$mnt"
mkdir .host
pivot_root . .host
cd /
umount -l /.host
rmdir /.host
