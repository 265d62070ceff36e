/*: depthwise : weights depthwise_plain depthwise_x86 depthwise_arm depthwise_dsp depthwise_riscv */
/* The rows `from` to `to` of a convolution of each channel by itself. */
static void depthwise(const layer *l, const uint8_t *map, void *result, uint8_t *work, ptrdiff_t from, ptrdiff_t to)
{
    const ptrdiff_t count = rounded_up((ptrdiff_t)l->kernel_height * l->kernel_width * l->channels, 8);
    const ptrdiff_t size = l->floats ? (ptrdiff_t)sizeof(float) : 1;
    stored next = {l->weights, l->strips};
    const int8_t *const weights = open_weights(l, &next, (int8_t *)work, count);
    window w;
    if (l->bits < 8 || l->strips != NULL)
        work += count;
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
