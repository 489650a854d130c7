#!/bin/busybox sh
# Gives a file to a disk's backend as a block device. Xen's own script (block, still there) does the same in seconds of this
# machine's time, and gives up when the machine is busy. (The losetup of busybox comes first on the path, and is another.)
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
if [ "$1" = remove ]; then
    node=$(xenstore-read "$XENBUS_PATH/node") && /usr/bin/losetup -d "$node"
    exit 0
fi
[ "$1" = add ] || exit 0
file=$(xenstore-read "$XENBUS_PATH/params") || exit 1
[ "$(xenstore-read "$XENBUS_PATH/mode")" = w ] && only= || only=-r
# Two that look for a free device at one time would find the same.
if node=$(flock /run/lock/loop /usr/bin/losetup $only --find --show "$file"); then
    exec xenstore-write "$XENBUS_PATH/node" "$node" "$XENBUS_PATH/physical-device" "$(stat -L -c %t:%T "$node")" \
        "$XENBUS_PATH/physical-device-path" "$node" "$XENBUS_PATH/hotplug-status" connected
fi
xenstore-write "$XENBUS_PATH/hotplug-error" "no loop device for $file" "$XENBUS_PATH/hotplug-status" error
exit 1
