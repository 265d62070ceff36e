/*: conv_avx2 : conv_plain finish_avx2 */
#if defined(X86)
/* A block's weights as 16 bits, `[kernel row][segment][2 inputs][16 outputs][2]`: sums lie in the order of outputs. */
AVX2 static void widen_avx2(const layer *l, const int8_t *weights, int16_t *wide, ptrdiff_t pairs)
{
    const __m128i two = _mm_setr_epi8(-1, 0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13);
    const __m256i first = _mm256_broadcastsi128_si256(two), second = _mm256_add_epi8(first, _mm256_set1_epi16(0x0200));
    const ptrdiff_t parts = (ptrdiff_t)l->kernel_height * l->segments;
    __m256i *to = (__m256i *)(void *)wide;
    for (ptrdiff_t part = 0; part < parts; part++, weights += l->segment_bytes * 16)
        for (ptrdiff_t k = 0; k < pairs; k++, to += 2)
            for (int n = 0; n < 2; n++) {
                const __m256i four = _mm256_loadu_si256((const __m256i *)(const void *)(weights + k / 2 * 64) + n);
                const __m256i high = _mm256_shuffle_epi8(four, k % 2 ? second : first); /* halves of words */
                _mm256_storeu_si256(to + n, _mm256_srai_epi16(high, 8));
            }
}

/* What pixels read, as 16 bits in the order of the weights; up to 15 are written behind the last. */
AVX2 INLINE void read_avx2(const strip *s, ptrdiff_t x, const int pixels, ptrdiff_t pairs, int16_t *inputs)
{
    const layer *l = s->l;
    const ptrdiff_t step = (ptrdiff_t)l->dilation_width * l->channels;
    for (int p = 0; p < pixels; p++)
        for (ptrdiff_t i = 0; i < l->kernel_height; i++)
            for (ptrdiff_t j = 0; j < l->segments; j++, inputs += 2 * pairs) {
                const uint8_t *from = s->rows[i] + (x + p) * l->stride_width * l->channels + j * step + s->offset;
                for (ptrdiff_t k = 0; k < 2 * pairs; k += 16) {
                    const __m128i sixteen = _mm_loadu_si128((const __m128i *)(const void *)(from + k));
                    _mm256_storeu_si256((__m256i *)(void *)(inputs + k), _mm256_cvtepu8_epi16(sixteen));
                }
            }
}

AVX2 INLINE void tile_avx2(const strip *s, const int16_t *wide, const int16_t *inputs, ptrdiff_t count, ptrdiff_t x,
                           const int pixels, ptrdiff_t b)
{
    const __m256i *w = (const __m256i *)(const void *)wide;
    const __m256i *const bias = (const __m256i *)(const void *)(s->l->bias + s->first + b * 16);
    __m256i sums[6][2];
    for (int p = 0; p < pixels; p++)
        for (int n = 0; n < 2; n++)
            sums[p][n] = _mm256_loadu_si256(bias + n);
    for (ptrdiff_t k = 0; k < count; k++, w += 2) {
        const __m256i first = _mm256_loadu_si256(w), second = _mm256_loadu_si256(w + 1);
        for (int p = 0; p < pixels; p++) {
            int32_t two;
            memcpy(&two, inputs + 2 * (p * count + k), 4);
            const __m256i input = _mm256_set1_epi32(two);
            sums[p][0] = _mm256_add_epi32(sums[p][0], _mm256_madd_epi16(input, first));
            sums[p][1] = _mm256_add_epi32(sums[p][1], _mm256_madd_epi16(input, second));
        }
    }
    finish_tile_avx2(s, (const __m256i(*)[2])sums, x, pixels, b);
}

AVX2 INLINE void pixels_avx2(const strip *s, const int16_t *wide, int16_t *inputs, ptrdiff_t pairs, ptrdiff_t x,
                             const int pixels, ptrdiff_t b, ptrdiff_t blocks)
{
    const ptrdiff_t count = pairs * s->l->kernel_height * s->l->segments;
    read_avx2(s, x, pixels, pairs, inputs);
    for (ptrdiff_t n = 0; n < blocks; n++)
        tile_avx2(s, wide + n * count * 32, inputs, count, x, pixels, b + n);
}

/* `wide`: for the weights of blocks as 16 bits, and what 6 pixels read. */
AVX2 static void strip_avx2(const strip *s, int16_t *wide)
{
    const layer *l = s->l;
    const ptrdiff_t block = l->block_bytes, most = blocks_widened(l);
    const ptrdiff_t pairs = (l->channels / l->groups * l->kernel_width / l->segments + 1) / 2;
    const ptrdiff_t count = pairs * l->kernel_height * l->segments;
    int16_t *const inputs = wide + most * block;
    for (ptrdiff_t b = 0; b < s->blocks; b += most) {
        const ptrdiff_t blocks = s->blocks - b < most ? s->blocks - b : most;
        ptrdiff_t x = 0;
        for (ptrdiff_t n = 0; n < blocks; n++)
            widen_avx2(l, s->weights + (b + n) * block, wide + n * count * 32, pairs);
        for (; x + 6 <= l->out_width; x += 6)
            pixels_avx2(s, wide, inputs, pairs, x, 6, b, blocks);
        for (; x + 2 <= l->out_width; x += 2)
            pixels_avx2(s, wide, inputs, pairs, x, 2, b, blocks);
        for (; x < l->out_width; x++)
            pixels_avx2(s, wide, inputs, pairs, x, 1, b, blocks);
    }
}
#endif
/*: conv_narrow : conv_plain finish_avx2 */
#if defined(X86)
/* Adds products of `steps` times 4 inputs, which 16 bits hold together. */
AVX2 INLINE void add_narrow_avx2(__m256i (*sums)[2], const uint8_t *from, ptrdiff_t pixel, const int pixels,
                                 const int8_t *weights, const int steps)
{
    const __m256i *const w = (const __m256i *)(const void *)weights;
    __m256i words[3][2];
    UNROLLED
    for (int k = 0; k < steps; k++) {
        const __m256i first = _mm256_loadu_si256(w + 2 * k), second = _mm256_loadu_si256(w + 2 * k + 1);
        for (int p = 0; p < pixels; p++) {
            int32_t four;
            memcpy(&four, from + p * pixel + 4 * k, 4);
            const __m256i input = _mm256_set1_epi32(four);
            const __m256i a = _mm256_maddubs_epi16(input, first), b = _mm256_maddubs_epi16(input, second);
            words[p][0] = k == 0 ? a : _mm256_add_epi16(words[p][0], a);
            words[p][1] = k == 0 ? b : _mm256_add_epi16(words[p][1], b);
            IN_REGISTER(words[p][0]);
            IN_REGISTER(words[p][1]);
        }
    }
    for (int p = 0; p < pixels; p++)
        for (int n = 0; n < 2; n++)
            sums[p][n] = _mm256_add_epi32(sums[p][n], _mm256_madd_epi16(words[p][n], _mm256_set1_epi16(1)));
}

AVX2 INLINE void narrow_tile_avx2(const strip *s, ptrdiff_t x, const int pixels, ptrdiff_t b, const int steps)
{
    const layer *l = s->l;
    const ptrdiff_t parts = l->segments, bytes = l->segment_bytes;
    const ptrdiff_t step = (ptrdiff_t)l->dilation_width * l->channels;
    const ptrdiff_t pixel = (ptrdiff_t)l->stride_width * l->channels;
    const int8_t *w = s->weights + b * l->block_bytes;
    const __m256i *const bias = (const __m256i *)(const void *)(s->l->bias + s->first + b * 16);
    __m256i sums[3][2];
    for (int p = 0; p < pixels; p++)
        for (int n = 0; n < 2; n++)
            sums[p][n] = _mm256_loadu_si256(bias + n);
    for (ptrdiff_t i = 0; i < l->kernel_height; i++)
        for (ptrdiff_t j = 0; j < parts; j++) {
            const uint8_t *from = s->rows[i] + x * pixel + j * step + s->offset;
            ptrdiff_t k = 0;
            for (; k + 4 * steps <= bytes; k += 4 * steps, w += 64 * steps)
                add_narrow_avx2(sums, from + k, pixel, pixels, w, steps);
            for (; k < bytes; k += 4, w += 64)
                add_narrow_avx2(sums, from + k, pixel, pixels, w, 1);
        }
    finish_tile_avx2(s, (const __m256i(*)[2])sums, x, pixels, b);
}

AVX2 INLINE void strip_steps_avx2(const strip *s, const int steps)
{
    for (ptrdiff_t b = 0; b < s->blocks; b++)
        for (ptrdiff_t x = 0; x < s->l->out_width; x += 3)
            narrow_tile_avx2(s, within_row(x, 3, s->l->out_width), 3, b, steps);
}

/* A row of at least 3 pixels. Of the sums of 2 products, 16 bits hold 8 where weights have 4 bits, and 2 where 6. */
AVX2 static void strip_narrow_avx2(const strip *s)
{
    if (s->l->bits <= 4)
        strip_steps_avx2(s, 8);
    else
        strip_steps_avx2(s, 2);
}
#endif
