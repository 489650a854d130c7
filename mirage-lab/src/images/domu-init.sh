#!/bin/busybox sh
# The first program of the Linux domU that benchmarks compare with: nginx, iperf3, and a port that runs what it is sent, for
# dom0 to start loads with.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
/bin/busybox --install -s 2>/dev/null
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
for module in $(cat /lib/mods/domu.order); do
    insmod "/lib/mods/$module.ko" || echo "domu: module $module does not load"
done
tries=0
while [ ! -e /sys/class/net/eth0 ] && [ $tries -lt 200 ]; do
    usleep 10000
    tries=$((tries + 1))
done
address=10.0.2.16/24
gateway=10.0.2.2
for word in $(cat /proc/cmdline); do
    case $word in
    lab.ipv4=*) address=${word#*=} ;;
    lab.gateway=*) gateway=${word#*=} ;;
    esac
done
ip link set lo up
ip addr add "$address" dev eth0
ip link set eth0 up
ip route add default via "$gateway"
mkdir -p /run /tmp /var/lib/nginx /var/log/nginx
nginx -c /etc/nginx.conf
iperf3 -s -D
nc -ll -p 7000 -e /bin/sh &
echo "domu: ready after $(cut -d' ' -f1 /proc/uptime) s"
while :; do sleep 3600; done
