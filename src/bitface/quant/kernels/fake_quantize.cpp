// Fake quantization, forward and backward, each in one pass over memory: of weights with a scale for each row, and of
// activations together with the ReLU, clip or PReLU before them.
//
// Work is cut into blocks of a fixed size and sums of blocks are added in their order, so that results don't depend on
// the number of threads.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "bf16.h"

namespace {

constexpr int64_t kBlock = 1 << 14;

// What is fixed for a tensor, or for one row of weights.
struct Grid {
    float scale, zero, low, high;
    float integer(float v) const { return std::nearbyint(v) + zero; }
    float level(float x) const {
        return (std::min(std::max(integer(x / scale), low), high) - zero) * scale;
    }
};

// The gradients of x, and of scale and zero point added to their sums.
//
// `inner`: how much of the gradient of the scale inside the range counts (1: LSQ; 0: PACT). `sharpness`: 0 passes the
// gradient of x on; above, that of tanh bins (DSQ).
struct Backward {
    Grid grid;
    float inner, sharpness, peak;
    Backward(Grid grid, float inner, float sharpness)
        : grid(grid), inner(inner), sharpness(sharpness),
          peak(sharpness > 0 ? sharpness / (2 * std::tanh(sharpness / 2)) : 1) {}
    template <bool soft>
    float operator()(float g, float x, float& by_scale, float& by_zero) const {
        const float v = x / grid.scale, q = grid.integer(v), clamped = std::min(std::max(q, grid.low), grid.high);
        const bool inside = q == clamped;
        // Both named, as a choice between two expressions is a branch to gcc, and the loop no vector.
        const float within = inner * (q - grid.zero - v), beyond = clamped - grid.zero;
        by_scale += g * (inside ? within : beyond);
        by_zero += inside ? 0.0f : g;
        if (!soft) return inside ? g : 0.0f;
        const float t = tanh_of(sharpness * (v - std::floor(v) - 0.5f));
        return inside ? g * peak * (1 - t * t) : 0.0f;
    }
    // Five levels of the continued fraction, as std::tanh keeps a loop from being vectorized: exact to float32's last
    // digits up to 0.7, which is as far as DSQ's bins go, and to 2e-5 up to 2.
    static float tanh_of(float z) {
        const float s = z * z;
        return z * (945 + s * (105 + s)) / (945 + s * (420 + s * 15));
    }
};

struct Blocks {
    int64_t size, per_row, count;
    Blocks(int64_t rows, int64_t size) : size(size), per_row((size + kBlock - 1) / kBlock), count(rows * per_row) {}
    int64_t row(int64_t block) const { return block / per_row; }
    int64_t begin(int64_t block) const { return row(block) * size + (block % per_row) * kBlock; }
    int64_t end(int64_t block) const { return std::min(begin(block) + kBlock, (row(block) + 1) * size); }
};

template <bool soft>
void weights_backward(const float* g, const float* x, float* gx, const Blocks& blocks, const float* scale,
                      const float* zero, float low, float high, float inner, float sharpness, double* scales,
                      double* zeros) {
#pragma omp parallel for schedule(static) if (blocks.count > 1)
    for (int64_t block = 0; block < blocks.count; ++block) {
        const int64_t row = blocks.row(block), end = blocks.end(block);
        const Backward backward({scale[row], zero[row], low, high}, inner, sharpness);
        float by_scale = 0, by_zero = 0;
#pragma omp simd reduction(+ : by_scale, by_zero)
        for (int64_t i = blocks.begin(block); i < end; ++i)
            gx[i] = backward.operator()<soft>(g[i], x[i], by_scale, by_zero);
        scales[block] = by_scale;
        zeros[block] = -static_cast<double>(by_zero) * scale[row];
    }
}

// Numbers seen as pixels of `channels`, in blocks of whole pixels: as many channels as there are slopes, so that a
// single slope makes one long row of everything.
struct Pixels {
    int64_t count, channels, per_block, blocks;
    Pixels(int64_t numbers, int64_t channels)
        : count(numbers / channels), channels(channels), per_block(std::max<int64_t>(1, kBlock / channels)),
          blocks((count + per_block - 1) / per_block) {}
    int64_t begin(int64_t block) const { return block * per_block; }
    int64_t end(int64_t block) const { return std::min(begin(block) + per_block, count); }
};

// slope * x below 0 and at most `cap`: slope 0 is ReLU, slope 1 nothing.
struct Activation {
    float cap;
    float bent(float x, float slope) const { return x < 0 ? slope * x : x; }
    float operator()(float x, float slope) const { return std::min(bent(x, slope), cap); }
};

template <typename T>
void activations_forward(const T* x, T* y, const Pixels& pixels, const float* slope, Activation activation,
                         Grid grid) {
#pragma omp parallel for schedule(static) if (pixels.blocks > 1)
    for (int64_t block = 0; block < pixels.blocks; ++block) {
        const int64_t begin = pixels.begin(block), end = pixels.end(block);
        if (pixels.channels == 1) {
            const float a = slope[0];
#pragma omp simd
            for (int64_t i = begin; i < end; ++i) store(y + i, grid.level(activation(load(x + i), a)));
            continue;
        }
        for (int64_t at = begin * pixels.channels; at < end * pixels.channels; at += pixels.channels) {
#pragma omp simd
            for (int64_t c = 0; c < pixels.channels; ++c)
                store(y + at + c, grid.level(activation(load(x + at + c), slope[c])));
        }
    }
}

// The gradient of one number, and its part in those of scale, zero point and slope.
template <typename T, bool soft>
inline void number_backward(const T* g, const T* x, T* gx, float slope, Activation activation,
                            const Backward& backward, float& by_scale, float& by_zero, float& by_slope) {
    const float before = load(x), bent = activation.bent(before, slope);
    const float past = backward.operator()<soft>(load(g), std::min(bent, activation.cap), by_scale, by_zero);
    const float passed = bent > activation.cap ? 0.0f : past;
    by_slope += before < 0 ? passed * before : 0.0f;
    store(gx, before < 0 ? slope * passed : passed);
}

// Sums of a block: those of the scale for each slope, then those of the zero point, then those of the slopes.
template <typename T, bool soft>
void activations_backward(const T* g, const T* x, T* gx, const Pixels& pixels, const float* slope,
                          Activation activation, const Backward& backward, float* sums) {
    const int64_t channels = pixels.channels;
#pragma omp parallel for schedule(static) if (pixels.blocks > 1)
    for (int64_t block = 0; block < pixels.blocks; ++block) {
        const int64_t begin = pixels.begin(block), end = pixels.end(block);
        float *scales = sums + 3 * block * channels, *zeros = scales + channels, *slopes = zeros + channels;
        if (channels == 1) {
            const float a = slope[0];
            float by_scale = 0, by_zero = 0, by_slope = 0;
#pragma omp simd reduction(+ : by_scale, by_zero, by_slope)
            for (int64_t i = begin; i < end; ++i)
                number_backward<T, soft>(g + i, x + i, gx + i, a, activation, backward, by_scale, by_zero, by_slope);
            scales[0] = by_scale, zeros[0] = by_zero, slopes[0] = by_slope;
            continue;
        }
        for (int64_t at = begin * channels; at < end * channels; at += channels) {
#pragma omp simd
            for (int64_t c = 0; c < channels; ++c)
                number_backward<T, soft>(g + at + c, x + at + c, gx + at + c, slope[c], activation, backward,
                                         scales[c], zeros[c], slopes[c]);
        }
    }
}

template <typename T>
void activations_backward(const T* g, const T* x, T* gx, int64_t numbers, int64_t channels, const float* slope,
                          Activation activation, const Backward& backward, double* by_scale, double* by_zero,
                          double* by_slope) {
    const Pixels pixels(numbers, channels);
    std::vector<float> sums(3 * pixels.blocks * channels);
    (backward.sharpness > 0 ? activations_backward<T, true> : activations_backward<T, false>)(
        g, x, gx, pixels, slope, activation, backward, sums.data());
    *by_scale = *by_zero = 0;
    std::fill(by_slope, by_slope + channels, 0.0);
    const float* sum = sums.data();
    for (int64_t block = 0; block < pixels.blocks; ++block) {
        for (int64_t c = 0; c < channels; ++c) *by_scale += *sum++;
        for (int64_t c = 0; c < channels; ++c) *by_zero -= static_cast<double>(*sum++) * backward.grid.scale;
        for (int64_t c = 0; c < channels; ++c) by_slope[c] += *sum++;
    }
}

}  // namespace

extern "C" {

// `rows` of `columns` contiguous numbers, each row with its own scale and zero point.
void weights_forward(const float* x, float* y, int64_t rows, int64_t columns, const float* scale, const float* zero,
                     float low, float high) {
    const Blocks blocks(rows, columns);
#pragma omp parallel for schedule(static) if (blocks.count > 1)
    for (int64_t block = 0; block < blocks.count; ++block) {
        const Grid grid{scale[blocks.row(block)], zero[blocks.row(block)], low, high};
        const int64_t end = blocks.end(block);
#pragma omp simd
        for (int64_t i = blocks.begin(block); i < end; ++i) y[i] = grid.level(x[i]);
    }
}

void weights_backward(const float* g, const float* x, float* gx, int64_t rows, int64_t columns, const float* scale,
                      const float* zero, float low, float high, float inner, float sharpness, double* by_scale,
                      double* by_zero) {
    const Blocks blocks(rows, columns);
    std::vector<double> scales(blocks.count), zeros(blocks.count);
    (sharpness > 0 ? weights_backward<true> : weights_backward<false>)(
        g, x, gx, blocks, scale, zero, low, high, inner, sharpness, scales.data(), zeros.data());
    std::fill(by_scale, by_scale + rows, 0.0);
    std::fill(by_zero, by_zero + rows, 0.0);
    for (int64_t block = 0; block < blocks.count; ++block) {
        by_scale[blocks.row(block)] += scales[block];
        by_zero[blocks.row(block)] += zeros[block];
    }
}

// `numbers` in pixels of `channels`, each channel with its slope (one for all: channels is 1), one scale; `half`:
// bfloat16 instead of float.
void activations_forward(const void* x, void* y, int64_t numbers, int64_t channels, const float* slope, float cap,
                         float scale, float zero, float low, float high, int half) {
    const Pixels pixels(numbers, channels);
    const Grid grid{scale, zero, low, high};
    if (half)
        activations_forward(static_cast<const bf16*>(x), static_cast<bf16*>(y), pixels, slope, {cap}, grid);
    else
        activations_forward(static_cast<const float*>(x), static_cast<float*>(y), pixels, slope, {cap}, grid);
}

void activations_backward(const void* g, const void* x, void* gx, int64_t numbers, int64_t channels,
                          const float* slope, float cap, float scale, float zero, float low, float high, float inner,
                          float sharpness, int half, double* by_scale, double* by_zero, double* by_slope) {
    const Backward backward({scale, zero, low, high}, inner, sharpness);
    if (half)
        activations_backward(static_cast<const bf16*>(g), static_cast<const bf16*>(x), static_cast<bf16*>(gx), numbers,
                             channels, slope, {cap}, backward, by_scale, by_zero, by_slope);
    else
        activations_backward(static_cast<const float*>(g), static_cast<const float*>(x), static_cast<float*>(gx),
                             numbers, channels, slope, {cap}, backward, by_scale, by_zero, by_slope);
}

}  // extern "C"
