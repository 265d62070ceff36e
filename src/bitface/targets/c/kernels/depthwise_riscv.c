/*: depthwise_riscv : depthwise_plain riscv */
#if defined(RISCV)
/* 16 channels of a pixel at once. */
ONE_COPY static int depthwise_riscv(const layer *l, const uint8_t *const *rows, const int8_t *weights, uint8_t *bytes,
                                    float *floats)
{
    const ptrdiff_t step = (ptrdiff_t)l->dilation_width * l->channels, whole = l->channels / 16 * 16;
    for (ptrdiff_t x = 0; x < l->out_width; x++) {
        for (ptrdiff_t c = 0; c < whole; c += 16) {
            const ptrdiff_t place = x * l->channels + c;
            const int8_t *w = weights + c;
            vint32m4_t sums = __riscv_vle32_v_i32m4(l->bias + c, 16);
            for (ptrdiff_t i = 0; i < l->kernel_height; i++) {
                const uint8_t *from = rows[i] + x * l->stride_width * l->channels + c;
                for (ptrdiff_t j = 0; j < l->kernel_width; j++, from += step, w += l->channels) {
                    const vuint16m2_t inputs = __riscv_vzext_vf2_u16m2(__riscv_vle8_v_u8m1(from, 16), 16);
                    const vint16m2_t by = __riscv_vsext_vf2_i16m2(__riscv_vle8_v_i8m1(w, 16), 16);
                    sums = __riscv_vwmaccsu_vv_i32m4(sums, by, inputs, 16);
                }
            }
            finish_riscv(l, sums, c, 16, l->floats ? NULL : bytes + place, l->floats ? floats + place : NULL);
        }
        if (whole < l->channels)
            depthwise_pixels(l, rows, weights, x, whole, bytes, floats);
    }
    return 1;
}
#endif
