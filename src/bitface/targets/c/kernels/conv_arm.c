/*: conv_arm : conv_plain conv_neon conv_dot conv_i8mm */
#if defined(ARM)
/* Whether there was something faster than plain C. */
static int strip_arm(const strip *s, int16_t *wide)
{
    const int level = kernels();
#if defined(I8MM)
    if (level == 3)
        strip_i8mm(s, wide);
#endif
#if defined(DOT)
    if (level == 2)
        strip_dot(s, wide);
#endif
    if (level == 1)
        strip_neon(s, wide);
    return level > 0;
}
#endif
/*: conv_tile_arm : conv_plain arm */
#if defined(ARM)
/* What follows the sums of some pixels by 16 outputs. */
INLINE void finish_tile_arm(const strip *s, int32x4_t sums[][4], ptrdiff_t x, const int pixels, ptrdiff_t b)
{
    const ptrdiff_t place = x * s->l->outputs + s->place + b * 16;
    finish_pixels_arm(s->l, sums, pixels, s->first + b * 16, s->count - b * 16, place, s->bytes, s->floats);
}
#endif
/*: conv_neon : conv_tile_arm */
#if defined(ARM)
#if defined(__aarch64__)
#define HIGH_PRODUCTS(sums, weights, inputs, lane) vmlal_high_lane_s16(sums, weights, inputs, lane)
#else
#define HIGH_PRODUCTS(sums, weights, inputs, lane) vmlal_lane_s16(sums, vget_high_s16(weights), inputs, lane)
#endif
/* The products of 4 inputs of each pixel; weights [input][16 outputs]. */
INLINE void four_inputs_neon(int32x4_t sums[PIXELS_ARM][4], const int16x4_t inputs[PIXELS_ARM], const int16_t *w,
                             const int pixels)
{
#define PRODUCTS(lane)                                                                                                 \
    UNROLLED                                                                                                           \
    for (int n = 0; n < 2; n++) {                                                                                      \
        const int16x8_t weights = vld1q_s16(w + 16 * (lane) + 8 * n);                                                  \
        UNROLLED                                                                                                       \
        for (int p = 0; p < pixels; p++) {                                                                             \
            sums[p][2 * n] = vmlal_lane_s16(sums[p][2 * n], vget_low_s16(weights), inputs[p], lane);                   \
            sums[p][2 * n + 1] = HIGH_PRODUCTS(sums[p][2 * n + 1], weights, inputs[p], lane);                          \
        }                                                                                                              \
    }
    PRODUCTS(0)
    PRODUCTS(1)
    PRODUCTS(2)
    PRODUCTS(3)
#undef PRODUCTS
}

INLINE void tile_neon(const strip *s, const int16_t *w, ptrdiff_t x, const int pixels, ptrdiff_t b)
{
    const layer *l = s->l;
    const ptrdiff_t parts = l->segments, bytes = l->segment_bytes;
    const ptrdiff_t step = (ptrdiff_t)l->dilation_width * l->channels;
    const ptrdiff_t pixel = (ptrdiff_t)l->stride_width * l->channels;
    int32x4_t sums[PIXELS_ARM][4];
    UNROLLED
    for (int p = 0; p < pixels; p++)
        for (int n = 0; n < 4; n++)
            sums[p][n] = vld1q_s32(l->bias + s->first + b * 16 + 4 * n);
    for (ptrdiff_t i = 0; i < l->kernel_height; i++)
        for (ptrdiff_t j = 0; j < parts; j++) {
            const uint8_t *from = s->rows[i] + x * pixel + j * step + s->offset;
            for (ptrdiff_t k = 0; k < bytes; k += 8) {
                int16x4_t inputs[2][PIXELS_ARM];
                UNROLLED
                for (int p = 0; p < pixels; p++) {
                    const int16x8_t eight = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(from + p * pixel + k)));
                    inputs[0][p] = vget_low_s16(eight);
                    inputs[1][p] = vget_high_s16(eight);
                }
                four_inputs_neon(sums, inputs[0], w, pixels);
                w += 64;
                if (k + 4 == bytes)
                    break;
                four_inputs_neon(sums, inputs[1], w, pixels);
                w += 64;
            }
        }
    finish_tile_arm(s, sums, x, pixels, b);
}

/* `wide`: the weights of a block as 16 bits, [input][16 outputs]. */
ONE_COPY static void strip_neon(const strip *s, int16_t *wide)
{
    const ptrdiff_t block = s->l->block_bytes;
    for (ptrdiff_t b = 0; b < s->blocks; b++) {
        ptrdiff_t x = 0;
        for (ptrdiff_t k = 0; k < block; k += 64) {
            const int8x16x4_t four = vld4q_s8(s->weights + b * block + k);
            UNROLLED
            for (int n = 0; n < 4; n++) {
                vst1q_s16(wide + k + 16 * n, vmovl_s8(vget_low_s8(four.val[n])));
                vst1q_s16(wide + k + 16 * n + 8, vmovl_s8(vget_high_s8(four.val[n])));
            }
        }
        for (; x + PIXELS_ARM <= s->l->out_width; x += PIXELS_ARM)
            tile_neon(s, wide, x, PIXELS_ARM, b);
        for (; x < s->l->out_width; x++)
            tile_neon(s, wide, x, 1, b);
    }
}
#endif
/*: conv_dot : conv_tile_arm */
#if defined(ARM) && defined(DOT)
/* Bytes less 128, as signed ones: what dot products read. */
DOT INLINE int8x16_t signed_dot(uint8x16_t bytes) { return vreinterpretq_s8_u8(veorq_u8(bytes, vdupq_n_u8(128))); }

/* `bias` makes up for the 128. */
DOT INLINE void tile_dot(const strip *s, const int32_t *bias, ptrdiff_t x, const int pixels, ptrdiff_t b)
{
    const layer *l = s->l;
    const ptrdiff_t parts = l->segments, bytes = l->segment_bytes;
    const ptrdiff_t step = (ptrdiff_t)l->dilation_width * l->channels;
    const ptrdiff_t pixel = (ptrdiff_t)l->stride_width * l->channels;
    const int8_t *w = s->weights + b * l->block_bytes;
    int32x4_t sums[PIXELS_ARM][4];
    UNROLLED
    for (int p = 0; p < pixels; p++)
        for (int n = 0; n < 4; n++)
            sums[p][n] = vld1q_s32(bias + 4 * n);
    for (ptrdiff_t i = 0; i < l->kernel_height; i++)
        for (ptrdiff_t j = 0; j < parts; j++) {
            const uint8_t *from = s->rows[i] + x * pixel + j * step + s->offset;
            ptrdiff_t k = 0;
            for (; k + 16 <= bytes; k += 16, w += 256) {
                int8x16_t inputs[PIXELS_ARM];
                UNROLLED
                for (int p = 0; p < pixels; p++)
                    inputs[p] = signed_dot(vld1q_u8(from + p * pixel + k));
#define PRODUCTS(lane)                                                                                                 \
    UNROLLED                                                                                                           \
    for (int n = 0; n < 4; n++) {                                                                                      \
        const int8x16_t weights = vld1q_s8(w + 64 * (lane) + 16 * n);                                                  \
        UNROLLED                                                                                                       \
        for (int p = 0; p < pixels; p++)                                                                               \
            sums[p][n] = vdotq_laneq_s32(sums[p][n], weights, inputs[p], lane);                                        \
    }
                PRODUCTS(0)
                PRODUCTS(1)
                PRODUCTS(2)
                PRODUCTS(3)
#undef PRODUCTS
            }
            for (; k < bytes; k += 4, w += 64) {
                UNROLLED
                for (int p = 0; p < pixels; p++) {
                    uint32_t four;
                    memcpy(&four, from + p * pixel + k, 4);
                    const int8x16_t inputs = signed_dot(vreinterpretq_u8_u32(vdupq_n_u32(four)));
                    UNROLLED
                    for (int n = 0; n < 4; n++)
                        sums[p][n] = vdotq_s32(sums[p][n], vld1q_s8(w + 16 * n), inputs);
                }
            }
        }
    finish_tile_arm(s, sums, x, pixels, b);
}

/* `wide`: the biases of a block. */
DOT static void strip_dot(const strip *s, int16_t *wide)
{
    const ptrdiff_t block = s->l->block_bytes;
    int32_t *bias = (int32_t *)(void *)wide;
    for (ptrdiff_t b = 0; b < s->blocks; b++) {
        const int8_t *const w = s->weights + b * block;
        int32x4_t shifts[4]; /* -128 times the sums of the weights */
        ptrdiff_t x = 0;
        for (int n = 0; n < 4; n++)
            shifts[n] = vdupq_n_s32(0);
        for (ptrdiff_t k = 0; k < block; k += 64) {
            UNROLLED
            for (int n = 0; n < 4; n++)
                shifts[n] = vdotq_s32(shifts[n], vld1q_s8(w + k + 16 * n), vdupq_n_s8(-128));
        }
        for (int n = 0; n < 4; n++)
            vst1q_s32(bias + 4 * n, vsubq_s32(vld1q_s32(s->l->bias + s->first + b * 16 + 4 * n), shifts[n]));
        for (; x + PIXELS_ARM <= s->l->out_width; x += PIXELS_ARM)
            tile_dot(s, bias, x, PIXELS_ARM, b);
        for (; x < s->l->out_width; x++)
            tile_dot(s, bias, x, 1, b);
    }
}
#endif
/*: conv_i8mm : conv_tile_arm */
#if defined(ARM) && defined(I8MM)
/* 2 pixels by 8 inputs times 8 inputs by 2 outputs; weights [8 inputs][16 outputs][8], in segments of whole eights. */
I8MM INLINE void tile_i8mm(const strip *s, const int8_t *w, ptrdiff_t x, const int pixels, ptrdiff_t b)
{
    const layer *l = s->l;
    const ptrdiff_t parts = l->segments, bytes = l->segment_bytes;
    const ptrdiff_t step = (ptrdiff_t)l->dilation_width * l->channels;
    const ptrdiff_t pixel = (ptrdiff_t)l->stride_width * l->channels;
    const int pairs = (pixels + 1) / 2;
    int32x4_t products[PIXELS_ARM / 2][8], sums[PIXELS_ARM][4];
    UNROLLED
    for (int n = 0; n < 8; n++) {
        const int32x2_t bias = vld1_s32(l->bias + s->first + b * 16 + 2 * n);
        for (int p = 0; p < pairs; p++)
            products[p][n] = vcombine_s32(bias, bias);
    }
    for (ptrdiff_t i = 0; i < l->kernel_height; i++)
        for (ptrdiff_t j = 0; j < parts; j++) {
            const uint8_t *from = s->rows[i] + x * pixel + j * step + s->offset;
            for (ptrdiff_t k = 0; k < bytes; k += 8, w += 128) {
                uint8x16_t inputs[PIXELS_ARM / 2];
                UNROLLED
                for (int p = 0; p < pairs; p++)
                    inputs[p] = vcombine_u8(vld1_u8(from + 2 * p * pixel + k),
                                            vld1_u8(from + (2 * p + (pixels > 1)) * pixel + k));
                UNROLLED
                for (int n = 0; n < 8; n++) {
                    const int8x16_t weights = vld1q_s8(w + 16 * n);
                    UNROLLED
                    for (int p = 0; p < pairs; p++)
                        products[p][n] = vusmmlaq_s32(products[p][n], inputs[p], weights);
                }
            }
        }
    UNROLLED
    for (int p = 0; p < pixels; p++) {
        UNROLLED
        for (int n = 0; n < 4; n++) {
            const int64x2_t first = vreinterpretq_s64_s32(products[p / 2][2 * n]);
            const int64x2_t second = vreinterpretq_s64_s32(products[p / 2][2 * n + 1]);
            sums[p][n] = vreinterpretq_s32_s64(p % 2 == 0 ? vzip1q_s64(first, second) : vzip2q_s64(first, second));
        }
    }
    finish_tile_arm(s, sums, x, pixels, b);
}

/* `wide`: the weights of a block by eights; half of an eight may be missing, and is 0. */
I8MM static void strip_i8mm(const strip *s, int16_t *wide)
{
    const layer *l = s->l;
    const ptrdiff_t segments = (ptrdiff_t)l->kernel_height * l->segments;
    const int8_t *from = s->weights;
    for (ptrdiff_t b = 0; b < s->blocks; b++) {
        int8_t *to = (int8_t *)wide;
        ptrdiff_t x = 0;
        for (ptrdiff_t i = 0; i < segments; i++)
            for (ptrdiff_t k = 0; k < l->segment_bytes; k += 8, to += 128) {
                const int whole = k + 4 < l->segment_bytes;
                UNROLLED
                for (int n = 0; n < 4; n++) {
                    const int32x4_t first = vreinterpretq_s32_s8(vld1q_s8(from + 16 * n));
                    const int32x4_t second =
                        whole ? vreinterpretq_s32_s8(vld1q_s8(from + 64 + 16 * n)) : vdupq_n_s32(0);
                    vst1q_s8(to + 32 * n, vreinterpretq_s8_s32(vzip1q_s32(first, second)));
                    vst1q_s8(to + 32 * n + 16, vreinterpretq_s8_s32(vzip2q_s32(first, second)));
                }
                from += whole ? 128 : 64;
            }
        for (; x + 4 <= l->out_width; x += 4)
            tile_i8mm(s, (const int8_t *)wide, x, 4, b);
        for (; x + 2 <= l->out_width; x += 2)
            tile_i8mm(s, (const int8_t *)wide, x, 2, b);
        for (; x < l->out_width; x++)
            tile_i8mm(s, (const int8_t *)wide, x, 1, b);
    }
}
#endif
