/*: depthwise_dsp : depthwise_plain dsp */
#if defined(DSP)
/* 4 channels of a pixel at once. */
ONE_COPY static int depthwise_dsp(const layer *of, const uint8_t *const *rows, const int8_t *weights, uint8_t *bytes,
                                  float *floats)
{
    const layer copy = *of, *l = &copy; /* read once: no byte that is written is part of it */
    const ptrdiff_t step = (ptrdiff_t)l->dilation_width * l->channels, whole = l->channels / 4 * 4;
    for (ptrdiff_t x = 0; x < l->out_width; x++) {
        for (ptrdiff_t c = 0; c < whole; c += 4) {
            int32_t first = l->bias[c], second = l->bias[c + 1], third = l->bias[c + 2], fourth = l->bias[c + 3];
            const int8_t *w = weights + c;
            for (ptrdiff_t i = 0; i < l->kernel_height; i++) {
                const uint8_t *from = rows[i] + x * l->stride_width * l->channels + c;
                for (ptrdiff_t j = 0; j < l->kernel_width; j++, from += step, w += l->channels) {
                    const uint32_t word = four_bytes_dsp(from), by = four_bytes_dsp(w);
                    const int32_t even = (int32_t)even_bytes_dsp(word), odd = (int32_t)odd_bytes_dsp(word);
                    const int32_t even_by = (int32_t)even_integers_dsp(by), odd_by = (int32_t)odd_integers_dsp(by);
                    first = __smlabb(even, even_by, first);
                    second = __smlabb(odd, odd_by, second);
                    third = __smlatt(even, even_by, third);
                    fourth = __smlatt(odd, odd_by, fourth);
                }
            }
            const ptrdiff_t place = x * l->channels + c;
            finish(l, first, c, place, bytes, floats);
            finish(l, second, c + 1, place + 1, bytes, floats);
            finish(l, third, c + 2, place + 2, bytes, floats);
            finish(l, fourth, c + 3, place + 3, bytes, floats);
        }
        if (whole < l->channels)
            depthwise_pixels(l, rows, weights, x, whole, bytes, floats);
    }
    return 1;
}
#endif
