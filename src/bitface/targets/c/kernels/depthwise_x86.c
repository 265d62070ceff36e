/*: depthwise_x86 : depthwise_plain depthwise_vnni depthwise_avx2 */
#if defined(X86)
/* Whether there was something faster than plain C. */
static int depthwise_x86(const layer *l, const uint8_t *const *rows, const int8_t *weights, uint8_t *bytes,
                         float *floats)
{
    const int level = kernels();
    if (level == 3)
        depthwise_vnni(l, rows, weights, bytes, floats);
    else if (level > 0)
        depthwise_avx2(l, rows, weights, bytes, floats);
    return level > 0;
}
#endif
/*: depthwise_avx2 : depthwise_plain */
#if defined(X86)
/* A row of 16 channels, 2 taps at once; the one that may be missing has weights of 0. */
AVX2 static void depthwise_row_avx2(const layer *of, const uint8_t *const *rows, const int8_t *weights, ptrdiff_t c,
                                    uint8_t *bytes, float *floats)
{
    const layer copy = *of, *l = &copy; /* read once: no byte that is written is part of it */
    const ptrdiff_t pixel = (ptrdiff_t)l->stride_width * l->channels;
    const int count = l->kernel_height * l->kernel_width, pairs = (count + 1) / 2;
    const __m256i *const bias = (const __m256i *)(const void *)(l->bias + c);
    const uint8_t *from[MOST_TAPS];
    __m256i by[MOST_TAPS];
    for (int t = 0; t < pairs * 2; t++) {
        const int i = t < count ? t : 0;
        from[t] = rows[i / l->kernel_width] + (ptrdiff_t)(i % l->kernel_width) * l->dilation_width * l->channels + c;
    }
    for (int t = 0; t < pairs; t++) {
        const int8_t *w = weights + (ptrdiff_t)t * 2 * l->channels + c;
        const __m128i first = _mm_loadu_si128((const __m128i *)(const void *)w);
        const __m128i second = t * 2 + 1 < count ? _mm_loadu_si128((const __m128i *)(const void *)(w + l->channels))
                                                 : _mm_setzero_si128();
        by[2 * t] = _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(first, second));
        by[2 * t + 1] = _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(first, second));
    }
    __m256 scale[2], slope[2];
    multipliers_avx2(l, c, scale, slope);
    for (ptrdiff_t x = 0; x < l->out_width; x++) {
        const ptrdiff_t place = x * l->channels + c;
        __m256i sums[2] = {_mm256_loadu_si256(bias), _mm256_loadu_si256(bias + 1)};
        for (int t = 0; t < pairs; t++) {
            const __m128i first = _mm_loadu_si128((const __m128i *)(const void *)(from[2 * t] + x * pixel));
            const __m128i second = _mm_loadu_si128((const __m128i *)(const void *)(from[2 * t + 1] + x * pixel));
            const __m256i low = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(first, second));
            const __m256i high = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(first, second));
            sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(low, by[2 * t]));
            sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(high, by[2 * t + 1]));
        }
        if (!l->floats) {
            _mm_storeu_si128((__m128i *)(void *)(bytes + place), levels_avx2(l, sums, scale, slope));
            continue;
        }
        int32_t numbers[16];
        for (int n = 0; n < 2; n++)
            _mm256_storeu_si256((__m256i *)(void *)(numbers + 8 * n), sums[n]);
        for (ptrdiff_t n = 0; n < 16; n++)
            finish(l, numbers[n], c + n, place + n, bytes, floats);
    }
}

/* 16 channels of a column of 3 rows as pairs of words: of the first two, and of the third and nothing. */
AVX2 INLINE void column_avx2(const uint8_t *const *rows, ptrdiff_t place, __m256i pairs[4])
{
    const __m128i first = _mm_loadu_si128((const __m128i *)(const void *)(rows[0] + place));
    const __m128i second = _mm_loadu_si128((const __m128i *)(const void *)(rows[1] + place));
    const __m128i third = _mm_loadu_si128((const __m128i *)(const void *)(rows[2] + place));
    pairs[0] = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(first, second));
    pairs[1] = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(first, second));
    pairs[2] = _mm256_cvtepu8_epi32(third);
    pairs[3] = _mm256_cvtepu8_epi32(_mm_srli_si128(third, 8));
}

/* A row of 16 channels with kernels of 3x3: of each column of the map, its 3 rows; the next pixel reads two again. */
AVX2 INLINE void depthwise_columns_avx2(const layer *of, const uint8_t *const *rows, const int8_t *weights, ptrdiff_t c,
                                        uint8_t *bytes, const int stride)
{
    const layer copy = *of, *l = &copy; /* read once: no byte that is written is part of it */
    const __m256i *const bias = (const __m256i *)(const void *)(l->bias + c);
    __m256 scale[2], slope[2];
    __m256i by[3][4], columns[3][4];
    multipliers_avx2(l, c, scale, slope);
    for (int j = 0; j < 3; j++) {
        const int8_t *w = weights + j * l->channels + c;
        const __m128i first = _mm_loadu_si128((const __m128i *)(const void *)w);
        const __m128i second = _mm_loadu_si128((const __m128i *)(const void *)(w + 3 * l->channels));
        const __m128i third = _mm_loadu_si128((const __m128i *)(const void *)(w + 6 * l->channels));
        by[j][0] = _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(first, second));
        by[j][1] = _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(first, second));
        by[j][2] = _mm256_cvtepi8_epi32(third);
        by[j][3] = _mm256_cvtepi8_epi32(_mm_srli_si128(third, 8));
    }
    for (int j = 0; j < 3 - stride; j++) /* as if a pixel before the first one had read them */
        column_avx2(rows, j * l->channels + c, columns[j + stride]);
    for (ptrdiff_t x = 0; x < l->out_width; x++) {
        __m256i sums[2] = {_mm256_loadu_si256(bias), _mm256_loadu_si256(bias + 1)};
        for (int j = 0; j < 3 - stride; j++)
            for (int n = 0; n < 4; n++)
                columns[j][n] = columns[j + stride][n];
        for (int j = 3 - stride; j < 3; j++)
            column_avx2(rows, (x * stride + j) * l->channels + c, columns[j]);
        for (int j = 0; j < 3; j++)
            for (int n = 0; n < 4; n++) {
                sums[n % 2] = _mm256_add_epi32(sums[n % 2], _mm256_madd_epi16(columns[j][n], by[j][n]));
                IN_REGISTER(sums[n % 2]);
            }
        _mm_storeu_si128((__m128i *)(void *)(bytes + x * l->channels + c), levels_avx2(l, sums, scale, slope));
    }
}

AVX2 static void depthwise_3x3_avx2(const layer *l, const uint8_t *const *rows, const int8_t *weights, ptrdiff_t c,
                                    uint8_t *bytes)
{
    if (l->stride_width == 1)
        depthwise_columns_avx2(l, rows, weights, c, bytes, 1);
    else
        depthwise_columns_avx2(l, rows, weights, c, bytes, 2);
}

AVX2 static void depthwise_avx2(const layer *l, const uint8_t *const *rows, const int8_t *weights, uint8_t *bytes,
                                float *floats)
{
    ptrdiff_t c = 0;
    if (l->kernel_height * l->kernel_width <= MOST_TAPS)
        for (; c + 16 <= l->channels; c += 16) {
            if (depthwise_by_columns(l))
                depthwise_3x3_avx2(l, rows, weights, c, bytes);
            else
                depthwise_row_avx2(l, rows, weights, c, bytes, floats);
        }
    if (c < l->channels)
        for (ptrdiff_t x = 0; x < l->out_width; x++)
            depthwise_pixels(l, rows, weights, x, c, bytes, floats);
}
#endif
