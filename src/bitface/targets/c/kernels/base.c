/*: base */
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Every float is a float32 that is rounded after each operation, so that all machines give the same bits. */
#if defined(__FAST_MATH__)
#error "-ffast-math changes results; leave it out"
#endif
#if FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16
#error "floats must be computed as float32; on 32-bit x86 use -msse2 -mfpmath=sse"
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
/* Loops are copied for each of their conditions otherwise, for a tenth of the code and no speed. */
#pragma GCC optimize("fp-contract=off", "no-unswitch-loops")
#endif

/* The kernels in this file: 0 plain C, 1 AVX2, 2 AVX-VNNI, 3 AVX-512 VNNI. The CPU at hand has the last word. */
#if defined(__x86_64__) && defined(__GNUC__)
#define X86 1
#include <cpuid.h>
#include <immintrin.h>
#ifndef FACE_NET_KERNELS
#define FACE_NET_KERNELS 3
#endif
/* Compilers that know it bring a header for it: gcc from 11, clang from 12. */
#if defined(__has_include) && FACE_NET_KERNELS > 1
#if __has_include(<avxvnniintrin.h>)
#define AVX_VNNI __attribute__((target("avx2,avxvnni")))
#endif
#endif
#define AVX2 __attribute__((target("avx2")))
#define VNNI __attribute__((target("avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
/* What this architecture has of a kernel; it says whether there was something faster than plain C. */
#define FAST(name) name##_x86
/* Parts what comes before from what comes after: where gcc mixes both it runs out of registers. */
#if defined(__clang__)
#define IN_REGISTER(vector) (void)0
#else
#define IN_REGISTER(vector) __asm__("" : "+v"(vector))
#endif
#endif

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline, unused))
/* Tables whose vectors are not to lie in two lines of a cache. */
#define ALIGNED __attribute__((aligned(64)))
#else
#define INLINE static inline
#define ALIGNED
#endif
/* Before a short loop over vectors, which otherwise are kept in memory. */
#if defined(__clang__)
#define UNROLLED _Pragma("unroll")
#elif defined(__GNUC__)
#define UNROLLED _Pragma("GCC unroll 16")
#else
#define UNROLLED
#endif
/* Of functions that gcc otherwise copies for each length that they are called with, and then doesn't vectorise. */
#if defined(__clang__)
#define ONE_COPY __attribute__((noinline))
#elif defined(__GNUC__)
#define ONE_COPY __attribute__((noinline, noclone))
#else
#define ONE_COPY
#endif

#if defined(X86)
#if FACE_NET_KERNELS > 0
#if defined(AVX_VNNI)
static int has_avxvnni(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 4) != 0;
}
#else
static int has_avxvnni(void) { return 0; }
#endif

static int kernels_here;

/* Before main: to ask a virtual CPU takes as long as a layer. */
__attribute__((constructor)) static void find_kernels(void)
{
    __builtin_cpu_init();
    if (FACE_NET_KERNELS > 2 && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        kernels_here = 3;
    else if (__builtin_cpu_supports("avx2"))
        kernels_here = has_avxvnni() ? 2 : 1;
}

static int kernels(void) { return kernels_here; }
#else
static int kernels(void) { return 0; }
#endif
#endif

/* A loop over numbers, compiled once for each instruction set. */
#if defined(X86)
#define EVERYWHERE(name, parameters, arguments)                                                                        \
    VNNI static void name##_vnni parameters { name##_loop arguments; }                                                 \
    ONE_COPY AVX2 static void name##_avx2 parameters { name##_loop arguments; }                                        \
    EVERYWHERE_ELSE(name, parameters, arguments)
/* The same, where those of vectors are written by hand. */
#define EVERYWHERE_ELSE(name, parameters, arguments)                                                                   \
    ONE_COPY static void name##_plain parameters { name##_loop arguments; }                                            \
    static void name parameters                                                                                        \
    {                                                                                                                  \
        const int level = kernels();                                                                                   \
        if (level == 3)                                                                                                \
            name##_vnni arguments;                                                                                     \
        else if (level > 0)                                                                                            \
            name##_avx2 arguments;                                                                                     \
        else                                                                                                           \
            name##_plain arguments;                                                                                    \
    }
#else
#define EVERYWHERE(name, parameters, arguments)                                                                        \
    ONE_COPY static void name parameters { name##_loop arguments; }
#define EVERYWHERE_ELSE EVERYWHERE
#endif

/* Half to even. After limiting, |t| is below 2^22, where adding 1.5 * 2^23 leaves no room for a fraction. */
INLINE float nearest(float t)
{
    const float room = 12582912.0f;
    return (t + room) - room;
}

INLINE float limited(float t, float low, float high)
{
    t = t > low ? t : low;
    return t < high ? t : high;
}

/* A byte of memory: the integer, of signed ones shifted by 128, as `zero` is. */
INLINE uint8_t level_of(float t, float low, float high, int32_t zero)
{
    return (uint8_t)((int32_t)nearest(limited(t, low, high)) + zero);
}

#if defined(X86)
/*
 * 4 times 16 integers as bytes from `lowest`, of each vector 4 in every lane. What is below a type's range saturates,
 * what is above has been limited.
 */
VNNI INLINE __m512i packed_vnni(const __m512i levels[4], int32_t zero, int32_t lowest)
{
    const __m512i shift = _mm512_set1_epi16((short)zero);
    const __m512i first = _mm512_adds_epi16(_mm512_packs_epi32(levels[0], levels[1]), shift);
    const __m512i second = _mm512_adds_epi16(_mm512_packs_epi32(levels[2], levels[3]), shift);
    return _mm512_max_epu8(_mm512_packus_epi16(first, second), _mm512_set1_epi8((char)lowest));
}

/* In the order of the vectors. */
VNNI INLINE __m512i in_order_vnni(__m512i packed)
{
    const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    return _mm512_permutexvar_epi32(order, packed);
}

/* 2 times 8 integers as bytes; as `packed_vnni`, in the order of the vectors. */
AVX2 INLINE __m128i packed_avx2(const __m256i levels[2], int32_t zero, int32_t lowest)
{
    const __m256i shift = _mm256_set1_epi16((short)zero);
    const __m256i words = _mm256_adds_epi16(_mm256_packs_epi32(levels[0], levels[1]), shift);
    const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    return _mm_shuffle_epi32(_mm_max_epu8(bytes, _mm_set1_epi8((char)lowest)), _MM_SHUFFLE(3, 1, 2, 0));
}
#endif
