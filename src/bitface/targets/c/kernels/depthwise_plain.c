/*: depthwise_plain : layer unpack */
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

#define MOST_TAPS 64

/* Whether pixels side by side share columns of 3 rows, and give bytes. */
INLINE int depthwise_by_columns(const layer *l)
{
    return l->kernel_height == 3 && l->kernel_width == 3 && l->dilation_width == 1 && l->stride_width < 3 && !l->floats;
}
