/*: depthwise : depthwise_plain depthwise_x86 depthwise_arm depthwise_dsp depthwise_riscv */
/* The rows `from` to `to` of a convolution of each channel by itself. */
static void depthwise(const layer *l, const uint8_t *map, void *result, uint8_t *work, ptrdiff_t from, ptrdiff_t to)
{
    const ptrdiff_t count = rounded_up((ptrdiff_t)l->kernel_height * l->kernel_width * l->channels, 8);
    const ptrdiff_t size = l->floats ? (ptrdiff_t)sizeof(float) : 1;
    const int8_t *weights = (const int8_t *)l->weights;
    window w;
    if (l->bits < 8) {
        unpack(l->weights, (int8_t *)work, count, l->bits);
        weights = (const int8_t *)work;
        work += count;
    }
    open_window(&w, l, map, work, from);
    for (ptrdiff_t y = from; y < to; y++) {
        uint8_t *row = (uint8_t *)result + y % l->result_rows * l->out_width * l->outputs * size;
        float *floats = (float *)(void *)row;
        move_window(&w, y);
#if defined(FAST)
        if (!FAST(depthwise)(l, w.rows, weights, row, floats))
#endif
            depthwise_plain(l, w.rows, weights, row, floats);
    }
}
