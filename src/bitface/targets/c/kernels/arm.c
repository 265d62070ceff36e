/*: arm : layer */
#if defined(__ARM_NEON) && !defined(__ARM_BIG_ENDIAN) && defined(__GNUC__)
#define ARM 1
#include <arm_neon.h>
/* The kernels in this file: 0 plain C, 1 NEON, 2 dot products, 3 matrices of 8 bits. The CPU has the last word. */
#ifndef FACE_NET_KERNELS
#define FACE_NET_KERNELS 3
#endif
#define FAST(name) name##_arm

#if defined(__aarch64__)
/*
 * Compilers that let functions use more of a CPU than they were told of; what it has, Linux says. What such a function
 * calls may need no more than it: where the command line names a newer architecture it is added to, not replaced.
 */
#if defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 16 : __GNUC__ >= 10) &&                              \
    (defined(__ARM_FEATURE_QRDMX) || !defined(__ARM_FEATURE_SVE))
#define ASK_LINUX 1
#include <sys/auxv.h>
#if defined(__ARM_FEATURE_QRDMX)
#define DOT __attribute__((target("+dotprod")))
#define I8MM __attribute__((target("+dotprod+i8mm")))
#else
#define DOT __attribute__((target("arch=armv8.2-a+crypto+dotprod")))
#define I8MM __attribute__((target("arch=armv8.2-a+crypto+dotprod+i8mm")))
#endif
#endif
#if defined(__ARM_FEATURE_DOTPROD)
#undef DOT
#define DOT
#if defined(__ARM_FEATURE_MATMUL_INT8)
#undef I8MM
#define I8MM
#endif
#endif
#endif

static int kernels(void)
{
    int level = 1;
#if defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)
    level = 2;
#if defined(__ARM_FEATURE_MATMUL_INT8)
    level = 3;
#endif
#endif
#if defined(ASK_LINUX)
    if (level == 1 && (getauxval(AT_HWCAP) >> 20 & 1u) != 0) /* HWCAP_ASIMDDP */
        level = 2;
    if (level == 2 && (getauxval(AT_HWCAP2) >> 13 & 1u) != 0) /* HWCAP2_I8MM */
        level = 3;
#endif
    return level < FACE_NET_KERNELS ? level : FACE_NET_KERNELS;
}

/*
 * What 16 outputs share, and whether vectors compute what scalars do: NEON of 32 bits takes denormals for 0. Products
 * of integers and of normal numbers are none, or too small to be rounded to anything but 0.
 */
typedef struct {
    float32x4_t scale[4], slope[4];
    int exact;
} numbers_arm;

INLINE numbers_arm read_numbers_arm(const layer *l, ptrdiff_t index)
{
    numbers_arm of;
    UNROLLED
    for (int n = 0; n < 4; n++) {
        of.scale[n] = vld1q_f32(l->scale + index + 4 * n);
        of.slope[n] = l->slope != NULL ? vld1q_f32(l->slope + index + 4 * n) : vdupq_n_f32(1.0f);
    }
    of.exact = !l->floats;
#if !defined(__aarch64__)
    uint32x4_t normal = vdupq_n_u32(1);
    UNROLLED
    for (int n = 0; n < 4; n++) {
        normal = vandq_u32(normal, vcgeq_f32(vabsq_f32(of.scale[n]), vdupq_n_f32(FLT_MIN)));
        normal = vandq_u32(normal, vcgeq_f32(vabsq_f32(of.slope[n]), vdupq_n_f32(FLT_MIN)));
    }
    const uint32x2_t both = vand_u32(vget_low_u32(normal), vget_high_u32(normal));
    of.exact &= (int)(vget_lane_u32(both, 0) & vget_lane_u32(both, 1));
#endif
    return of;
}

/* Half to even; see `nearest`. */
INLINE int32x4_t nearest_arm(float32x4_t t, float low, float high)
{
    t = vminq_f32(t, vdupq_n_f32(high));
#if defined(__aarch64__)
    (void)low;
    return vcvtnq_s32_f32(t);
#else
    const float32x4_t room = vdupq_n_f32(12582912.0f);
    return vcvtq_s32_f32(vsubq_f32(vaddq_f32(vmaxq_f32(t, vdupq_n_f32(low)), room), room));
#endif
}

/* 16 sums with what follows them, of which `left` are wanted. */
INLINE void finish_arm(const layer *l, const numbers_arm *of, const int32x4_t sums[4], ptrdiff_t index, ptrdiff_t left,
                       uint8_t *bytes, float *floats)
{
    if (of->exact) {
        int16x4_t q[4]; /* what is below a type's range saturates */
        UNROLLED
        for (int n = 0; n < 4; n++) {
            float32x4_t t = vmulq_f32(vcvtq_f32_s32(sums[n]), of->scale[n]);
            if (l->slope != NULL)
                t = vbslq_f32(vcltq_f32(t, vdupq_n_f32(0.0f)), vmulq_f32(t, of->slope[n]), t);
            q[n] = vqmovn_s32(nearest_arm(t, l->low, l->high));
        }
        const int16x8_t zero = vdupq_n_s16((int16_t)l->zero);
        const uint8x8_t first = vqmovun_s16(vqaddq_s16(vcombine_s16(q[0], q[1]), zero));
        const uint8x8_t second = vqmovun_s16(vqaddq_s16(vcombine_s16(q[2], q[3]), zero));
        const uint8x16_t levels = vmaxq_u8(vcombine_u8(first, second), vdupq_n_u8((uint8_t)l->lowest));
        if (left >= 16) {
            vst1q_u8(bytes, levels);
        } else {
            uint8_t all[16];
            vst1q_u8(all, levels);
            memcpy(bytes, all, (size_t)left);
        }
        return;
    }
    int32_t all[16];
    for (int n = 0; n < 4; n++)
        vst1q_s32(all + 4 * n, sums[n]);
    for (ptrdiff_t o = 0; o < 16 && o < left; o++)
        finish(l, all[o], index + o, o, bytes, floats);
}

/* Of some pixels that lie side by side; `place` is that of the first one. */
INLINE void finish_pixels_arm(const layer *of, int32x4_t sums[][4], const int pixels, ptrdiff_t index, ptrdiff_t left,
                              ptrdiff_t place, uint8_t *bytes, float *floats)
{
    const layer copy = *of, *l = &copy; /* read once: no byte that is written is part of it */
    const numbers_arm numbers = read_numbers_arm(l, index);
#define FINISH(p)                                                                                                      \
    if (pixels > p)                                                                                                    \
        finish_arm(l, &numbers, sums[p], index, left, l->floats ? NULL : bytes + place + p * l->outputs,               \
                   l->floats ? floats + place + p * l->outputs : NULL);
    FINISH(0)
    FINISH(1)
    FINISH(2)
    FINISH(3)
#undef FINISH
}

/* Pixels that are computed at once: as many as there are registers for. */
#if defined(__aarch64__)
#define PIXELS_ARM 4
#else
#define PIXELS_ARM 2
#endif
#endif
/*: unpack_arm : arm */
#if defined(ARM) && defined(__aarch64__)
/* Integers of 2 to 7 bits while 8 bytes are left to read; gives how many. Of each, the two bytes that it lies in. */
static ptrdiff_t unpack_arm(const uint8_t *from, int8_t *to, ptrdiff_t count, int32_t bits)
{
    uint8_t bytes[16];
    int16_t shifts[8];
    ptrdiff_t i = 0;
    for (int32_t j = 0; j < 8; j++) {
        bytes[2 * j] = (uint8_t)(j * bits / 8);
        bytes[2 * j + 1] = (uint8_t)(j * bits / 8 + 1);
        shifts[j] = (int16_t)(16 - bits - j * bits % 8);
    }
    const uint8x16_t places = vld1q_u8(bytes);
    const int16x8_t up = vld1q_s16(shifts), down = vdupq_n_s16((int16_t)(bits - 16));
    for (; (count - i) * bits >= 64; i += 8, from += bits) {
        const uint8x8_t word = vld1_u8(from);
        const int16x8_t pairs = vreinterpretq_s16_u8(vqtbl1q_u8(vcombine_u8(word, word), places));
        vst1_s8(to + i, vmovn_s16(vshlq_s16(vshlq_s16(pairs, up), down)));
    }
    return i;
}
#endif
