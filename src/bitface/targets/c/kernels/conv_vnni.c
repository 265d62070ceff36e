/*: conv_avxvnni : conv_plain finish_avx2 */
#if defined(AVX_VNNI)
AVX_VNNI INLINE void tile_avxvnni(const strip *s, ptrdiff_t x, const int pixels, ptrdiff_t b)
{
    const layer *l = s->l;
    const ptrdiff_t parts = l->segments, bytes = l->segment_bytes;
    const ptrdiff_t step = (ptrdiff_t)l->dilation_width * l->channels;
    const ptrdiff_t pixel = (ptrdiff_t)l->stride_width * l->channels;
    const __m256i *w = (const __m256i *)(const void *)(s->weights + b * l->block_bytes);
    const __m256i *const bias = (const __m256i *)(const void *)(s->l->bias + s->first + b * 16);
    __m256i sums[6][2];
    for (int p = 0; p < pixels; p++)
        for (int n = 0; n < 2; n++)
            sums[p][n] = _mm256_loadu_si256(bias + n);
    for (ptrdiff_t i = 0; i < l->kernel_height; i++)
        for (ptrdiff_t j = 0; j < parts; j++) {
            const uint8_t *from = s->rows[i] + x * pixel + j * step + s->offset;
            for (ptrdiff_t k = 0; k < bytes; k += 4, w += 2) {
                const __m256i first = _mm256_loadu_si256(w), second = _mm256_loadu_si256(w + 1);
                for (int p = 0; p < pixels; p++) {
                    int32_t four;
                    memcpy(&four, from + p * pixel + k, 4);
                    const __m256i input = _mm256_set1_epi32(four);
                    sums[p][0] = _mm256_dpbusd_avx_epi32(sums[p][0], input, first);
                    sums[p][1] = _mm256_dpbusd_avx_epi32(sums[p][1], input, second);
                }
            }
        }
    finish_tile_avx2(s, (const __m256i(*)[2])sums, x, pixels, b);
}

AVX_VNNI static void strip_avxvnni(const strip *s)
{
    const ptrdiff_t width = s->l->out_width;
    for (ptrdiff_t b = 0; b < s->blocks; b++)
        if (width < 6)
            for (ptrdiff_t x = 0; x < width; x++)
                tile_avxvnni(s, x, 1, b);
        else
            for (ptrdiff_t x = 0; x < width; x += 6)
                tile_avxvnni(s, within_row(x, 6, width), 6, b);
}
#endif
/*: conv_vnni : conv_plain finish_avx2 */
#if defined(X86)
VNNI INLINE __m512i four_bytes_vnni(const uint8_t *from)
{
    int32_t word;
    memcpy(&word, from, 4);
    return _mm512_set1_epi32(word);
}

/* The bytes of a tile of 64 outputs. */
VNNI INLINE void tile_levels_vnni(const layer *of, __m512i (*sums)[4], const int pixels, ptrdiff_t index,
                                  uint8_t *bytes)
{
    const layer copy = *of, *l = &copy; /* read once: no byte that is written is part of it */
    UNROLLED
    for (int p = 0; p < pixels; p++) {
        __m512i levels[4];
        for (int n = 0; n < 4; n++)
            levels[n] = levels_vnni(l, sums[p][n], _mm512_loadu_ps(l->scale + index + n * 16),
                                    l->slope != NULL ? _mm512_loadu_ps(l->slope + index + n * 16)
                                                     : _mm512_setzero_ps());
        _mm512_storeu_si512(bytes + p * l->outputs, in_order_vnni(packed_vnni(levels, l->zero, l->lowest)));
    }
}

/* The outputs of sums `[block][pixel][16]`. */
VNNI ONE_COPY static void finish_tile_vnni(const strip *s, const int32_t *sums, ptrdiff_t x, int pixels, ptrdiff_t b,
                                           int blocks)
{
    const layer copy = *s->l, *l = &copy; /* read once: no byte that is written is part of it */
    for (int n = 0; n < blocks; n++, b++)
        for (ptrdiff_t p = 0; p < pixels; p++, sums += 16) {
            const ptrdiff_t place = (x + p) * l->outputs + s->place + b * 16;
            finish_vnni(l, _mm512_loadu_si512(sums), s->first + b * 16, s->count - b * 16,
                        l->floats ? NULL : s->bytes + place, l->floats ? s->floats + place : NULL);
        }
}

VNNI INLINE void tile_vnni(const strip *s, ptrdiff_t x, const int pixels, ptrdiff_t b, const int blocks)
{
    const layer *l = s->l;
    const ptrdiff_t parts = l->segments, bytes = l->segment_bytes, block = l->block_bytes;
    const ptrdiff_t step = (ptrdiff_t)l->dilation_width * l->channels;
    const ptrdiff_t pixel = (ptrdiff_t)l->stride_width * l->channels;
    const int8_t *w = s->weights + b * block;
    __m512i sums[6][4];
    for (int n = 0; n < blocks; n++)
        for (int p = 0; p < pixels; p++)
            sums[p][n] = _mm512_loadu_si512(l->bias + s->first + (b + n) * 16);
    for (ptrdiff_t i = 0; i < l->kernel_height; i++)
        for (ptrdiff_t j = 0; j < parts; j++) {
            const uint8_t *from = s->rows[i] + x * pixel + j * step + s->offset;
            for (ptrdiff_t k = 0; k < bytes; k += 4, w += 64) {
                __m512i weights[4];
                for (int n = 0; n < blocks; n++)
                    weights[n] = _mm512_loadu_si512(w + n * block);
                for (int p = 0; p < pixels; p++) {
                    const __m512i inputs = four_bytes_vnni(from + p * pixel + k);
                    for (int n = 0; n < blocks; n++)
                        sums[p][n] = _mm512_dpbusd_epi32(sums[p][n], inputs, weights[n]);
                }
            }
        }
    const ptrdiff_t index = s->first + b * 16, left = s->count - b * 16;
    if (pixels * blocks == 24 && !l->floats && left >= 64) {
        tile_levels_vnni(l, sums, pixels, index, s->bytes + x * l->outputs + s->place + b * 16);
        return;
    }
    int32_t result[4 * 6 * 16];
    for (int n = 0; n < blocks; n++)
        for (int p = 0; p < pixels; p++)
            _mm512_storeu_si512(result + (n * pixels + p) * 16, sums[p][n]);
    finish_tile_vnni(s, result, x, pixels, b, blocks);
}

/* A row of at least 6 pixels; with few blocks, smaller tiles would wait for their sums. */
VNNI INLINE void pixels_vnni(const strip *s, ptrdiff_t b, const int blocks)
{
    for (ptrdiff_t x = 0; x < s->l->out_width; x += 6)
        tile_vnni(s, within_row(x, 6, s->l->out_width), 6, b, blocks);
}

VNNI static void strip_vnni(const strip *s)
{
    const ptrdiff_t width = s->l->out_width;
    ptrdiff_t b = 0;
    for (; b + 4 <= s->blocks; b += 4) {
        ptrdiff_t x = 0;
        for (; x + 6 <= width; x += 6)
            tile_vnni(s, x, 6, b, 4);
        for (; x + 2 <= width; x += 2)
            tile_vnni(s, x, 2, b, 4);
        for (; x < width; x++)
            tile_vnni(s, x, 1, b, 4);
    }
    for (; width >= 6 && b + 2 <= s->blocks; b += 2)
        pixels_vnni(s, b, 2);
    for (; width >= 6 && b < s->blocks; b++)
        pixels_vnni(s, b, 1);
    for (; b < s->blocks; b++)
        for (ptrdiff_t x = 0; x < width; x++)
            tile_vnni(s, x, 1, b, 1);
}
#endif
