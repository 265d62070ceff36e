/*: conv_vnni : conv_plain */
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
    for (int n = 0; n < blocks; n++)
        for (int p = 0; p < pixels; p++)
            IN_REGISTER(sums[p][n]);
    const ptrdiff_t index = s->first + b * 16, left = s->count - b * 16, place = x * l->outputs + s->place + b * 16;
    if (blocks == 4 && !l->floats && left >= 64) {
        tile_levels_vnni(l, sums, pixels, index, s->bytes + place);
        return;
    }
    __m512i rest[6][4];
    UNROLLED
    for (int p = 0; p < pixels; p++)
        for (int n = 0; n < blocks; n++)
            rest[p][n] = sums[p][n];
    for (int p = 0; p < pixels; p++)
        for (int n = 0; n < blocks; n++) {
            const ptrdiff_t put = place + p * l->outputs + n * 16;
            finish_vnni(l, rest[p][n], index + n * 16, left - n * 16, l->floats ? NULL : s->bytes + put,
                        l->floats ? s->floats + put : NULL);
        }
}

VNNI INLINE void pixels_vnni(const strip *s, ptrdiff_t b, const int blocks)
{
    ptrdiff_t x = 0;
    for (; x + 6 <= s->l->out_width; x += 6)
        tile_vnni(s, x, 6, b, blocks);
    for (; x + 2 <= s->l->out_width; x += 2)
        tile_vnni(s, x, 2, b, blocks);
    for (; x < s->l->out_width; x++)
        tile_vnni(s, x, 1, b, blocks);
}

VNNI static void strip_vnni(const strip *s)
{
    ptrdiff_t b = 0;
    for (; b + 4 <= s->blocks; b += 4)
        pixels_vnni(s, b, 4);
    for (; b + 2 <= s->blocks; b += 2)
        pixels_vnni(s, b, 2);
    for (; b < s->blocks; b++)
        pixels_vnni(s, b, 1);
}
#endif
