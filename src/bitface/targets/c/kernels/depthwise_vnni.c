/*: depthwise_vnni : depthwise_plain */
#if defined(X86)
VNNI INLINE __m512i sixteen_vnni(const uint8_t *from)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)from));
}

/* Bytes in words whose other half is 0: the product of two halves is that of the bytes. */
VNNI INLINE void depthwise_tile_vnni(const layer *l, const uint8_t *const *rows, const int8_t *weights, ptrdiff_t x,
                                     const int pixels, ptrdiff_t c, uint8_t *bytes, float *floats)
{
    const ptrdiff_t pixel = (ptrdiff_t)l->stride_width * l->channels;
    __m512i sums[8];
    for (int p = 0; p < pixels; p++)
        sums[p] = _mm512_loadu_si512(l->bias + c);
    for (ptrdiff_t i = 0; i < l->kernel_height; i++) {
        const uint8_t *from = rows[i] + x * pixel + c;
        const int8_t *w = weights + i * l->kernel_width * l->channels + c;
        for (ptrdiff_t j = 0; j < l->kernel_width; j++, w += l->channels) {
            const __m512i weight = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)w));
            for (int p = 0; p < pixels; p++)
                sums[p] = _mm512_dpwssd_epi32(sums[p], sixteen_vnni(from + p * pixel), weight);
            from += (ptrdiff_t)l->dilation_width * l->channels;
        }
    }
    for (int p = 0; p < pixels; p++) {
        const ptrdiff_t place = (x + p) * l->channels + c;
        finish_vnni(l, sums[p], c, 16, l->floats ? NULL : bytes + place, l->floats ? floats + place : NULL);
    }
}

/* 4 vectors of 64 bytes as 4 of 16 channels, of each one byte of each; lanes hold channels 0 to 3, 16 to 19, ... */
VNNI INLINE void four_taps_vnni(const __m512i taps[4], __m512i channels[4])
{
    const __m512i a = _mm512_unpacklo_epi8(taps[0], taps[1]), b = _mm512_unpackhi_epi8(taps[0], taps[1]);
    const __m512i c = _mm512_unpacklo_epi8(taps[2], taps[3]), d = _mm512_unpackhi_epi8(taps[2], taps[3]);
    channels[0] = _mm512_unpacklo_epi16(a, c);
    channels[1] = _mm512_unpackhi_epi16(a, c);
    channels[2] = _mm512_unpacklo_epi16(b, d);
    channels[3] = _mm512_unpackhi_epi16(b, d);
}

/* Numbers of 64 channels in the order of `four_taps_vnni`. */
VNNI INLINE void sixty_four_vnni(const void *from, __m512i numbers[4])
{
    const __m128i *const four = (const __m128i *)from;
    for (int n = 0; n < 4; n++) {
        numbers[n] = _mm512_castsi128_si512(_mm_loadu_si128(four + n));
        numbers[n] = _mm512_inserti32x4(numbers[n], _mm_loadu_si128(four + 4 + n), 1);
        numbers[n] = _mm512_inserti32x4(numbers[n], _mm_loadu_si128(four + 8 + n), 2);
        numbers[n] = _mm512_inserti32x4(numbers[n], _mm_loadu_si128(four + 12 + n), 3);
    }
}

/* A row of 64 channels, 4 taps at once; taps that are missing have weights of 0. */
VNNI static void depthwise_row_vnni(const layer *l, const uint8_t *const *rows, const int8_t *weights, ptrdiff_t c,
                                    uint8_t *bytes)
{
    const ptrdiff_t pixel = (ptrdiff_t)l->stride_width * l->channels;
    const int count = l->kernel_height * l->kernel_width, fours = (count + 3) / 4;
    const uint8_t *from[MOST_TAPS];
    __m512i taps[4], inputs[4], by[MOST_TAPS], bias[4], scale[4], slope[4];
    for (int t = 0; t < fours * 4; t++) {
        const int i = t < count ? t : 0;
        from[t] = rows[i / l->kernel_width] + (ptrdiff_t)(i % l->kernel_width) * l->dilation_width * l->channels + c;
        taps[t % 4] = t < count ? _mm512_loadu_si512(weights + (ptrdiff_t)t * l->channels + c) : _mm512_setzero_si512();
        if (t % 4 == 3)
            four_taps_vnni(taps, by + t - 3);
    }
    sixty_four_vnni(l->bias + c, bias);
    sixty_four_vnni(l->scale + c, scale);
    sixty_four_vnni(l->slope != NULL ? l->slope + c : l->scale + c, slope);
    for (ptrdiff_t x = 0; x < l->out_width; x++) {
        __m512i sums[4] = {bias[0], bias[1], bias[2], bias[3]};
        for (int t = 0; t < fours; t++) {
            for (int k = 0; k < 4; k++)
                taps[k] = _mm512_loadu_si512(from[t * 4 + k] + x * pixel);
            four_taps_vnni(taps, inputs);
            for (int n = 0; n < 4; n++)
                sums[n] = _mm512_dpbusd_epi32(sums[n], inputs[n], by[t * 4 + n]);
        }
        for (int n = 0; n < 4; n++)
            sums[n] = levels_vnni(l, sums[n], _mm512_castsi512_ps(scale[n]), _mm512_castsi512_ps(slope[n]));
        _mm512_storeu_si512(bytes + x * l->channels + c, packed_vnni(sums, l->zero, l->lowest));
    }
}

/* A row of 64 channels with kernels of 3x3: of each column of the map, its 3 rows; the next pixel reads two again. */
VNNI INLINE void depthwise_columns_vnni(const layer *l, const uint8_t *const *rows, const int8_t *weights, ptrdiff_t c,
                                        uint8_t *bytes, const int stride)
{
    __m512i taps[4], by[3][4], columns[3][4], bias[4], scale[4], slope[4];
    for (int j = 0; j < 3; j++) {
        for (int i = 0; i < 3; i++)
            taps[i] = _mm512_loadu_si512(weights + (ptrdiff_t)(i * 3 + j) * l->channels + c);
        taps[3] = _mm512_setzero_si512();
        four_taps_vnni(taps, by[j]);
    }
    sixty_four_vnni(l->bias + c, bias);
    sixty_four_vnni(l->scale + c, scale);
    sixty_four_vnni(l->slope != NULL ? l->slope + c : l->scale + c, slope);
    taps[3] = _mm512_setzero_si512();
    for (int j = 0; j < 3 - stride; j++) { /* as if a pixel before the first one had read them */
        for (int i = 0; i < 3; i++)
            taps[i] = _mm512_loadu_si512(rows[i] + j * l->channels + c);
        four_taps_vnni(taps, columns[j + stride]);
    }
    for (ptrdiff_t x = 0; x < l->out_width; x++) {
        __m512i sums[4] = {bias[0], bias[1], bias[2], bias[3]};
        for (int j = 0; j < 3 - stride; j++)
            for (int n = 0; n < 4; n++)
                columns[j][n] = columns[j + stride][n];
        for (int j = 3 - stride; j < 3; j++) {
            for (int i = 0; i < 3; i++)
                taps[i] = _mm512_loadu_si512(rows[i] + (x * stride + j) * l->channels + c);
            four_taps_vnni(taps, columns[j]);
        }
        for (int j = 0; j < 3; j++)
            for (int n = 0; n < 4; n++)
                sums[n] = _mm512_dpbusd_epi32(sums[n], columns[j][n], by[j][n]);
        for (int n = 0; n < 4; n++)
            sums[n] = levels_vnni(l, sums[n], _mm512_castsi512_ps(scale[n]), _mm512_castsi512_ps(slope[n]));
        _mm512_storeu_si512(bytes + x * l->channels + c, packed_vnni(sums, l->zero, l->lowest));
    }
}

VNNI static void depthwise_3x3_vnni(const layer *l, const uint8_t *const *rows, const int8_t *weights, ptrdiff_t c,
                                    uint8_t *bytes)
{
    if (l->stride_width == 1)
        depthwise_columns_vnni(l, rows, weights, c, bytes, 1);
    else
        depthwise_columns_vnni(l, rows, weights, c, bytes, 2);
}

VNNI static void depthwise_vnni(const layer *l, const uint8_t *const *rows, const int8_t *weights, uint8_t *bytes,
                                float *floats)
{
    ptrdiff_t c = 0;
    if (l->kernel_height * l->kernel_width <= MOST_TAPS && !l->floats)
        for (; c + 64 <= l->channels; c += 64) {
            if (depthwise_by_columns(l))
                depthwise_3x3_vnni(l, rows, weights, c, bytes);
            else
                depthwise_row_vnni(l, rows, weights, c, bytes);
        }
    for (; c + 16 <= l->channels; c += 16) {
        ptrdiff_t x = 0;
        for (; x + 7 <= l->out_width; x += 7)
            depthwise_tile_vnni(l, rows, weights, x, 7, c, bytes, floats);
        for (; x < l->out_width; x++)
            depthwise_tile_vnni(l, rows, weights, x, 1, c, bytes, floats);
    }
    if (c < l->channels)
        for (ptrdiff_t x = 0; x < l->out_width; x++)
            depthwise_pixels(l, rows, weights, x, c, bytes, floats);
}
#endif
