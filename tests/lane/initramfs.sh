#!/bin/busybox sh
# The first process of the emulated kernel: loads what mounting takes, then goes over to the machine's files.
set -e
for applet in mount umount insmod switch_root; do
    /bin/busybox ln -s busybox /bin/$applet
done
PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do
    insmod "$module"
done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose,ro root /new
umount /proc
umount /dev
exec switch_root /new "$lane_init"
