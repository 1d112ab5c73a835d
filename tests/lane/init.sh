#!/bin/sh
# The first process of a guest. It lays memory over the machine's files, so that nothing that is written
# reaches them, shares one directory for reading and writing, runs $lane/command, and ends the guest.
# The kernel's command line says where $lane is.
set -e
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
. "$lane/settings" # busybox kind modules shared tables terminal

box() { "$busybox" "$@"; } # static: it starts faster than the machine's programs

share() {
    case $kind in
    hostfs) box mount -n -t hostfs -o "$shared" none "$shared" ;;
    9p) box mount -n -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=none lane "$shared" ;;
    esac
}

cover_files() {
    [ "$kind" != hostfs ] || box insmod "$modules/kernel/fs/overlayfs/overlay.ko"
    box mount -n -t tmpfs -o mode=755 tmpfs /mnt
    box mkdir /mnt/upper /mnt/work /mnt/root
    box mount -n -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
    cd /mnt/root
    box pivot_root . mnt
    box umount -l /mnt
}

mount_kernel_files() {
    box mount -n -t proc proc /proc
    box mount -n -t sysfs sysfs /sys
    box mount -n -t devtmpfs dev /dev
    box mount -n -t tmpfs -o mode=755 tmpfs /run
    box mkdir -p /dev/pts /dev/shm /dev/net /run/lock /lib/modules
    box mount -n -t devpts devpts /dev/pts
    box mount -n -t tmpfs tmpfs /dev/shm
    box mount -n -t cgroup2 none /sys/fs/cgroup
    [ -e /dev/net/tun ] || box mknod /dev/net/tun c 10 200
}

# Kernels load modules by themselves, with a program that a bare machine lacks.
offer_modules() {
    box mkdir -p "/lib/modules/$(box uname -r)"
    box mount -n -o bind "$modules" "/lib/modules/$(box uname -r)"
    box ln -sf "$busybox" /sbin/modprobe
    [ -e /proc/sys/net/ipv6 ] || /sbin/modprobe ipv6
    [ "$kind" = hostfs ] || /sbin/modprobe br_netfilter # tests switch it on and off, which loads no module
}

# user-mode-linux has x_tables, but no nf_tables for ip, ip6 and inet.
choose_tables() {
    [ "$tables" = legacy ] || return 0
    for program in iptables iptables-save iptables-restore; do
        for family in ip ip6; do
            box ln -sf "/usr/sbin/${family}tables-legacy${program#iptables}" "/etc/alternatives/$family${program#ip}"
        done
    done
}

cover_files
mount_kernel_files
offer_modules
choose_tables
share
box hostname guest
box ip link set lo up
exec </dev/null >"$terminal" 2>&1
box stty -opost <"$terminal" # lines end as they do in a file
status=0
"$lane/command" || status=$?
echo $status >"$lane/status"
box stty sane <"$terminal" # waits until all is out
box sync
box poweroff -f
