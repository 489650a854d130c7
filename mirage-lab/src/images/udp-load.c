/* Echo over UDP, both sides of it.
 * Usage: udp-load echo PORT
 *        udp-load ask ADDRESS PORT WINDOW BYTES SECONDS
 * echo sends back what comes, one datagram with two system calls, until it is killed. ask keeps WINDOW datagrams of BYTES bytes
 * under way, a batch with one system call, and prints one line at the end:
 *   answers N nanoseconds T lost L */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { MOST = 64, LONGEST = 2048 };

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static int fail(const char *what)
{
    perror(what);
    return 1;
}

static int echo(int port)
{
    static char bytes[65536];
    struct sockaddr_in own = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    int s = socket(AF_INET, SOCK_DGRAM, 0);

    if (s < 0 || bind(s, (struct sockaddr *)&own, sizeof own))
        return fail("bind");
    for (;;) {
        struct sockaddr_in from;
        socklen_t length = sizeof from;
        ssize_t got = recvfrom(s, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &length);

        if (got >= 0)
            sendto(s, bytes, (size_t)got, 0, (struct sockaddr *)&from, length);
    }
}

static char bytes[MOST][LONGEST];
static struct iovec parts[MOST];
static struct mmsghdr messages[MOST];

static int ask(const char *address, int port, unsigned window, size_t length, unsigned seconds)
{
    struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    uint64_t start, answers = 0, lost = 0;
    unsigned room = window;
    int s = socket(AF_INET, SOCK_DGRAM, 0);

    if (!window || window > MOST || length > LONGEST || inet_pton(AF_INET, address, &peer.sin_addr) != 1) {
        fprintf(stderr, "udp-load: at most %d datagrams of at most %d bytes\n", MOST, LONGEST);
        return 2;
    }
    if (s < 0 || connect(s, (struct sockaddr *)&peer, sizeof peer))
        return fail("connect");
    start = now();
    while (now() - start < seconds * 1000000000ull) {
        struct pollfd waiting = { .fd = s, .events = POLLIN };
        int got, sent = 0;

        for (unsigned i = 0; i < window; i++) {
            parts[i] = (struct iovec){ bytes[i], length };
            messages[i].msg_hdr = (struct msghdr){ .msg_iov = &parts[i], .msg_iovlen = 1 };
        }
        if (room && (sent = sendmmsg(s, messages, room, 0)) > 0)
            room -= (unsigned)sent;
        if (poll(&waiting, 1, 100) == 0) {
            /* Nothing has come for long: what is under way is lost. */
            lost += window - room;
            room = window;
            continue;
        }
        got = recvmmsg(s, messages, window, MSG_DONTWAIT, NULL);
        if (got > 0) {
            answers += (unsigned)got;
            room = room + (unsigned)got > window ? window : room + (unsigned)got;
        }
    }
    printf("answers %llu nanoseconds %llu lost %llu\n", (unsigned long long)answers, (unsigned long long)(now() - start),
           (unsigned long long)lost);
    return 0;
}

int main(int count, char **words)
{
    if (count == 3 && !strcmp(words[1], "echo"))
        return echo(atoi(words[2]));
    if (count == 7 && !strcmp(words[1], "ask"))
        return ask(words[2], atoi(words[3]), (unsigned)atoi(words[4]), (size_t)atoi(words[5]), (unsigned)atoi(words[6]));
    fprintf(stderr, "usage: udp-load echo PORT | udp-load ask ADDRESS PORT WINDOW BYTES SECONDS\n");
    return 2;
}
