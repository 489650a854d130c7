#!/bin/busybox sh
# What dom0 does at the start of each lab, whether it has just booted or was kept from an earlier one: takes the host's folders,
# and the host's time, in seconds since 1970.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
date -s "@$1" >/dev/null || exit 1
options=trans=virtio,version=9p2000.L,msize=262144
mount -t 9p -o $options host /host && mount -t 9p -o $options,ro images /images || exit 1
# Of two that are the first ones to look into a folder at the same time, one may not find what it looks for: nobody is first.
ls /host/. /images/. >/dev/null
