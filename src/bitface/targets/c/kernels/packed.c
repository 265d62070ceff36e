/*: packed : layer */
/* A layer whose numbers for each output are a stream of bits: bias, scale and slope, one after the other. */
typedef struct {
    layer of;
    const uint8_t *numbers;
    int32_t count, slopes;
    int32_t bits[3], least[3]; /* of each kind: how many bits it has above the least of them */
} packed_layer;

/* Puts the layer with its numbers into `l`, and these into `work`; gives where the rest of `work` begins. */
static uint8_t *open_packed(const packed_layer *packed, layer *l, uint8_t *work)
{
    const uint8_t *from = packed->numbers;
    uint8_t *to = work;
    uint64_t word = 0;
    int32_t left = 0;
    for (int32_t kind = 0; kind < (packed->slopes ? 3 : 2); kind++)
        for (int32_t i = 0; i < packed->count; i++, to += 4) {
            const int32_t bits = packed->bits[kind];
            for (; left < bits; left += 8)
                word |= (uint64_t)*from++ << left;
            const uint32_t number = (uint32_t)(word & ((1ull << bits) - 1u)) + (uint32_t)packed->least[kind];
            memcpy(to, &number, 4);
            word >>= bits;
            left -= bits;
        }
    *l = packed->of;
    l->bias = (const int32_t *)(const void *)work;
    l->scale = (const float *)(const void *)(work + 4 * (ptrdiff_t)packed->count);
    if (packed->slopes)
        l->slope = l->scale + packed->count;
    return work + rounded_up(to - work, 64);
}
/*: conv_packed : conv packed */
static void conv_packed(const packed_layer *packed, const uint8_t *map, void *result, uint8_t *work, ptrdiff_t from,
                        ptrdiff_t to)
{
    layer l;
    work = open_packed(packed, &l, work);
    conv(&l, map, result, work, from, to);
}
/*: depthwise_packed : depthwise packed */
static void depthwise_packed(const packed_layer *packed, const uint8_t *map, void *result, uint8_t *work,
                             ptrdiff_t from, ptrdiff_t to)
{
    layer l;
    work = open_packed(packed, &l, work);
    depthwise(&l, map, result, work, from, to);
}
