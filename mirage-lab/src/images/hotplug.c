// What Xen's tools run for each new device of a domain, by one of two names: vif-lab puts a network interface on its bridge,
// block-lab gives a file to a disk's backend as a block device. Xen's own scripts (vif-bridge and block, still there) do the
// same in seconds of this machine's time: they start a hundred programs.

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

enum { READ = 2, WRITE = 11, ERROR = 16, LARGEST = 4096 };

// The head of a message to xenstored and from it (xen/io/xs_wire.h).
struct head {
    uint32_t kind, request, transaction, length;
};

static int store;
// The device's part of xenstore.
static const char *device;

static int whole(ssize_t (*move)(int, void *, size_t), void *bytes, size_t length) {
    while (length > 0) {
        ssize_t moved = move(store, bytes, length);
        if (moved <= 0)
            return -1;
        bytes = (char *)bytes + moved;
        length -= moved;
    }
    return 0;
}

static ssize_t out(int file, void *bytes, size_t length) {
    return write(file, bytes, length);
}

// Asks for the device's node `name`; the answer, with a zero after it, is in `value`. 0 if there is one.
static int ask(uint32_t kind, const char *name, const char *written, char value[LARGEST + 1]) {
    char message[sizeof(struct head) + LARGEST];
    char *text = message + sizeof(struct head);
    int length = snprintf(text, LARGEST, "%s/%s%c%s", device, name, 0, written);
    if (length < 0 || length >= LARGEST)
        return -1;
    struct head head = {kind, 0, 0, length};
    memcpy(message, &head, sizeof head);
    if (whole(out, message, sizeof head + length) || whole(read, &head, sizeof head) || head.length > LARGEST)
        return -1;
    if (whole(read, value, head.length))
        return -1;
    value[head.length] = 0;
    return head.kind == ERROR ? -1 : 0;
}

static int get(const char *name, char value[LARGEST + 1]) {
    return ask(READ, name, "", value);
}

static int set(const char *name, const char *value) {
    char answer[LARGEST + 1];
    return ask(WRITE, name, value, answer);
}

__attribute__((format(printf, 1, 2))) static int fail(const char *format, ...) {
    char text[512];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    set("hotplug-error", text);
    set("hotplug-status", "error");
    return 1;
}

// `vif` is the interface's name.
static int network(const char *action, const char *vif) {
    char bridge[LARGEST + 1];
    if (strcmp(action, "online") != 0)
        return 0;
    if (!vif || strlen(vif) >= IFNAMSIZ || get("bridge", bridge) || strlen(bridge) >= IFNAMSIZ)
        return fail("no interface, or no name of a bridge");
    int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {0};
    strcpy(request.ifr_name, bridge);
    request.ifr_ifindex = if_nametoindex(vif);
    if (ioctl(any, SIOCBRADDIF, &request) && errno != EBUSY)
        return fail("bridge %s: %s", bridge, strerror(errno));
    strcpy(request.ifr_name, vif);
    if (ioctl(any, SIOCGIFFLAGS, &request))
        return fail("interface %s: %s", vif, strerror(errno));
    request.ifr_flags |= IFF_UP;
    if (ioctl(any, SIOCSIFFLAGS, &request))
        return fail("interface %s: %s", vif, strerror(errno));
    return set("hotplug-status", "connected") ? 1 : 0;
}

// Makes `file` a loop device, whose path is in `node` then.
static int attach(const char *file, int flags, char node[32]) {
    struct loop_config config = {0};
    config.fd = open(file, (flags ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if ((int)config.fd < 0 || control < 0)
        return -1;
    config.info.lo_flags = flags;
    memcpy(config.info.lo_file_name, file, strnlen(file, LO_NAME_SIZE - 1));
    // Two that look for a free device at one time would find the same. Others than this program look, too.
    int lock = open("/run/lock/loop", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0 || flock(lock, LOCK_EX))
        return -1;
    int number = ioctl(control, LOOP_CTL_GET_FREE);
    if (number < 0)
        return -1;
    snprintf(node, 32, "/dev/loop%d", number);
    int loop = open(node, (flags ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    return loop < 0 ? -1 : ioctl(loop, LOOP_CONFIGURE, &config);
}

static int disk(const char *action) {
    char value[LARGEST + 1], file[LARGEST + 1], node[32], numbers[32];
    struct stat found;
    if (strcmp(action, "remove") == 0) {
        int loop = get("node", value) ? -1 : open(value, O_RDWR | O_CLOEXEC);
        if (loop >= 0)
            ioctl(loop, LOOP_CLR_FD);
        return 0;
    }
    if (strcmp(action, "add") != 0)
        return 0;
    if (get("params", file) || get("mode", value))
        return fail("no file, or no mode");
    if (attach(file, *value == 'w' ? 0 : LO_FLAGS_READ_ONLY, node) || stat(node, &found))
        return fail("no loop device for %s: %s", file, strerror(errno));
    snprintf(numbers, sizeof numbers, "%x:%x", major(found.st_rdev), minor(found.st_rdev));
    int failed = set("node", node) || set("physical-device", numbers) || set("physical-device-path", node);
    return failed || set("hotplug-status", "connected") ? 1 : 0;
}

int main(int count, char **words) {
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/run/xenstored/socket"};
    store = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    device = getenv("XENBUS_PATH");
    if (count < 2 || !device || connect(store, (struct sockaddr *)&address, sizeof address)) {
        fprintf(stderr, "%s: no action, no device, or no xenstored\n", words[0]);
        return 1;
    }
    return strstr(words[0], "block") ? disk(words[1]) : network(words[1], getenv("vif"));
}
