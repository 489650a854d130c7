/* The lab's own test guest: prints its command line, then does what the first word says:
 *   crash   shuts down with the reason "crash"
 *   reboot  shuts down with the reason "reboot"
 *   fault   runs into a triple fault
 *   wait    waits for ever
 *   many    prints 2000 lines more, then powers off
 * anything else: powers off. */
#include <stdint.h>

enum { SCHED_OP = 29, EVENT_CHANNEL_OP = 32, HVM_OP = 34 };
enum { YIELD = 0, SHUTDOWN = 2, POLL = 3 };
enum { POWEROFF = 0, REBOOT = 1, CRASH = 3 };

struct console {
    char in[1024];
    char out[2048];
    uint32_t in_consumed, in_produced, out_consumed, out_produced;
};

extern char hypercalls[];
static volatile struct console *console;
static uint32_t port;

static long hypercall(long number, long first, const void *second)
{
    long result;

    __asm__ volatile("call *%[entry]"
                     : "=a"(result), "+D"(first), "+S"(second)
                     : [entry] "r"(hypercalls + number * 32)
                     : "memory", "rcx", "rdx", "r8", "r9", "r10", "r11");
    return result;
}

static void find_hypercalls(void)
{
    uint32_t a, b, c, d;

    for (uint32_t leaf = 0x40000000; leaf < 0x40010000; leaf += 0x100) {
        __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(leaf), "c"(0));
        if (b != 0x566e6558 || c != 0x65584d4d || d != 0x4d4d566e)
            continue;
        __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(leaf + 2), "c"(0));
        __asm__ volatile("wrmsr" : : "c"(b), "a"((uint32_t)(uintptr_t)hypercalls), "d"(0) : "memory");
        return;
    }
}

static uint64_t parameter(uint32_t index)
{
    struct {
        uint16_t domain, padding;
        uint32_t index;
        uint64_t value;
    } question = { 0x7ff0, 0, index, 0 };

    hypercall(HVM_OP, 1, &question);
    return question.value;
}

static void print(const char *text)
{
    for (; *text; text++) {
        while (console->out_produced - console->out_consumed == sizeof console->out)
            hypercall(SCHED_OP, YIELD, 0);
        console->out[console->out_produced % sizeof console->out] = *text;
        __asm__ volatile("mfence" : : : "memory");
        console->out_produced++;
    }
    hypercall(EVENT_CHANNEL_OP, 4, &port);
}

static int begins(const char *text, const char *start)
{
    while (*start && *text == *start)
        text++, start++;
    return !*start;
}

static void stop(uint32_t reason)
{
    hypercall(SCHED_OP, SHUTDOWN, &reason);
}

void run(const char *start_info)
{
    const char *words = (const char *)*(const uint64_t *)(start_info + 24);

    find_hypercalls();
    console = (volatile struct console *)(parameter(17) << 12);
    port = (uint32_t)parameter(18);
    print("guest: ");
    print(words);
    print("\r\n");
    if (begins(words, "fault"))
        __asm__ volatile("ud2");
    /* No port, no deadline: for ever. The console's port stays pending here, polling it would spin. */
    while (begins(words, "wait")) {
        struct {
            const uint32_t *ports;
            uint32_t count;
            uint64_t deadline;
        } poll = { &port, 0, 0 };

        hypercall(SCHED_OP, POLL, &poll);
    }
    for (int line = 0; begins(words, "many") && line < 2000; line++)
        print("guest: a line of many, as long as lines of logs are\r\n");
    print("guest: bye\r\n");
    stop(begins(words, "crash") ? CRASH : begins(words, "reboot") ? REBOOT : POWEROFF);
}
