/*: packed : layer */
/* The next number of a stream: 7 bits a byte, the lowest first, with bit 7 set in all bytes but the last. */
static uint32_t next_number(const uint8_t **from)
{
    uint32_t number = 0;
    for (int32_t shift = 0;; shift += 7) {
        const uint8_t byte = *(*from)++;
        number |= (uint32_t)(byte & 127) << shift;
        if (byte < 128)
            return number;
    }
}

/*
 * A layer as a stream: its numbers as in the structure; how many numbers each output has, and how many outputs there
 * are; of bias, scale and slope how many bits they have above the least of them, and it; these, one kind after the
 * other; the bytes that say how weights are stored, after their number; the weights. Puts the layer into `l`, and what
 * outputs have into `work`; gives where the rest of `work` begins.
 */
static uint8_t *open_packed(const uint8_t *packed, layer *l, uint8_t *work)
{
    const uint8_t *from = packed;
    uint32_t numbers[offsetof(layer, weights) / 4], bits[3], least[3];
    uint8_t *to = work;
    uint64_t word = 0;
    uint32_t left = 0;
    for (size_t i = 0; i < sizeof numbers / 4; i++)
        numbers[i] = next_number(&from);
    memcpy(l, numbers, sizeof numbers);
    const uint32_t kinds = next_number(&from), count = next_number(&from);
    for (uint32_t kind = 0; kind < kinds; kind++) {
        bits[kind] = next_number(&from);
        least[kind] = next_number(&from);
    }
    for (uint32_t kind = 0; kind < kinds; kind++)
        for (uint32_t i = 0; i < count; i++, to += 4) {
            for (; left < bits[kind]; left += 8)
                word |= (uint64_t)*from++ << left;
            const uint32_t number = (uint32_t)(word & ((1ull << bits[kind]) - 1u)) + least[kind];
            memcpy(to, &number, 4);
            word >>= bits[kind];
            left -= bits[kind];
        }
    const uint32_t heads = next_number(&from);
    l->strips = heads > 0 ? from : NULL;
    from += heads;
    l->weights = l->bits < 8 ? from : packed + rounded_up(from - packed, 64); /* may be read as they are */
    l->bias = (const int32_t *)(const void *)work;
    l->scale = (const float *)(const void *)(work + 4 * (ptrdiff_t)count);
    l->slope = kinds == 3 ? l->scale + count : NULL;
    return work + rounded_up(to - work, 64);
}
/*: conv_packed : conv packed */
ONE_COPY static void conv_packed(const uint8_t *packed, const uint8_t *map, void *result, uint8_t *work,
                                 ptrdiff_t from, ptrdiff_t to)
{
    layer l;
    work = open_packed(packed, &l, work);
    conv(&l, map, result, work, from, to);
}
/*: depthwise_packed : depthwise packed */
ONE_COPY static void depthwise_packed(const uint8_t *packed, const uint8_t *map, void *result, uint8_t *work,
                                      ptrdiff_t from, ptrdiff_t to)
{
    layer l;
    work = open_packed(packed, &l, work);
    depthwise(&l, map, result, work, from, to);
}
