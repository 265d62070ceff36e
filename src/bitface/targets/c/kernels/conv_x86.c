/*: conv_x86 : conv_plain conv_vnni conv_avx2 */
#if defined(X86)
/* Whether there was something faster than plain C. */
static int strip_x86(const strip *s, int16_t *wide)
{
    const int level = kernels();
    if (level == 2)
        strip_vnni(s);
    else if (level == 1)
        strip_avx2(s, wide);
    return level > 0;
}
#endif
/*: conv_avx2 : conv_plain */
#if defined(X86)
/* `wide`: the weights of a block as 16 bits, in the same order. */
AVX2 INLINE void tile_avx2(const strip *s, const int16_t *wide, ptrdiff_t x, const int pixels, ptrdiff_t b)
{
    const layer copy = *s->l, *l = &copy; /* read once: no byte that is written is part of it */
    const ptrdiff_t parts = l->segments, bytes = l->segment_bytes;
    const ptrdiff_t step = (ptrdiff_t)l->dilation_width * l->channels;
    const ptrdiff_t pixel = (ptrdiff_t)l->stride_width * l->channels;
    const __m256i *w = (const __m256i *)(const void *)wide;
    __m256i sums[2][4]; /* of 4 outputs each, in two parts */
    for (int p = 0; p < pixels; p++)
        for (int n = 0; n < 4; n++)
            sums[p][n] = _mm256_setzero_si256();
    for (ptrdiff_t i = 0; i < l->kernel_height; i++)
        for (ptrdiff_t j = 0; j < parts; j++) {
            const uint8_t *from = s->rows[i] + x * pixel + j * step + s->offset;
            for (ptrdiff_t k = 0; k < bytes; k += 4, w += 4) {
                __m256i inputs[2];
                for (int p = 0; p < pixels; p++)
                    inputs[p] = _mm256_cvtepu8_epi16(_mm_castps_si128(
                        _mm_broadcast_ss((const float *)(const void *)(from + p * pixel + k))));
                for (int n = 0; n < 4; n++) {
                    const __m256i weights = _mm256_loadu_si256(w + n);
                    for (int p = 0; p < pixels; p++)
                        sums[p][n] = _mm256_add_epi32(sums[p][n], _mm256_madd_epi16(inputs[p], weights));
                }
            }
        }
    /* In memory from here on, but not before: compilers keep what small loops read in registers. */
    __m256i eights[2][2];
    for (int p = 0; p < pixels; p++)
        for (int n = 0; n < 2; n++)
            eights[p][n] =
                _mm256_permute4x64_epi64(_mm256_hadd_epi32(sums[p][2 * n], sums[p][2 * n + 1]), 0xd8);
    const ptrdiff_t index = s->first + b * 16, left = s->count - b * 16;
    if (!l->floats && left >= 16) {
        const __m256i *const bias = (const __m256i *)(const void *)(l->bias + index);
        for (int p = 0; p < pixels; p++) {
            for (int n = 0; n < 2; n++)
                eights[p][n] = _mm256_add_epi32(eights[p][n], _mm256_loadu_si256(bias + n));
            _mm_storeu_si128((__m128i *)(void *)(s->bytes + (x + p) * l->outputs + s->place + b * 16),
                             levels_avx2(l, eights[p], index));
        }
        return;
    }
    for (int p = 0; p < pixels; p++)
        for (int n = 0; n < 2 && left > 8 * n; n++) {
            const __m256i *const bias = (const __m256i *)(const void *)(l->bias + index + 8 * n);
            const ptrdiff_t place = (x + p) * l->outputs + s->place + b * 16 + 8 * n;
            finish_avx2(l, _mm256_add_epi32(eights[p][n], _mm256_loadu_si256(bias)), index + 8 * n, left - 8 * n,
                        l->floats ? NULL : s->bytes + place, l->floats ? s->floats + place : NULL);
        }
}

AVX2 static void strip_avx2(const strip *s, int16_t *wide)
{
    const ptrdiff_t block = s->l->block_bytes;
    for (ptrdiff_t b = 0; b < s->blocks; b++) {
        const __m128i *const from = (const __m128i *)(const void *)(s->weights + b * block);
        ptrdiff_t x = 0;
        for (ptrdiff_t k = 0; k < block / 16; k++)
            _mm256_storeu_si256((__m256i *)(void *)wide + k, _mm256_cvtepi8_epi16(_mm_loadu_si128(from + k)));
        for (; x + 2 <= s->l->out_width; x += 2)
            tile_avx2(s, wide, x, 2, b);
        for (; x < s->l->out_width; x++)
            tile_avx2(s, wide, x, 1, b);
    }
}
#endif
