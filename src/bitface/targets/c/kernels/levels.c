/*: quantize : base */
INLINE void quantize_loop(const float *x, uint8_t *y, ptrdiff_t count, float scale, float low, float high,
                          int32_t zero)
{
    for (ptrdiff_t i = 0; i < count; i++)
        y[i] = level_of(x[i] / scale, low, high, zero);
}
EVERYWHERE(quantize,
           (const float *x, uint8_t *y, ptrdiff_t count, float scale, float low, float high, int32_t zero),
           (x, y, count, scale, low, high, zero))
/*: dequantize : base */
INLINE void dequantize_loop(const uint8_t *x, float *y, ptrdiff_t count, int32_t zero, float scale)
{
    for (ptrdiff_t i = 0; i < count; i++)
        y[i] = (float)((int32_t)x[i] - zero) * scale;
}
EVERYWHERE(dequantize, (const uint8_t *x, float *y, ptrdiff_t count, int32_t zero, float scale),
           (x, y, count, zero, scale))
/*: add_levels : base */
/* The sum of two tensors in integers, rounded again. */
typedef struct {
    int32_t zero_a;
    float scale_a;
    int32_t zero_b;
    float scale_b, scale, low, high;
    int32_t zero;
    float inverse; /* of the scale, where multiplying gives what dividing gives, for all integers; or else 0 */
} addition;

INLINE void add_levels_loop(const uint8_t *a, const uint8_t *b, uint8_t *y, ptrdiff_t count, addition of)
{
    for (ptrdiff_t i = 0; i < count; i++) {
        const float first = (float)((int32_t)a[i] - of.zero_a) * of.scale_a;
        const float second = (float)((int32_t)b[i] - of.zero_b) * of.scale_b;
        const float sum = first + second;
        y[i] = level_of(of.inverse != 0.0f ? sum * of.inverse : sum / of.scale, of.low, of.high, of.zero);
    }
}
#if defined(X86)
/* 8 sums, rounded; less the zero point, and not yet limited from below. */
AVX2 INLINE __m256i sums_avx2(const uint8_t *a, const uint8_t *b, const addition *of)
{
    const __m256i first = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)a));
    const __m256i second = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)b));
    const __m256 x = _mm256_cvtepi32_ps(_mm256_sub_epi32(first, _mm256_set1_epi32(of->zero_a)));
    const __m256 y = _mm256_cvtepi32_ps(_mm256_sub_epi32(second, _mm256_set1_epi32(of->zero_b)));
    const __m256 sum = _mm256_add_ps(_mm256_mul_ps(x, _mm256_set1_ps(of->scale_a)),
                                     _mm256_mul_ps(y, _mm256_set1_ps(of->scale_b)));
    const __m256 t = of->inverse != 0.0f ? _mm256_mul_ps(sum, _mm256_set1_ps(of->inverse))
                                         : _mm256_div_ps(sum, _mm256_set1_ps(of->scale));
    return _mm256_cvtps_epi32(_mm256_min_ps(t, _mm256_set1_ps(of->high)));
}

ONE_COPY AVX2 static void add_levels_avx2(const uint8_t *a, const uint8_t *b, uint8_t *y, ptrdiff_t count, addition of)
{
    ptrdiff_t i = 0;
    for (; i + 16 <= count; i += 16) {
        const __m256i q[2] = {sums_avx2(a + i, b + i, &of), sums_avx2(a + i + 8, b + i + 8, &of)};
        _mm_storeu_si128((__m128i *)(void *)(y + i), packed_avx2(q, of.zero, (int32_t)of.low + of.zero));
    }
    add_levels_loop(a + i, b + i, y + i, count - i, of);
}

VNNI INLINE __m512 real_vnni(const uint8_t *levels, int32_t zero, float scale)
{
    const __m512i q = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)levels));
    return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(q, _mm512_set1_epi32(zero))), _mm512_set1_ps(scale));
}

VNNI static void add_levels_vnni(const uint8_t *a, const uint8_t *b, uint8_t *y, ptrdiff_t count, addition of)
{
    ptrdiff_t i = 0;
    for (; i + 64 <= count; i += 64) {
        __m512i q[4];
        for (int n = 0; n < 4; n++) {
            const __m512 sum = _mm512_add_ps(real_vnni(a + i + 16 * n, of.zero_a, of.scale_a),
                                             real_vnni(b + i + 16 * n, of.zero_b, of.scale_b));
            const __m512 t = of.inverse != 0.0f ? _mm512_mul_ps(sum, _mm512_set1_ps(of.inverse))
                                                : _mm512_div_ps(sum, _mm512_set1_ps(of.scale));
            q[n] = _mm512_cvtps_epi32(_mm512_min_ps(t, _mm512_set1_ps(of.high)));
        }
        _mm512_storeu_si512(y + i, in_order_vnni(packed_vnni(q, of.zero, (int32_t)of.low + of.zero)));
    }
    add_levels_loop(a + i, b + i, y + i, count - i, of);
}
#endif
EVERYWHERE_ELSE(add_levels, (const uint8_t *a, const uint8_t *b, uint8_t *y, ptrdiff_t count, addition of),
                (a, b, y, count, of))
/*: affine_levels : base */
/* A scale and a shift for each channel of a tensor in integers, rounded again. */
typedef struct {
    int32_t zero_x;
    float scale_x;
    const float *factors, *shifts;
    float scale, low, high;
    int32_t zero;
} channel_affine;

INLINE void affine_levels_loop(const uint8_t *x, uint8_t *y, ptrdiff_t pixels, ptrdiff_t channels, channel_affine of)
{
    for (ptrdiff_t p = 0; p < pixels; p++, x += channels, y += channels)
        for (ptrdiff_t c = 0; c < channels; c++) {
            const float value = (float)((int32_t)x[c] - of.zero_x) * of.scale_x;
            y[c] = level_of((value * of.factors[c] + of.shifts[c]) / of.scale, of.low, of.high, of.zero);
        }
}
EVERYWHERE(affine_levels, (const uint8_t *x, uint8_t *y, ptrdiff_t pixels, ptrdiff_t channels, channel_affine of),
           (x, y, pixels, channels, of))
/*: pooling : base */
/* How a window goes over a map. */
typedef struct {
    int32_t height, width, channels, out_height, out_width;
    int32_t kernel_height, kernel_width, stride_height, stride_width, pad_height, pad_width;
    int32_t dilation_height, dilation_width;
} pooling;
/*: largest_in_window : pooling */
/* The largest number of each window, of floats or of levels; windows reach over the border, where there is nothing. */
#define LARGEST_IN_WINDOW(name, type, least)                                                                     \
    static void name(const pooling *of, const type *x, type *y)                                                  \
    {                                                                                                            \
        for (ptrdiff_t i = 0; i < of->out_height; i++)                                                           \
            for (ptrdiff_t j = 0; j < of->out_width; j++, y += of->channels) {                                   \
                for (ptrdiff_t c = 0; c < of->channels; c++)                                                     \
                    y[c] = least;                                                                                \
                for (ptrdiff_t k = 0; k < of->kernel_height; k++)                                                \
                    for (ptrdiff_t l = 0; l < of->kernel_width; l++) {                                           \
                        const ptrdiff_t row = i * of->stride_height - of->pad_height + k * of->dilation_height;  \
                        const ptrdiff_t column = j * of->stride_width - of->pad_width + l * of->dilation_width;  \
                        if (row < 0 || row >= of->height || column < 0 || column >= of->width)                   \
                            continue;                                                                            \
                        const type *from = x + (row * of->width + column) * of->channels;                        \
                        for (ptrdiff_t c = 0; c < of->channels; c++)                                             \
                            y[c] = y[c] > from[c] ? y[c] : from[c];                                              \
                    }                                                                                            \
            }                                                                                                    \
    }
/*: max_pool_levels : largest_in_window */
LARGEST_IN_WINDOW(max_pool_levels, uint8_t, 0)
