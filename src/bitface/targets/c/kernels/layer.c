/*: layer : base */
/*
 * A layer in integers. Maps lie as [height][width][channels] bytes. Weights lie in blocks of 16 outputs, of each the
 * groups of 4 bytes that one output multiplies, `[block][kernel row][segment][4 inputs][16 outputs][4]`; those of
 * depthwise layers as `[tap][channel]`. Widths below 8 bits are one stream of bits, the lowest first.
 */
typedef struct {
    int32_t height, width, channels, out_height, out_width, outputs;
    int32_t kernel_height, kernel_width, stride_height, stride_width, pad_height, pad_width;
    int32_t dilation_height, dilation_width, groups;
    /* Rows that the map and the result hold at a time: row y lies in the place of y % rows. */
    int32_t map_rows, result_rows;
    /* A segment: inputs that lie side by side, of a kernel's row, or of one tap where it is dilated or has groups. */
    int32_t segments, segment_bytes, block_bytes;
    int32_t bits, blocks_at_once, input_zero;
    int32_t zero;    /* of the output */
    int32_t lowest;  /* byte of the output */
    int32_t floats;  /* whether it gives floats */
    float low, high; /* of the output less its zero point */
    const uint8_t *weights;
    const uint8_t *strips; /* NULL: all weights have `bits` bits; or else see `open_weights` */
    const int32_t *bias;
    const float *scale; /* of a sum: in units of the next scale, or where floats are wanted, of the sum's own */
    const float *slope; /* below zero; NULL: no PReLU */
} layer;

#define LARGEST_KERNEL 64

INLINE ptrdiff_t rounded_up(ptrdiff_t value, ptrdiff_t to) { return (value + to - 1) / to * to; }

/* The output number `place` of one pixel, `index` of the layer's numbers. */
INLINE void finish(const layer *l, int32_t sum, ptrdiff_t index, ptrdiff_t place, uint8_t *bytes, float *floats)
{
    float t = (float)sum * l->scale[index];
    if (l->floats) {
        floats[place] = t;
        return;
    }
    if (l->slope != NULL && t < 0.0f)
        t = t * l->slope[index];
    bytes[place] = level_of(t, l->low, l->high, l->zero);
}

#if defined(X86)
/* 16 sums with what follows them, rounded; less the zero point, and not yet limited from below. */
VNNI INLINE __m512i levels_vnni(const layer *l, __m512i sums, __m512 scale, __m512 slope)
{
    __m512 t = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), scale);
    if (l->slope != NULL)
        t = _mm512_mask_mul_ps(t, _mm512_movepi32_mask(_mm512_castps_si512(t)), t, slope); /* where the sign is set */
    return _mm512_cvtps_epi32(_mm512_min_ps(t, _mm512_set1_ps(l->high)));
}

VNNI INLINE void finish_vnni(const layer *l, __m512i sums, ptrdiff_t index, ptrdiff_t left, uint8_t *bytes,
                             float *floats)
{
    const __mmask16 mask = (__mmask16)(left >= 16 ? 0xffff : (1 << left) - 1);
    const __m512 scale = _mm512_loadu_ps(l->scale + index);
    if (l->floats) {
        _mm512_mask_storeu_ps(floats, mask, _mm512_mul_ps(_mm512_cvtepi32_ps(sums), scale));
        return;
    }
    const __m512 slope = l->slope != NULL ? _mm512_loadu_ps(l->slope + index) : _mm512_setzero_ps();
    const __m512i above = _mm512_max_epi32(levels_vnni(l, sums, scale, slope), _mm512_set1_epi32(l->lowest - l->zero));
    _mm_mask_storeu_epi8(bytes, mask, _mm512_cvtepi32_epi8(_mm512_add_epi32(above, _mm512_set1_epi32(l->zero))));
}

/* Of 16 outputs. */
AVX2 INLINE void multipliers_avx2(const layer *l, ptrdiff_t index, __m256 scale[2], __m256 slope[2])
{
    for (int n = 0; n < 2; n++) {
        scale[n] = _mm256_loadu_ps(l->scale + index + 8 * n);
        slope[n] = l->slope != NULL ? _mm256_loadu_ps(l->slope + index + 8 * n) : scale[n];
    }
}

/* 16 sums as bytes. */
AVX2 INLINE __m128i levels_avx2(const layer *l, const __m256i sums[2], const __m256 scale[2], const __m256 slope[2])
{
    __m256i q[2];
    for (int n = 0; n < 2; n++) {
        __m256 t = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[n]), scale[n]);
        if (l->slope != NULL) /* below zero: where the sign is set */
            t = _mm256_blendv_ps(t, _mm256_mul_ps(t, slope[n]), t);
        q[n] = _mm256_cvtps_epi32(_mm256_min_ps(t, _mm256_set1_ps(l->high)));
    }
    return packed_avx2(q, l->zero, l->lowest);
}
#endif

/* The rows of a map that a kernel sees, with what is set around them. */
typedef struct {
    const layer *l;
    const uint8_t *map;
    uint8_t *ring; /* `reach` rows with their borders, and one of zero points; NULL: the map has no border */
    ptrdiff_t reach, bytes, next;
    const uint8_t *rows[LARGEST_KERNEL];
} window;

/* `from`: the first output row. */
static void open_window(window *w, const layer *l, const uint8_t *map, uint8_t *work, ptrdiff_t from)
{
    const ptrdiff_t top = from * l->stride_height - l->pad_height;
    w->l = l;
    w->map = map;
    w->ring = l->pad_height > 0 || l->pad_width > 0 ? work : NULL;
    w->reach = (ptrdiff_t)(l->kernel_height - 1) * l->dilation_height + 1;
    w->bytes = (ptrdiff_t)(l->width + 2 * l->pad_width) * l->channels;
    w->next = top > 0 ? top : 0;
    if (w->ring != NULL)
        memset(w->ring, l->input_zero, (size_t)((w->reach + 1) * w->bytes));
}

/* Finds the rows of an output row; rows are asked for from top to bottom. */
static void move_window(window *w, ptrdiff_t row)
{
    const layer *l = w->l;
    const ptrdiff_t top = row * l->stride_height - l->pad_height, bytes = (ptrdiff_t)l->width * l->channels;
    if (w->ring != NULL)
        for (; w->next < top + w->reach && w->next < l->height; w->next++)
            memcpy(w->ring + w->next % w->reach * w->bytes + (ptrdiff_t)l->pad_width * l->channels,
                   w->map + w->next % l->map_rows * bytes, (size_t)bytes);
    for (ptrdiff_t i = 0; i < l->kernel_height; i++) {
        const ptrdiff_t y = top + i * l->dilation_height;
        if (w->ring == NULL)
            w->rows[i] = w->map + y % l->map_rows * bytes;
        else
            w->rows[i] = w->ring + (y < 0 || y >= l->height ? w->reach : y % w->reach) * w->bytes;
    }
}
/*: unpack : layer unpack_arm */
/* `count` integers, a multiple of 8, of a stream of 1 to 7 bits each; a single bit stands for 1, or where set for -1. */
INLINE void unpack_plain(const uint8_t *from, int8_t *to, ptrdiff_t count, int32_t bits)
{
    const int32_t sign = 1 << (bits - 1), factor = bits == 1 ? 2 : 1;
    for (ptrdiff_t i = 0; i < count; i += 8, from += bits) {
        uint64_t word = 0;
        for (int32_t b = 0; b < bits; b++)
            word |= (uint64_t)from[b] << (8 * b);
        for (int32_t j = 0; j < 8; j++, word >>= bits)
            to[i + j] = (int8_t)((((int32_t)(word & ((1u << bits) - 1u)) ^ sign) - sign) * factor + factor - 1);
    }
}

#if defined(X86)
__attribute__((target("avx2,bmi2"))) static void unpack_bmi2(const uint8_t *from, int8_t *to, ptrdiff_t count,
                                                             int32_t bits)
{
    const uint64_t ones = 0x0101010101010101u, mask = ones * ((1u << bits) - 1u), sign = ones << (bits - 1);
    const __m128i single = _mm_set1_epi8(bits == 1 ? -1 : 0);
    ptrdiff_t i = 0;
    for (; (count - i) * bits >= 64; i += 8, from += bits) { /* 8 bytes are left to read */
        uint64_t word;
        memcpy(&word, from, 8);
        word = _pdep_u64(word, mask) ^ sign;
        const __m128i v = _mm_sub_epi8(_mm_cvtsi64_si128((long long)word), _mm_cvtsi64_si128((long long)sign));
        _mm_storel_epi64((__m128i *)(void *)(to + i), _mm_sub_epi8(_mm_add_epi8(v, _mm_and_si128(v, single)), single));
    }
    unpack_plain(from, to + i, count - i, bits);
}
#endif

static void unpack(const uint8_t *from, int8_t *to, ptrdiff_t count, int32_t bits)
{
#if defined(X86)
    if (kernels() > 0 && __builtin_cpu_supports("bmi2")) {
        unpack_bmi2(from, to, count, bits);
        return;
    }
#elif defined(ARM) && defined(__aarch64__)
    if (kernels() > 0 && bits > 1) {
        const ptrdiff_t first = unpack_arm(from, to, count, bits);
        unpack_plain(from + first / 8 * bits, to + first, count - first, bits);
        return;
    }
#endif
    unpack_plain(from, to, count, bits);
}
/*: weights : unpack */
/* Where the weights of a strip, and what is said of it, begin. */
typedef struct {
    const uint8_t *weights, *strips;
} stored;

/*
 * The next `count` weights, in `unpacked` where they aren't stored as bytes. Each strip may have a width of its own: the
 * lower half of its first byte. The upper half is 0, or the bits of numbers that follow: how far each weight that needs
 * one bit more lies behind the one before, the largest number for as far and none, until the strip's end is reached.
 */
static const int8_t *open_weights(const layer *l, stored *of, int8_t *unpacked, ptrdiff_t count)
{
    const uint8_t *const from = of->weights, head = of->strips != NULL ? *of->strips++ : (uint8_t)l->bits;
    const int32_t bits = head & 15, width = head >> 4, none = (1 << width) - 1;
    of->weights += count * bits / 8;
    if (bits == 8)
        return (const int8_t *)from;
    unpack(from, unpacked, count, bits);
    int32_t word = 0, left = 0;
    for (ptrdiff_t i = 0; width > 0; left -= width, word >>= width) {
        if (left < width) {
            word |= (int32_t)*of->strips++ << left;
            left += 8;
        }
        i += word & none;
        if (i >= count)
            break;
        if ((word & none) != none)
            unpacked[i] = (int8_t)(unpacked[i] ^ -(1 << bits));
    }
    return unpacked;
}
