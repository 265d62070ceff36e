// The backward pass of depthwise convolutions, channels last: the gradients of input, weights and bias in one pass.
//
// Each image has sums of its own, added in the order of the images, so that results don't depend on the number of
// threads.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "bf16.h"

namespace {

// Handled together: two registers of 512 bits.
constexpr int64_t kChannels = 32;

struct Shape {
    int64_t images, height, width, channels;  // of the input
    int64_t rows, columns;                    // of the output
    int64_t kernel_height, kernel_width, stride_y, stride_x, pad_y, pad_x, step_y, step_x;
};

// The place in the output to which a tap of the kernel carries a place of the input; -1: none.
inline int64_t place(int64_t at, int64_t tap, int64_t step, int64_t pad, int64_t stride, int64_t size) {
    const int64_t shifted = at + pad - tap * step;
    return shifted < 0 || shifted % stride || shifted / stride >= size ? -1 : shifted / stride;
}

// A tap that reaches a pixel: the gradient there, the tap's weights, and the sums of their gradient.
template <typename T>
struct Tap {
    const T* g;
    const float* weight;
    float* by_weight;
};

// Channels `from` to `from + count` of one pixel. With a `count` known to the compiler its sums stay in registers.
template <typename T>
inline void pixel_backward(const Tap<T>* taps, int64_t reached, const T* x, T* gx, int64_t from, int64_t count) {
    float sum[kChannels] = {}, value[kChannels];
#pragma omp simd
    for (int64_t c = 0; c < count; ++c) value[c] = load(x + from + c);
    for (int64_t t = 0; t < reached; ++t) {
        const T* g = taps[t].g + from;
        const float* w = taps[t].weight + from;
        float* by = taps[t].by_weight + from;
#pragma omp simd
        for (int64_t c = 0; c < count; ++c) {
            const float down = load(g + c);
            sum[c] += down * w[c];
            by[c] += down * value[c];
        }
    }
#pragma omp simd
    for (int64_t c = 0; c < count; ++c) store(gx + from + c, sum[c]);
}

// One image: `weight` and `by_weight` are [kernel_height, kernel_width, channels].
template <typename T>
void image_backward(const T* g, const T* x, T* gx, const Shape& s, const float* weight, float* by_weight) {
    std::vector<Tap<T>> taps(s.kernel_height * s.kernel_width);
    for (int64_t y = 0; y < s.height; ++y)
        for (int64_t column = 0; column < s.width; ++column) {
            int64_t reached = 0;
            for (int64_t j = 0; j < s.kernel_height; ++j) {
                const int64_t to_y = place(y, j, s.step_y, s.pad_y, s.stride_y, s.rows);
                if (to_y < 0) continue;
                for (int64_t i = 0; i < s.kernel_width; ++i) {
                    const int64_t to_x = place(column, i, s.step_x, s.pad_x, s.stride_x, s.columns);
                    const int64_t at = (j * s.kernel_width + i) * s.channels;
                    if (to_x >= 0)
                        taps[reached++] = {g + (to_y * s.columns + to_x) * s.channels, weight + at, by_weight + at};
                }
            }
            const int64_t pixel = (y * s.width + column) * s.channels;
            int64_t from = 0;
            for (; from + kChannels <= s.channels; from += kChannels)
                pixel_backward(taps.data(), reached, x + pixel, gx + pixel, from, kChannels);
            if (from < s.channels)
                pixel_backward(taps.data(), reached, x + pixel, gx + pixel, from, s.channels - from);
        }
}

template <typename T>
void backward(const T* g, const T* x, T* gx, const Shape& s, const float* weight, float* by_weight, float* by_bias) {
    const int64_t taps = s.kernel_height * s.kernel_width * s.channels, outputs = s.rows * s.columns;
    std::vector<float> sums(s.images * (taps + s.channels));
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < s.images; ++n) {
        float *own = sums.data() + n * (taps + s.channels), *bias = own + taps;
        const int64_t input = n * s.height * s.width * s.channels;
        const T* output = g + n * outputs * s.channels;
        image_backward(output, x + input, gx + input, s, weight, own);
        for (int64_t at = 0; at < outputs * s.channels; at += s.channels) {
#pragma omp simd
            for (int64_t c = 0; c < s.channels; ++c) bias[c] += load(output + at + c);
        }
    }
    std::vector<double> total(taps + s.channels);
    for (int64_t n = 0; n < s.images; ++n)
        for (int64_t k = 0; k < taps + s.channels; ++k) total[k] += sums[n * (taps + s.channels) + k];
    std::copy(total.begin(), total.begin() + taps, by_weight);
    std::copy(total.begin() + taps, total.end(), by_bias);
}

}  // namespace

extern "C" {

// `shape`: the fourteen numbers of Shape; `half`: bfloat16 instead of float for g, x and gx.
void depthwise_backward(const void* g, const void* x, void* gx, const int64_t* shape, const float* weight,
                        float* by_weight, float* by_bias, int half) {
    const Shape s{shape[0], shape[1], shape[2],  shape[3],  shape[4],  shape[5],  shape[6],
                  shape[7], shape[8], shape[9], shape[10], shape[11], shape[12], shape[13]};
    if (half)
        backward(static_cast<const bf16*>(g), static_cast<const bf16*>(x), static_cast<bf16*>(gx), s, weight, by_weight,
                 by_bias);
    else
        backward(static_cast<const float*>(g), static_cast<const float*>(x), static_cast<float*>(gx), s, weight,
                 by_weight, by_bias);
}

}  // extern "C"
