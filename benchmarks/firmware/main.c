/* Embeds one face on a Cortex-M board without an operating system, and writes what came of it to the debugger. */
#include "face_net.h"

#include <string.h>

extern uint32_t stack_end, data_begin, data_end, data_stored, zeros_begin, zeros_end; /* of board.ld */
extern const uint8_t crop[];

static _Alignas(64) uint8_t scratch[FACE_NET_SCRATCH];
static volatile uint32_t wraps;

/* SysTick: 24 bits that count the processor's clock down. */
static volatile uint32_t *const systick = (volatile uint32_t *)0xe000e010u;

static int ask_debugger(int operation, const void *of)
{
    register int result __asm__("r0") = operation;
    register const void *argument __asm__("r1") = of;
    __asm__ volatile("bkpt 0xab" : "+r"(result) : "r"(argument) : "memory");
    return result;
}

static void write_word(uint32_t word)
{
    char text[10] = "00000000\n";
    for (int i = 7; i >= 0; i--, word >>= 4)
        text[i] = "0123456789abcdef"[word & 15];
    ask_debugger(4, text);
}

static void end(uint32_t reason)
{
    ask_debugger(0x18, (const void *)(uintptr_t)reason);
    for (;;) {
    }
}

static void fault(void) { end(0x20023); }

static void count_wrap(void) { wraps++; }

void start(void);

void start(void)
{
    float embedding[FACE_NET_EMBEDDING];
    uint32_t words[FACE_NET_EMBEDDING];
    *(volatile uint32_t *)0xe000ed88u |= 0xfu << 20; /* floating point, where there is any */
    __asm__ volatile("dsb\n\tisb");
    memcpy(&data_begin, &data_stored, (size_t)((char *)&data_end - (char *)&data_begin));
    memset(&zeros_begin, 0, (size_t)((char *)&zeros_end - (char *)&zeros_begin));
    systick[1] = 0xffffff;
    systick[2] = 0;
    systick[0] = 7;
    const uint32_t before = systick[2];
    face_net_embed(crop, scratch, embedding);
    const uint32_t after = systick[2];
    memcpy(words, embedding, sizeof words);
    for (int i = 0; i < FACE_NET_EMBEDDING; i++)
        write_word(words[i]);
    write_word(wraps);
    write_word(before - after);
    end(0x20026);
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    &stack_end, (const void *)start, (const void *)fault, (const void *)fault, (const void *)fault,
    (const void *)fault, (const void *)fault, [15] = (const void *)count_wrap,
};
