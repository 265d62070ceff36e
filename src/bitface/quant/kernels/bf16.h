// Numbers of 32 and 16 bits, read as float and written back.
#pragma once
#include <cstdint>
#include <cstring>

struct bf16 {
    uint16_t bits;
};

inline float load(const float* p) { return *p; }
inline float load(const bf16* p) {
    const uint32_t word = static_cast<uint32_t>(p->bits) << 16;
    float value;
    std::memcpy(&value, &word, sizeof value);
    return value;
}
inline void store(float* p, float value) { *p = value; }
inline void store(bf16* p, float value) {  // to nearest, halves to even; no NaN comes here
    uint32_t word;
    std::memcpy(&word, &value, sizeof word);
    p->bits = static_cast<uint16_t>((word + 0x7fff + ((word >> 16) & 1)) >> 16);
}
