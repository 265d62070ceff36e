/*: conv_plain : layer unpack */
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

#define MOST_WIDENED 32768

/* Blocks whose weights lie as 16 bits at once. */
INLINE ptrdiff_t blocks_widened(const layer *l)
{
    const ptrdiff_t most = MOST_WIDENED / l->block_bytes;
    return most < 1 ? 1 : most > 4 ? 4 : most;
}

/* The bytes of their weights and of what 6 pixels read as 16 bits, which may be written in steps of 16. */
INLINE ptrdiff_t bytes_widened(const layer *l)
{
    return rounded_up(2 * (blocks_widened(l) * l->block_bytes + 6 * l->block_bytes / 16 + 16), 64);
}

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
