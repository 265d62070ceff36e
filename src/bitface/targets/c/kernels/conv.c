/*: conv : layer unpack */
/* Outputs of one row of pixels: `blocks` blocks of 16 from number `first` of a group that has `count` outputs left. */
typedef struct {
    const layer *l;
    const uint8_t *const *rows;
    ptrdiff_t offset; /* of the group's inputs in a pixel */
    const int8_t *weights;
    ptrdiff_t blocks, first, count, place;
    uint8_t *bytes; /* of the row */
    float *floats;
} strip;

/* 4 sums of products of 16 bits: loops that compilers vectorise. */
static void dots(const int16_t *x, const int16_t *w, ptrdiff_t count, int32_t *sums)
{
    int32_t a = 0, b = 0, c = 0, d = 0;
    for (ptrdiff_t k = 0; k < count; k++) {
        a += (int32_t)x[k] * (int32_t)w[k];
        b += (int32_t)x[k] * (int32_t)w[count + k];
        c += (int32_t)x[k] * (int32_t)w[2 * count + k];
        d += (int32_t)x[k] * (int32_t)w[3 * count + k];
    }
    sums[0] += a;
    sums[1] += b;
    sums[2] += c;
    sums[3] += d;
}

static void strip_plain(const strip *s, int16_t *wide)
{
    const layer *l = s->l;
    const ptrdiff_t parts = l->segments, bytes = l->segment_bytes, block = l->block_bytes, count = block / 16;
    const ptrdiff_t step = (ptrdiff_t)l->dilation_width * l->channels;
    int16_t *inputs = wide + block;
    for (ptrdiff_t b = 0; b < s->blocks; b++) {
        const ptrdiff_t index = s->first + b * 16, left = s->count - b * 16;
        for (ptrdiff_t k = 0; k < count; k++)
            for (ptrdiff_t o = 0; o < 16; o++)
                wide[o * count + k] = s->weights[b * block + k / 4 * 64 + o * 4 + k % 4];
        for (ptrdiff_t x = 0; x < l->out_width; x++) {
            int32_t sums[16];
            int16_t *to = inputs;
            for (ptrdiff_t i = 0; i < l->kernel_height; i++)
                for (ptrdiff_t j = 0; j < parts; j++, to += bytes) {
                    const uint8_t *from = s->rows[i] + x * l->stride_width * l->channels + j * step + s->offset;
                    for (ptrdiff_t k = 0; k < bytes; k++)
                        to[k] = from[k];
                }
            memcpy(sums, l->bias + index, sizeof sums);
            for (ptrdiff_t o = 0; o < 16 && o < left; o += 4)
                dots(inputs, wide + o * count, count, sums + o);
            for (ptrdiff_t o = 0; o < 16 && o < left; o++)
                finish(l, sums[o], index + o, x * l->outputs + s->place + b * 16 + o, s->bytes, s->floats);
        }
    }
}

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

/* A convolution, or a linear layer as one of 1x1; `work` is for integers as 16 bits, unpacked weights, and rows. */
static void conv(const layer *l, const uint8_t *map, void *result, uint8_t *work)
{
    const ptrdiff_t of_group = l->outputs / l->groups, blocks = rounded_up(of_group, 16) / 16;
    const ptrdiff_t block = l->block_bytes, size = l->floats ? (ptrdiff_t)sizeof(float) : 1;
    const int level = kernels();
    int16_t *wide = (int16_t *)(void *)work;
    const ptrdiff_t widened = 2 * (block + block / 16);
    int8_t *unpacked = (int8_t *)(work + widened);
    window w;
    work += widened + (l->bits < 8 ? l->blocks_at_once * block : 0);
    for (ptrdiff_t group = 0; group < l->groups; group++)
        for (ptrdiff_t first = 0; first < blocks; first += l->blocks_at_once) {
            strip s;
            const ptrdiff_t number = group * blocks + first;
            s.l = l;
            s.rows = w.rows;
            s.offset = group * (l->channels / l->groups);
            s.blocks = blocks - first < l->blocks_at_once ? blocks - first : l->blocks_at_once;
            s.first = number * 16;
            s.count = of_group - first * 16;
            s.place = group * of_group + first * 16;
            if (l->bits < 8)
                unpack(l->weights + number * block * l->bits / 8, unpacked, s.blocks * block, l->bits);
            s.weights = l->bits < 8 ? unpacked : (const int8_t *)l->weights + number * block;
            open_window(&w, l, map, work);
            for (ptrdiff_t y = 0; y < l->out_height; y++) {
                uint8_t *row = (uint8_t *)result + y * l->out_width * l->outputs * size;
                move_window(&w, y);
                s.bytes = row;
                s.floats = (float *)(void *)row;
#if defined(X86)
                if (level == 2)
                    strip_vnni(&s);
                else if (level == 1)
                    strip_avx2(&s, wide);
                else
#endif
                    strip_plain(&s, wide);
            }
        }
    (void)level;
    (void)wide;
}
/*: depthwise : layer unpack */
INLINE void depthwise_pixels(const layer *l, const uint8_t *const *rows, const int8_t *weights, ptrdiff_t x,
                             ptrdiff_t c, uint8_t *bytes, float *floats)
{
    int32_t sums[16];
    for (; c < l->channels; c += 16) {
        const ptrdiff_t count = l->channels - c < 16 ? l->channels - c : 16;
        memcpy(sums, l->bias + c, (size_t)count * sizeof(int32_t));
        for (ptrdiff_t i = 0; i < l->kernel_height; i++)
            for (ptrdiff_t j = 0; j < l->kernel_width; j++) {
                const uint8_t *from = rows[i] + (x * l->stride_width + j * l->dilation_width) * l->channels + c;
                const int8_t *w = weights + (i * l->kernel_width + j) * l->channels + c;
                if (count == 16)
                    for (int k = 0; k < 16; k++)
                        sums[k] += (int32_t)((int16_t)from[k] * (int16_t)w[k]);
                else
                    for (ptrdiff_t k = 0; k < count; k++)
                        sums[k] += from[k] * w[k];
            }
        for (ptrdiff_t k = 0; k < count; k++)
            finish(l, sums[k], c + k, x * l->channels + c + k, bytes, floats);
    }
}

static void depthwise_plain(const layer *l, const uint8_t *const *rows, const int8_t *weights, uint8_t *bytes,
                            float *floats)
{
    for (ptrdiff_t x = 0; x < l->out_width; x++)
        depthwise_pixels(l, rows, weights, x, 0, bytes, floats);
}

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

#define MOST_TAPS 64

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
    const int columns = l->kernel_height == 3 && l->kernel_width == 3 && l->dilation_width == 1 && l->stride_width < 3;
    if (l->kernel_height * l->kernel_width <= MOST_TAPS && !l->floats)
        for (; c + 64 <= l->channels; c += 64) {
            if (columns)
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
            _mm_storeu_si128((__m128i *)(void *)(bytes + place), levels_avx2(l, sums, c));
            continue;
        }
        for (int n = 0; n < 2; n++)
            finish_avx2(l, sums[n], c + 8 * n, 8, l->floats ? NULL : bytes + place + 8 * n,
                        l->floats ? floats + place + 8 * n : NULL);
    }
}

AVX2 static void depthwise_avx2(const layer *l, const uint8_t *const *rows, const int8_t *weights, uint8_t *bytes,
                                float *floats)
{
    ptrdiff_t c = 0;
    if (l->kernel_height * l->kernel_width <= MOST_TAPS)
        for (; c + 16 <= l->channels; c += 16)
            depthwise_row_avx2(l, rows, weights, c, bytes, floats);
    if (c < l->channels)
        for (ptrdiff_t x = 0; x < l->out_width; x++)
            depthwise_pixels(l, rows, weights, x, c, bytes, floats);
}
#endif

/* A convolution of each channel by itself. */
static void depthwise(const layer *l, const uint8_t *map, void *result, uint8_t *work)
{
    const ptrdiff_t count = rounded_up((ptrdiff_t)l->kernel_height * l->kernel_width * l->channels, 8);
    const ptrdiff_t size = l->floats ? (ptrdiff_t)sizeof(float) : 1;
    const int8_t *weights = (const int8_t *)l->weights;
    const int level = kernels();
    window w;
    if (l->bits < 8) {
        unpack(l->weights, (int8_t *)work, count, l->bits);
        weights = (const int8_t *)work;
        work += count;
    }
    open_window(&w, l, map, work);
    for (ptrdiff_t y = 0; y < l->out_height; y++) {
        uint8_t *row = (uint8_t *)result + y * l->out_width * l->outputs * size;
        float *floats = (float *)(void *)row;
        move_window(&w, y);
#if defined(X86)
        if (level == 2)
            depthwise_vnni(l, w.rows, weights, row, floats);
        else if (level == 1)
            depthwise_avx2(l, w.rows, weights, row, floats);
        else
#endif
            depthwise_plain(l, w.rows, weights, row, floats);
    }
    (void)level;
}
