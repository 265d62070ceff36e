/*: conv_x86 : conv_plain conv_vnni conv_avxvnni conv_narrow conv_avx2 */
#if defined(X86)
/* Whether there was something faster than plain C. */
static int strip_x86(const strip *s, int16_t *wide)
{
    const int level = kernels();
    if (level == 3)
        strip_vnni(s);
#if defined(AVX_VNNI)
    else if (level == 2)
        strip_avxvnni(s);
#endif
    else if (level > 0 && s->l->bits < 7 && s->l->out_width >= 3)
        strip_narrow_avx2(s);
    else if (level > 0)
        strip_avx2(s, wide);
    return level > 0;
}
#endif
/*: finish_avx2 : conv_plain */
#if defined(X86)
/* Where a tile of pixels begins: the last one of a row may compute some of the one before it again. */
INLINE ptrdiff_t within_row(ptrdiff_t x, ptrdiff_t pixels, ptrdiff_t width)
{
    return x + pixels <= width ? x : width - pixels;
}

/* The outputs of sums of 16 outputs a pixel. */
AVX2 ONE_COPY static void finish_sums_avx2(const strip *s, const int32_t *sums, ptrdiff_t x, ptrdiff_t pixels,
                                           ptrdiff_t b)
{
    const layer copy = *s->l, *l = &copy; /* read once: no byte that is written is part of it */
    const ptrdiff_t index = s->first + b * 16, left = s->count - b * 16;
    const ptrdiff_t place = x * l->outputs + s->place + b * 16;
    if (l->floats || left < 16) {
        for (ptrdiff_t p = 0; p < pixels; p++)
            for (ptrdiff_t o = 0; o < 16 && o < left; o++)
                finish(l, sums[p * 16 + o], index + o, place + p * l->outputs + o, s->bytes, s->floats);
        return;
    }
    __m256 scale[2], slope[2];
    multipliers_avx2(l, index, scale, slope);
    for (ptrdiff_t p = 0; p < pixels; p++) {
        const __m256i *const from = (const __m256i *)(const void *)(sums + p * 16);
        const __m256i both[2] = {_mm256_loadu_si256(from), _mm256_loadu_si256(from + 1)};
        _mm_storeu_si128((__m128i *)(void *)(s->bytes + place + p * l->outputs),
                         levels_avx2(l, both, scale, slope));
    }
}

AVX2 INLINE void finish_tile_avx2(const strip *s, const __m256i (*sums)[2], ptrdiff_t x, const int pixels, ptrdiff_t b)
{
    int32_t numbers[6 * 16];
    for (int p = 0; p < pixels; p++)
        for (int n = 0; n < 2; n++)
            _mm256_storeu_si256((__m256i *)(void *)(numbers + p * 16 + n * 8), sums[p][n]);
    finish_sums_avx2(s, numbers, x, pixels, b);
}
#endif
