/*: conv_riscv : conv_plain riscv */
#if defined(RISCV)
/* Pixels by 16 outputs; weights [input][16 outputs]. */
INLINE void tile_riscv(const strip *s, const int16_t *w, ptrdiff_t x, const int pixels, ptrdiff_t b)
{
    const layer *l = s->l;
    const ptrdiff_t step = (ptrdiff_t)l->dilation_width * l->channels, pixel = (ptrdiff_t)l->stride_width * l->channels;
    const ptrdiff_t index = s->first + b * 16, left = s->count - b * 16, place = x * l->outputs + s->place + b * 16;
    const vint32m4_t bias = __riscv_vle32_v_i32m4(l->bias + index, 16);
    vint32m4_t first = bias, second = bias, third = bias, fourth = bias;
    for (ptrdiff_t i = 0; i < l->kernel_height; i++)
        for (ptrdiff_t j = 0; j < l->segments; j++) {
            const uint8_t *from = s->rows[i] + x * pixel + j * step + s->offset;
            for (ptrdiff_t k = 0; k < l->segment_bytes; k++, from++, w += 16) {
                const vint16m2_t weights = __riscv_vle16_v_i16m2(w, 16);
                first = __riscv_vwmacc_vx_i32m4(first, from[0], weights, 16);
                if (pixels > 1) {
                    second = __riscv_vwmacc_vx_i32m4(second, from[pixel], weights, 16);
                    third = __riscv_vwmacc_vx_i32m4(third, from[2 * pixel], weights, 16);
                    fourth = __riscv_vwmacc_vx_i32m4(fourth, from[3 * pixel], weights, 16);
                }
            }
        }
#define FINISH(p, sums)                                                                                                \
    finish_riscv(l, sums, index, left, l->floats ? NULL : s->bytes + place + p * l->outputs,                           \
                 l->floats ? s->floats + place + p * l->outputs : NULL);
    FINISH(0, first)
    if (pixels > 1) {
        FINISH(1, second)
        FINISH(2, third)
        FINISH(3, fourth)
    }
#undef FINISH
}

/* `wide`: the weights of a block as 16 bits, [input][16 outputs]. */
ONE_COPY static int strip_riscv(const strip *s, int16_t *wide)
{
    const ptrdiff_t block = s->l->block_bytes;
    for (ptrdiff_t b = 0; b < s->blocks; b++) {
        const int8_t *const from = s->weights + b * block;
        ptrdiff_t x = 0;
        for (ptrdiff_t k = 0; k < block; k += 16) {
            const vint8m1_t weights = __riscv_vlse8_v_i8m1(from + k / 64 * 64 + k % 64 / 16, 4, 16);
            __riscv_vse16_v_i16m2(wide + k, __riscv_vsext_vf2_i16m2(weights, 16), 16);
        }
        for (; x + 4 <= s->l->out_width; x += 4)
            tile_riscv(s, wide, x, 4, b);
        for (; x < s->l->out_width; x++)
            tile_riscv(s, wide, x, 1, b);
    }
    return 1;
}
#endif
