/*: conv_dsp : conv_plain dsp */
#if defined(DSP)
/* Of a pair of outputs; weights [4 inputs][output]: the first and the third one, the second and the fourth one. */
INLINE void tile_dsp(const strip *s, const uint32_t *w, ptrdiff_t x, const int pixels, ptrdiff_t output)
{
    const layer *l = s->l;
    const ptrdiff_t bytes = l->segment_bytes, step = (ptrdiff_t)l->dilation_width * l->channels;
    const ptrdiff_t pixel = (ptrdiff_t)l->stride_width * l->channels, index = s->first + output;
    int32_t sums[2][2];
    UNROLLED
    for (int p = 0; p < pixels; p++) {
        sums[p][0] = l->bias[index];
        sums[p][1] = l->bias[index + 1];
    }
    for (ptrdiff_t i = 0; i < l->kernel_height; i++)
        for (ptrdiff_t j = 0; j < l->segments; j++) {
            const uint8_t *from = s->rows[i] + x * pixel + j * step + s->offset;
            for (const uint8_t *const end = from + bytes; from < end; from += 4, w += 4) {
                UNROLLED
                for (int p = 0; p < pixels; p++) {
                    const uint32_t word = four_bytes_dsp(from + p * pixel);
                    const int16x2_t even = (int16x2_t)even_bytes_dsp(word), odd = (int16x2_t)odd_bytes_dsp(word);
                    sums[p][0] = __smlad(odd, (int16x2_t)w[1], __smlad(even, (int16x2_t)w[0], sums[p][0]));
                    sums[p][1] = __smlad(odd, (int16x2_t)w[3], __smlad(even, (int16x2_t)w[2], sums[p][1]));
                }
            }
        }
    UNROLLED
    for (int p = 0; p < pixels; p++) {
        const ptrdiff_t place = (x + p) * l->outputs + s->place + output;
        finish(l, sums[p][0], index, place, s->bytes, s->floats);
        if (output + 1 < s->count)
            finish(l, sums[p][1], index + 1, place + 1, s->bytes, s->floats);
    }
}

/* `wide`: the weights of a block as 16 bits, [2 outputs][4 inputs][output][4]. */
ONE_COPY static int strip_dsp(const strip *of, int16_t *wide)
{
    const layer copy = *of->l, *l = &copy; /* read once: no byte that is written is part of them */
    strip whole = *of, *const s = &whole;
    s->l = l;
    const ptrdiff_t block = l->block_bytes, pair = block / 16;
    uint32_t *const pairs = (uint32_t *)(void *)wide;
    for (ptrdiff_t b = 0; b < s->blocks; b++) {
        ptrdiff_t x = 0;
        for (ptrdiff_t k = 0; k < block / 64; k++)
            for (ptrdiff_t o = 0; o < 16; o++) {
                const uint32_t word = four_bytes_dsp(s->weights + b * block + k * 64 + o * 4);
                uint32_t *const to = pairs + o / 2 * pair + k * 4 + o % 2 * 2;
                to[0] = even_integers_dsp(word);
                to[1] = odd_integers_dsp(word);
            }
        for (; x + 2 <= l->out_width; x += 2)
            for (ptrdiff_t o = 0; o < 16 && b * 16 + o < s->count; o += 2)
                tile_dsp(s, pairs + o / 2 * pair, x, 2, b * 16 + o);
        if (x < l->out_width)
            for (ptrdiff_t o = 0; o < 16 && b * 16 + o < s->count; o += 2)
                tile_dsp(s, pairs + o / 2 * pair, x, 1, b * 16 + o);
    }
    return 1;
}
#endif
