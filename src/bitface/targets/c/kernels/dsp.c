/*: dsp : layer */
/* Microcontrollers (and ARM without NEON): products of two pairs of 16 bits. The kernels: 0 plain C, 1 these. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FEATURE_SIMD32) && !defined(__ARM_BIG_ENDIAN) && defined(__GNUC__) &&  \
    !defined(__ARM_NEON) && (!defined(FACE_NET_KERNELS) || FACE_NET_KERNELS > 0)
#define DSP 1
#include <arm_acle.h>
#define FAST(name) name##_dsp

INLINE uint32_t four_bytes_dsp(const void *from)
{
    uint32_t word;
    memcpy(&word, from, 4);
    return word;
}

/* Bytes 0 and 2, or 1 and 3, as two numbers of 16 bits. */
INLINE uint32_t even_bytes_dsp(uint32_t word) { return word & 0x00ff00ffu; }

INLINE uint32_t odd_bytes_dsp(uint32_t word)
{
    uint32_t pair;
    __asm__("uxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(word));
    return pair;
}

INLINE uint32_t even_integers_dsp(uint32_t word)
{
    uint32_t pair;
    __asm__("sxtb16 %0, %1" : "=r"(pair) : "r"(word));
    return pair;
}

INLINE uint32_t odd_integers_dsp(uint32_t word)
{
    uint32_t pair;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(word));
    return pair;
}
#endif
