/* The reference guest: the least that a PVH guest in C does to print one line on Xen's console ring and to power off.
 * The boot benchmark starts it beside our images, as a measure of what no guest can avoid. */

#include <stdint.h>

#define HYPERVISOR_sched_op 29
#define HYPERVISOR_event_channel_op 32
#define HYPERVISOR_hvm_op 34
#define SCHEDOP_yield 0
#define SCHEDOP_shutdown 2
#define EVTCHNOP_send 4
#define HVMOP_get_param 1
#define HVM_PARAM_CONSOLE_PFN 17
#define HVM_PARAM_CONSOLE_EVTCHN 18
#define DOMID_SELF 0x7ff0

/* xen/include/public/io/console.h: struct xencons_interface */
struct console_ring {
    char in[1024];
    char out[2048];
    uint32_t in_consumer, in_producer, out_consumer, out_producer;
};

extern char hypercall_page[];

static long hypercall(long number, long first, long second)
{
    long result;
    void *entry = hypercall_page + number * 32;
    __asm__ volatile("call *%[entry]"
                     : "=a"(result), "+D"(first), "+S"(second)
                     : [entry] "r"(entry)
                     : "memory", "rcx", "rdx", "r8", "r9", "r10", "r11");
    return result;
}

static void cpuid(uint32_t leaf, uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
{
    __asm__ volatile("cpuid" : "=a"(*a), "=b"(*b), "=c"(*c), "=d"(*d) : "a"(leaf), "c"(0));
}

/* Finds Xen's CPUID leaves and has it fill in the hypercall page. */
static int enable_hypercalls(void)
{
    uint32_t leaf, a, b, c, d;
    for (leaf = 0x40000000; leaf < 0x40010000; leaf += 0x100) {
        cpuid(leaf, &a, &b, &c, &d);
        if (b == 0x566e6558 && c == 0x65584d4d && d == 0x4d4d566e) { /* XenVMMXenVMM */
            uint64_t page = (uint64_t)hypercall_page;
            cpuid(leaf + 2, &a, &b, &c, &d);
            __asm__ volatile("wrmsr" : : "c"(b), "a"((uint32_t)page), "d"((uint32_t)(page >> 32)));
            return 1;
        }
    }
    return 0;
}

static uint64_t parameter(uint32_t index)
{
    struct { uint16_t domain, padding; uint32_t index; uint64_t value; } request = { DOMID_SELF, 0, index, 0 };
    hypercall(HYPERVISOR_hvm_op, HVMOP_get_param, (long)&request);
    return request.value;
}

static void print(volatile struct console_ring *ring, uint32_t port, const char *text)
{
    for (; *text; text++) {
        while (ring->out_producer - ring->out_consumer >= sizeof ring->out)
            hypercall(HYPERVISOR_sched_op, SCHEDOP_yield, 0);
        ring->out[ring->out_producer % sizeof ring->out] = *text;
        __asm__ volatile("mfence" ::: "memory");
        ring->out_producer++;
    }
    hypercall(HYPERVISOR_event_channel_op, EVTCHNOP_send, (long)&port);
}

void guest_main(void)
{
    uint32_t poweroff = 0;
    if (enable_hypercalls()) {
        volatile struct console_ring *ring = (void *)(parameter(HVM_PARAM_CONSOLE_PFN) << 12);
        int turn;
        print(ring, (uint32_t)parameter(HVM_PARAM_CONSOLE_EVTCHN), "hello from C\n");
        for (turn = 0; turn < 200 && ring->out_producer != ring->out_consumer; turn++)
            hypercall(HYPERVISOR_sched_op, SCHEDOP_yield, 0);
    }
    hypercall(HYPERVISOR_sched_op, SCHEDOP_shutdown, (long)&poweroff);
    for (;;) ;
}
