/* Moves bytes over TCP that say where they belong, both sides of it.
 * Usage: tcp-load serve PORT
 *        tcp-load put|get ADDRESS PORT SEED BYTES MILLISECONDS
 * put sends, get takes, until so many bytes are through or so much time has passed. Each side that takes compares every byte with
 * what it must be. put and get print one line at the end, and fail if a byte was wrong or nothing moved for a minute:
 *   bytes N nanoseconds T
 *
 * A connection starts with what the client wants: whether it takes (1) or gives (0), SEED, BYTES and MILLISECONDS, four numbers. Then
 * come the bytes, from whoever gives, up to the end of its stream: word I of them is (SEED + I) * FACTOR. Who took them from the client
 * answers with two numbers: how many there were, and the place of the first that was wrong, or NONE. All numbers have 64 bits and
 * the least significant byte first. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { WORDS = 16384, TAKES = 1, PATIENCE = 60 };
static const uint64_t FACTOR = 0x9e3779b97f4a7c15, NONE = UINT64_MAX;

struct wish {
    uint64_t takes, seed, bytes, milliseconds;
};

struct found {
    uint64_t bytes, wrong;
};

static uint64_t piece[WORDS];

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* What the connection has seen, for whoever asks why it went wrong. */
static int fail(int s, const char *what, uint64_t bytes)
{
    struct tcp_info info = { 0 };
    socklen_t length = sizeof info;

    fprintf(stderr, "tcp-load: after %llu bytes: %s: %m\n", (unsigned long long)bytes, what);
    if (!getsockopt(s, IPPROTO_TCP, TCP_INFO, &info, &length))
        fprintf(stderr,
                "tcp-load: state %u, sent again %u, of those not acknowledged %u, under way %u, window %u, round trip %u us, timeout %u us\n",
                info.tcpi_state, info.tcpi_total_retrans, info.tcpi_retrans, info.tcpi_unacked, info.tcpi_snd_cwnd,
                info.tcpi_rtt, info.tcpi_rto);
    return 1;
}

/* Writes or reads all of it; whether that went well. */
static int whole(int s, void *bytes, size_t length, int writes)
{
    while (length) {
        ssize_t done = writes ? write(s, bytes, length) : read(s, bytes, length);

        if (done <= 0)
            return 0;
        bytes = (char *)bytes + done;
        length -= (size_t)done;
    }
    return 1;
}

/* Sends until there is enough; how much that was, or NONE when the connection went. */
static uint64_t give(int s, const struct wish *wish)
{
    uint64_t end = now() + wish->milliseconds * 1000000, sent = 0;

    while (sent < wish->bytes && now() < end) {
        uint64_t place = wish->seed + sent / 8;
        size_t length = wish->bytes - sent < sizeof piece ? wish->bytes - sent : sizeof piece;

        for (size_t i = 0; i < WORDS; i++)
            piece[i] = (place + i) * FACTOR;
        if (!whole(s, piece, length, 1))
            return NONE;
        sent += length;
    }
    return sent;
}

/* Takes all there is and looks at it; 0 when the connection went before its end. */
static int take(int s, uint64_t seed, struct found *found)
{
    size_t kept = 0;

    *found = (struct found){ 0, NONE };
    for (;;) {
        ssize_t got = read(s, (char *)piece + kept, sizeof piece - kept);
        uint64_t place = seed + (found->bytes - kept) / 8;
        size_t length, words;

        if (got < 0)
            return 0;
        length = kept + (size_t)got;
        words = got ? length / 8 : (length + 7) / 8;
        for (size_t i = 0; i < words && found->wrong == NONE; i++) {
            uint64_t wanted = (place + i) * FACTOR;

            if (memcmp(&piece[i], &wanted, length - i * 8 < 8 ? length - i * 8 : 8))
                found->wrong = (place + i - seed) * 8;
        }
        if (!got)
            return 1;
        found->bytes += (uint64_t)got;
        kept = length % 8;
        memmove(piece, piece + words, kept);
    }
}

static void patience(int s)
{
    struct timeval limit = { .tv_sec = PATIENCE };

    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

static void answer(int s)
{
    struct wish wish;
    struct found found;

    patience(s);
    if (!whole(s, &wish, sizeof wish, 0))
        return;
    if (wish.takes == TAKES)
        give(s, &wish);
    else if (take(s, wish.seed, &found))
        whole(s, &found, sizeof found, 1);
}

static int serve(int port)
{
    struct sockaddr_in6 own = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
    int on = 1, listener = socket(AF_INET6, SOCK_STREAM, 0);

    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (listener < 0 || bind(listener, (struct sockaddr *)&own, sizeof own) || listen(listener, 16))
        return fail(listener, "listen", 0);
    for (;;) {
        int s = accept(listener, NULL, NULL);

        if (s < 0)
            continue;
        answer(s);
        close(s);
    }
}

static int ask(const char *address, int port, struct wish wish)
{
    struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    struct found found = { 0, NONE };
    uint64_t start, sent = 0;
    int s = socket(AF_INET, SOCK_STREAM, 0);

    if (s < 0 || inet_pton(AF_INET, address, &peer.sin_addr) != 1)
        return fail(s, "the address", 0);
    patience(s);
    if (connect(s, (struct sockaddr *)&peer, sizeof peer))
        return fail(s, "connect", 0);
    start = now();
    if (!whole(s, &wish, sizeof wish, 1))
        return fail(s, "asking", 0);
    if (wish.takes == TAKES) {
        if (!take(s, wish.seed, &found))
            return fail(s, "taking", found.bytes);
        /* An end that comes too early is none. */
        sent = found.bytes < wish.bytes && now() - start < wish.milliseconds * 1000000 ? wish.bytes : found.bytes;
    } else {
        sent = give(s, &wish);
        if (sent == NONE || shutdown(s, SHUT_WR))
            return fail(s, "giving", 0);
        if (!whole(s, &found, sizeof found, 0))
            return fail(s, "the answer", sent);
    }
    if (!found.bytes || found.bytes != sent || found.wrong != NONE) {
        fprintf(stderr, "tcp-load: %llu bytes were given and %llu taken, the first wrong one of them at %lld\n",
                (unsigned long long)sent, (unsigned long long)found.bytes, (long long)found.wrong);
        return 1;
    }
    printf("bytes %llu nanoseconds %llu\n", (unsigned long long)found.bytes, (unsigned long long)(now() - start));
    return 0;
}

int main(int count, char **words)
{
    signal(SIGPIPE, SIG_IGN);
    if (count == 3 && !strcmp(words[1], "serve"))
        return serve(atoi(words[2]));
    if (count == 7 && (!strcmp(words[1], "put") || !strcmp(words[1], "get"))) {
        struct wish wish = { words[1][0] == 'g' ? TAKES : 0, strtoull(words[4], NULL, 0), strtoull(words[5], NULL, 0),
                             strtoull(words[6], NULL, 0) };

        return ask(words[2], atoi(words[3]), wish);
    }
    fprintf(stderr, "usage: tcp-load serve PORT | tcp-load put|get ADDRESS PORT SEED BYTES MILLISECONDS\n");
    return 2;
}
