#!/bin/busybox sh
# The first program of dom0: what Xen's tools need, a bridge with the host's network, then the lab's agent. All of it is kept for
# later labs: what depends on the host is settle's.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
/bin/busybox --install -s 2>/dev/null
mount -t proc proc /proc
# Kernels, disks and saved domains lie in it: half of the memory is too little at times, and nothing else wants the rest.
mount -o remount,size=80% /
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs tmpfs /run
mkdir -p /dev/pts /run/xen /run/xenstored /run/xen-hotplug /run/lock
mount -t devpts pts /dev/pts
# Without these the lock of Xen's block script never comes free.
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr

for module in $(cat /lib/mods/dom0.order); do
    insmod "/lib/mods/$module.ko" || echo "dom0: module $module does not load"
done
mount -t xenfs xenfs /proc/xen

xenstored --pid-file /run/xen/xenstored.pid
# A client that comes before the socket costs seconds.
tries=0
while [ ! -e /run/xenstored/socket ] && [ $tries -lt 400 ]; do
    usleep 25000
    tries=$((tries + 1))
done
xen-init-dom0 >/dev/null || echo "dom0: xen-init-dom0 failed"
xenconsoled --pid-file=/run/xen/xenconsoled.pid --log=guest --log-dir=/var/log/xen/console --timestamp=none

echo 0 > /proc/sys/net/ipv6/conf/all/accept_ra
# What dom0 says of its own on a guest's link would be in every trace.
echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
ip link set lo up
ip link add name xenbr0 type bridge forward_delay 0
for card in /sys/class/net/eth*; do
    card=${card##*/}
    [ -e "/sys/class/net/$card" ] || continue
    ip link set "$card" master xenbr0
    ip link set "$card" up
    # QEMU answers with a reset to a guest that the bridge does not know, as if the guest had: it is not to see such frames.
    echo 0 > "/sys/class/net/$card/brport/unicast_flood"
done
ip addr add 10.0.2.15/24 dev xenbr0
ip link set xenbr0 up
ip route add default via 10.0.2.2
# A guest that is not up yet would otherwise be asked for once a second only, and be given up after three times.
echo 20 > /proc/sys/net/ipv4/neigh/xenbr0/retrans_time_ms
echo 100 > /proc/sys/net/ipv4/neigh/xenbr0/mcast_solicit

echo "dom0: up after $(cut -d' ' -f1 /proc/uptime) s"
mirage-lab-agent
echo "dom0: the agent ended"
poweroff -f
