/*: conv : weights conv_plain conv_x86 conv_arm conv_dsp conv_riscv */
/*
 * The rows `from` to `to` of a convolution, or a linear layer as one of 1x1; `work` is for integers as 16 bits, unpacked
 * weights, and rows.
 */
static void conv(const layer *l, const uint8_t *map, void *result, uint8_t *work, ptrdiff_t from, ptrdiff_t to)
{
    const ptrdiff_t of_group = l->outputs / l->groups, blocks = rounded_up(of_group, 16) / 16;
    const ptrdiff_t block = l->block_bytes, size = l->floats ? (ptrdiff_t)sizeof(float) : 1;
    int16_t *wide = (int16_t *)(void *)work;
    const ptrdiff_t widened = bytes_widened(l);
    int8_t *unpacked = (int8_t *)(work + widened);
    stored next = {l->weights, l->strips};
    window w;
    work += widened + (l->bits < 8 || l->strips != NULL ? l->blocks_at_once * block : 0);
    for (ptrdiff_t group = 0; group < l->groups; group++)
        for (ptrdiff_t first = 0; first < blocks; first += l->blocks_at_once) {
            strip s;
            s.l = l;
            s.rows = w.rows;
            s.offset = group * (l->channels / l->groups);
            s.blocks = blocks - first < l->blocks_at_once ? blocks - first : l->blocks_at_once;
            s.first = (group * blocks + first) * 16;
            s.count = of_group - first * 16;
            s.place = group * of_group + first * 16;
            s.weights = open_weights(l, &next, unpacked, s.blocks * block);
            open_window(&w, l, map, work, from);
            for (ptrdiff_t y = from; y < to; y++) {
                uint8_t *row = (uint8_t *)result + y % l->result_rows * l->out_width * l->outputs * size;
                move_window(&w, y);
                s.bytes = row;
                s.floats = (float *)(void *)row;
#if defined(FAST)
                if (!FAST(strip)(&s, wide))
#endif
                    strip_plain(&s, wide);
            }
        }
}
