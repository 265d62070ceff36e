/*: depthwise_arm : depthwise_plain depthwise_neon */
#if defined(ARM)
/* Whether there was something faster than plain C. */
static int depthwise_arm(const layer *l, const uint8_t *const *rows, const int8_t *weights, uint8_t *bytes,
                         float *floats)
{
    const int level = kernels();
    if (level > 0)
        depthwise_neon(l, rows, weights, bytes, floats);
    return level > 0;
}
#endif
/*: depthwise_neon : depthwise_plain arm */
#if defined(ARM)
/* 16 channels of some pixels. */
INLINE void depthwise_tile_neon(const layer *l, const uint8_t *const *rows, const int8_t *w, ptrdiff_t x,
                                const int pixels, ptrdiff_t c, uint8_t *bytes, float *floats)
{
    const ptrdiff_t pixel = (ptrdiff_t)l->stride_width * l->channels;
    int32x4_t sums[PIXELS_ARM][4];
    UNROLLED
    for (int p = 0; p < pixels; p++)
        for (int n = 0; n < 4; n++)
            sums[p][n] = vld1q_s32(l->bias + c + 4 * n);
    w += c;
    for (ptrdiff_t i = 0; i < l->kernel_height; i++) {
        const uint8_t *from = rows[i] + x * pixel + c;
        for (ptrdiff_t j = 0; j < l->kernel_width; j++, w += l->channels) {
            const int16x8_t low = vmovl_s8(vld1_s8(w)), high = vmovl_s8(vld1_s8(w + 8));
            UNROLLED
            for (int p = 0; p < pixels; p++) {
                const uint8x16_t bytes_of_pixel = vld1q_u8(from + p * pixel);
                const int16x8_t first = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(bytes_of_pixel)));
                const int16x8_t second = vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(bytes_of_pixel)));
                sums[p][0] = vmlal_s16(sums[p][0], vget_low_s16(first), vget_low_s16(low));
                sums[p][1] = vmlal_s16(sums[p][1], vget_high_s16(first), vget_high_s16(low));
                sums[p][2] = vmlal_s16(sums[p][2], vget_low_s16(second), vget_low_s16(high));
                sums[p][3] = vmlal_s16(sums[p][3], vget_high_s16(second), vget_high_s16(high));
            }
            from += (ptrdiff_t)l->dilation_width * l->channels;
        }
    }
    finish_pixels_arm(l, sums, pixels, c, 16, x * l->channels + c, bytes, floats);
}

ONE_COPY static void depthwise_neon(const layer *l, const uint8_t *const *rows, const int8_t *weights, uint8_t *bytes,
                           float *floats)
{
    ptrdiff_t c = 0;
    for (; c + 16 <= l->channels; c += 16) {
        ptrdiff_t x = 0;
        for (; x + PIXELS_ARM <= l->out_width; x += PIXELS_ARM)
            depthwise_tile_neon(l, rows, weights, x, PIXELS_ARM, c, bytes, floats);
        for (; x < l->out_width; x++)
            depthwise_tile_neon(l, rows, weights, x, 1, c, bytes, floats);
    }
    if (c < l->channels)
        for (ptrdiff_t x = 0; x < l->out_width; x++)
            depthwise_pixels(l, rows, weights, x, c, bytes, floats);
}
#endif
