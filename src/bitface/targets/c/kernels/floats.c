/*: pixels : base */
/* The image of a crop: (pixel - mean) / std. Channels: 3 of red, green, blue, -3 the other way round, 1 of grey. */
static void pixels(const uint8_t *crop, float *image, ptrdiff_t count, int32_t channels, const float *mean,
                   const float *std)
{
    for (ptrdiff_t i = 0; i < count; i++, crop += 3) {
        if (channels == 1) {
            const uint32_t grey = 19595u * crop[0] + 38470u * crop[1] + 7471u * crop[2] + 0x8000u;
            *image++ = ((float)(grey >> 16) - mean[0]) / std[0];
            continue;
        }
        for (int32_t c = 0; c < 3; c++)
            *image++ = ((float)crop[channels < 0 ? 2 - c : c] - mean[c]) / std[c];
    }
}
/*: interleave : base */
/* `count` pixels of planes that lie `plane` numbers apart. */
static void interleave(const float *planes, float *map, ptrdiff_t count, ptrdiff_t channels, ptrdiff_t plane)
{
    for (ptrdiff_t i = 0; i < count; i++)
        for (ptrdiff_t c = 0; c < channels; c++)
            *map++ = planes[c * plane + i];
}
/*: planes : base */
static void planes(const float *map, float *result, ptrdiff_t count, ptrdiff_t channels)
{
    for (ptrdiff_t c = 0; c < channels; c++)
        for (ptrdiff_t i = 0; i < count; i++)
            *result++ = map[i * channels + c];
}
/*: affine : base */
INLINE void affine_loop(const float *x, float *y, ptrdiff_t pixels, ptrdiff_t channels, const float *factors,
                        const float *shifts)
{
    for (ptrdiff_t p = 0; p < pixels; p++, x += channels, y += channels)
        for (ptrdiff_t c = 0; c < channels; c++)
            y[c] = x[c] * factors[c] + shifts[c];
}
EVERYWHERE(affine,
           (const float *x, float *y, ptrdiff_t pixels, ptrdiff_t channels, const float *factors, const float *shifts),
           (x, y, pixels, channels, factors, shifts))
/*: prelu : base */
INLINE void prelu_loop(const float *x, float *y, ptrdiff_t pixels, ptrdiff_t channels, const float *slopes)
{
    for (ptrdiff_t p = 0; p < pixels; p++, x += channels, y += channels)
        for (ptrdiff_t c = 0; c < channels; c++)
            y[c] = x[c] < 0.0f ? x[c] * slopes[c] : x[c];
}
EVERYWHERE(prelu, (const float *x, float *y, ptrdiff_t pixels, ptrdiff_t channels, const float *slopes),
           (x, y, pixels, channels, slopes))
/*: clip : base */
INLINE void clip_loop(const float *x, float *y, ptrdiff_t count, float low, float high)
{
    for (ptrdiff_t i = 0; i < count; i++)
        y[i] = limited(x[i], low, high);
}
EVERYWHERE(clip, (const float *x, float *y, ptrdiff_t count, float low, float high), (x, y, count, low, high))
/*: binary : base */
/* How operators on two tensors read them: of a number that all pixels, or all channels, share the step is 0. */
typedef struct {
    ptrdiff_t pixels, channels, a_pixel, a_channel, b_pixel, b_channel;
} pairing;
#define BINARY(name, expression)                                                                                       \
    static void name(const float *first, const float *second, float *y, pairing of)                                    \
    {                                                                                                                  \
        for (ptrdiff_t p = 0; p < of.pixels; p++)                                                                      \
            for (ptrdiff_t c = 0; c < of.channels; c++) {                                                              \
                const float a = first[p * of.a_pixel + c * of.a_channel];                                              \
                const float b = second[p * of.b_pixel + c * of.b_channel];                                             \
                y[p * of.channels + c] = expression;                                                                   \
            }                                                                                                          \
    }
/*: add : binary */
BINARY(add, a + b)
/*: subtract : binary */
BINARY(subtract, a - b)
/*: multiply : binary */
BINARY(multiply, a *b)
/*: divide : binary */
BINARY(divide, a / b)
/*: maximum : binary */
BINARY(maximum, a > b ? a : b)
/*: minimum : binary */
BINARY(minimum, a < b ? a : b)
/*: unary : base */
#define UNARY(name, expression)                                                                                        \
    static void name(const float *from, float *y, ptrdiff_t count)                                                     \
    {                                                                                                                  \
        for (ptrdiff_t i = 0; i < count; i++) {                                                                        \
            const float x = from[i];                                                                                   \
            y[i] = expression;                                                                                         \
        }                                                                                                              \
    }
/*: exponential : base */
/* e^x to 1.1 units of the last digit, of -87 to 88; libraries differ in theirs. A power of 2, times a polynomial. */
INLINE float exponential(float x)
{
    const float within = limited(x, -87.0f, 88.0f), power = nearest(within * 1.44269502f);
    const float r = (within - power * 0.693359375f) - power * -0x1.bd0106p-13f;
    const uint32_t bits = (uint32_t)((int32_t)power + 127) << 23;
    float p = 0.001395170227624476f, scale;
    memcpy(&scale, &bits, sizeof scale);
    p = p * r + 0.008369592018425465f;
    p = p * r + 0.0416661873459816f;
    p = p * r + 0.16666513681411743f;
    p = p * r + 0.5f;
    return (((p * r) * r + r) + 1.0f) * scale;
}
/*: sigmoid : unary exponential */
UNARY(sigmoid, 1.0f / (1.0f + exponential(-x)))
/*: hyperbolic_tangent : unary exponential */
/* To 1.3 units of the last digit. */
INLINE float hyperbolic_tangent_of(float x)
{
    const float size = x < 0.0f ? -x : x, z = x * x;
    if (size < 0.625f) {
        float p = -0.005717036779969931f;
        p = p * z + 0.020650578662753105f;
        p = p * z + -0.05374349653720856f;
        p = p * z + 0.13331490755081177f;
        p = p * z + -0.3333328366279602f;
        return (p * z) * x + x;
    }
    const float large = 1.0f - 2.0f / (exponential(limited(size, 0.0f, 10.0f) * 2.0f) + 1.0f);
    return x < 0.0f ? -large : large;
}
UNARY(hyperbolic_tangent, hyperbolic_tangent_of(x))
/*: hard_swish : unary */
UNARY(hard_swish, x *limited(x + 3.0f, 0.0f, 6.0f) / 6.0f)
/*: swish : unary exponential */
UNARY(swish, x / (1.0f + exponential(-x)))
/*: hard_sigmoid : base */
static void hard_sigmoid(const float *x, float *y, ptrdiff_t count, float factor, float shift)
{
    for (ptrdiff_t i = 0; i < count; i++)
        y[i] = limited(x[i] * factor + shift, 0.0f, 1.0f);
}
/*: conv_floats : base */
/* A convolution in float; weights [output][row][column][input]. Products are added in this order, the bias last. */
typedef struct {
    int32_t height, width, channels, out_height, out_width, outputs;
    int32_t kernel_height, kernel_width, stride_height, stride_width, pad_height, pad_width;
    int32_t dilation_height, dilation_width, groups;
    const float *weights, *bias;
} float_layer;

static void conv_floats(const float_layer *l, const float *x, float *y)
{
    const ptrdiff_t inputs = l->channels / l->groups, of_group = l->outputs / l->groups;
    for (ptrdiff_t i = 0; i < l->out_height; i++)
        for (ptrdiff_t j = 0; j < l->out_width; j++)
            for (ptrdiff_t o = 0; o < l->outputs; o++) {
                const float *w = l->weights + o * l->kernel_height * l->kernel_width * inputs;
                float sum = 0.0f;
                for (ptrdiff_t k = 0; k < l->kernel_height; k++)
                    for (ptrdiff_t m = 0; m < l->kernel_width; m++, w += inputs) {
                        const ptrdiff_t row = i * l->stride_height - l->pad_height + k * l->dilation_height;
                        const ptrdiff_t column = j * l->stride_width - l->pad_width + m * l->dilation_width;
                        if (row < 0 || row >= l->height || column < 0 || column >= l->width)
                            continue;
                        const float *from = x + (row * l->width + column) * l->channels + o / of_group * inputs;
                        for (ptrdiff_t c = 0; c < inputs; c++)
                            sum += from[c] * w[c];
                    }
                *y++ = sum + l->bias[o];
            }
}
/*: max_pool : largest_in_window */
LARGEST_IN_WINDOW(max_pool, float, -FLT_MAX)
/*: average_pool : pooling */
/* Windows lie inside the map; their numbers are added row by row. */
static void average_pool(const pooling *of, const float *x, float *y)
{
    const float count = (float)(of->kernel_height * of->kernel_width);
    for (ptrdiff_t i = 0; i < of->out_height; i++)
        for (ptrdiff_t j = 0; j < of->out_width; j++, y += of->channels) {
            for (ptrdiff_t c = 0; c < of->channels; c++)
                y[c] = 0.0f;
            for (ptrdiff_t k = 0; k < of->kernel_height; k++)
                for (ptrdiff_t l = 0; l < of->kernel_width; l++) {
                    const float *from =
                        x + ((i * of->stride_height + k) * of->width + j * of->stride_width + l) * of->channels;
                    for (ptrdiff_t c = 0; c < of->channels; c++)
                        y[c] += from[c];
                }
            for (ptrdiff_t c = 0; c < of->channels; c++)
                y[c] /= count;
        }
}
/*: place_channels : base */
/* Puts a tensor's channels among those of a wider one. */
static void place_channels(const float *x, float *y, ptrdiff_t pixels, ptrdiff_t channels, ptrdiff_t all)
{
    for (ptrdiff_t p = 0; p < pixels; p++)
        memcpy(y + p * all, x + p * channels, (size_t)channels * sizeof(float));
}
/*: normalize : base */
static void normalize(const float *x, float *y, ptrdiff_t count)
{
    float sum = 0.0f;
    for (ptrdiff_t i = 0; i < count; i++)
        sum += x[i] * x[i];
    sum = sqrtf(sum);
    for (ptrdiff_t i = 0; i < count; i++)
        y[i] = x[i] / (sum > 1e-12f ? sum : 1e-12f);
}
/*: copy : base */
static void copy(const float *x, float *y, ptrdiff_t count) { memcpy(y, x, (size_t)count * sizeof(float)); }
