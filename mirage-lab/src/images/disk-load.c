/* Loads a disk of the Linux domU, past its page cache, and prints one line:
 *   operations N nanoseconds T errors E
 * Usage: disk-load DEVICE read|write|randread|randwrite BYTES DEPTH SECONDS
 * With depth 1 each operation is one system call; with more, DEPTH of them are always under way (Linux's native asynchronous
 * I/O), submitted and completed in batches: the least that Linux asks of a program. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 128 };

static struct {
    int file, random, write;
    size_t bytes;
    uint64_t places, next, state;
} load;

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* Where the next operation goes: xorshift64*, or one after the other. */
static off_t place(void)
{
    uint64_t chosen = load.next++;

    if (load.random) {
        load.state ^= load.state >> 12;
        load.state ^= load.state << 25;
        load.state ^= load.state >> 27;
        chosen = (load.state * 0x2545F4914F6CDD1DULL) >> 16;
    }
    return (off_t)(chosen % load.places * load.bytes);
}

static uint64_t one_by_one(void *buffer, uint64_t end, uint64_t *errors)
{
    uint64_t done = 0;

    for (; now() < end; done++) {
        off_t at = place();
        ssize_t moved = load.write ? pwrite(load.file, buffer, load.bytes, at) : pread(load.file, buffer, load.bytes, at);

        *errors += moved != (ssize_t)load.bytes;
    }
    return done;
}

static uint64_t many(unsigned char *buffers, long depth, uint64_t end, uint64_t *errors)
{
    static struct iocb blocks[MOST], *batch[MOST];
    static struct io_event events[MOST];
    aio_context_t context = 0;
    uint64_t done = 0;
    long ready = depth, running = 0;

    if (syscall(SYS_io_setup, depth, &context)) {
        perror("io_setup");
        exit(1);
    }
    for (long i = 0; i < depth; i++) {
        blocks[i].aio_lio_opcode = load.write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
        blocks[i].aio_fildes = (uint32_t)load.file;
        blocks[i].aio_buf = (uintptr_t)(buffers + (size_t)i * load.bytes);
        blocks[i].aio_nbytes = load.bytes;
        batch[i] = &blocks[i];
    }
    while (ready || running) {
        for (long i = 0; i < ready; i++)
            batch[i]->aio_offset = place();
        for (long given = 0; given < ready;) {
            long taken = syscall(SYS_io_submit, context, ready - given, batch + given);

            if (taken < 0) {
                perror("io_submit");
                exit(1);
            }
            given += taken;
        }
        running += ready;
        ready = syscall(SYS_io_getevents, context, 1, depth, events, NULL);
        if (ready < 0) {
            if (errno != EINTR) {
                perror("io_getevents");
                exit(1);
            }
            ready = 0;
        }
        running -= ready;
        done += (uint64_t)ready;
        for (long i = 0; i < ready; i++) {
            batch[i] = (struct iocb *)(uintptr_t)events[i].obj;
            *errors += events[i].res != (int64_t)load.bytes;
        }
        if (now() >= end)
            ready = 0;
    }
    return done;
}

int main(int count, char **words)
{
    uint64_t size = 0, errors = 0, done, started;
    long depth, seconds;
    void *buffers;

    if (count != 6) {
        fprintf(stderr, "usage: disk-load DEVICE read|write|randread|randwrite BYTES DEPTH SECONDS\n");
        return 64;
    }
    load.random = !strncmp(words[2], "rand", 4);
    load.write = strstr(words[2], "write") != NULL;
    load.bytes = (size_t)atol(words[3]);
    load.state = 0x9E3779B97F4A7C15ULL;
    depth = atol(words[4]);
    seconds = atol(words[5]);
    load.file = open(words[1], (load.write ? O_RDWR : O_RDONLY) | O_DIRECT);
    if (load.file < 0 || ioctl(load.file, BLKGETSIZE64, &size)) {
        perror(words[1]);
        return 1;
    }
    if (!load.bytes || load.bytes % 512 || size < load.bytes || depth < 1 || depth > MOST || seconds < 1) {
        fprintf(stderr, "disk-load: bytes in sectors and no more than the disk has, a depth of 1 to 128, a second or more\n");
        return 64;
    }
    load.places = size / load.bytes;
    if (posix_memalign(&buffers, 4096, load.bytes * (size_t)depth)) {
        fprintf(stderr, "disk-load: no memory\n");
        return 1;
    }
    memset(buffers, 0x6d, load.bytes * (size_t)depth);
    started = now();
    if (depth == 1)
        done = one_by_one(buffers, started + (uint64_t)seconds * 1000000000, &errors);
    else
        done = many(buffers, depth, started + (uint64_t)seconds * 1000000000, &errors);
    printf("operations %llu nanoseconds %llu errors %llu\n", (unsigned long long)done,
           (unsigned long long)(now() - started), (unsigned long long)errors);
    return errors != 0;
}
