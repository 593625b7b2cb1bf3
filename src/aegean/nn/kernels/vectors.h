// Vectors of float32 as wide as the processor's registers, in the compilers' own notation (GCC and Clang), and the
// numbers that feature maps are made of: bfloat16, or float32 where FLOAT32 is defined.
#pragma once

#include <cstdint>

#ifndef FLOAT32
#include "bfloat16.h"
#endif

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16, REGISTERS = 32;
#elif defined(__AVX2__)
constexpr int LANES = 8, REGISTERS = 16;
#elif defined(__aarch64__)
constexpr int LANES = 4, REGISTERS = 32;
#else
constexpr int LANES = 4, REGISTERS = 16;
#endif
constexpr int PAIR = 2 * LANES;  // numbers that are stored at once

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef int32_t integers __attribute__((vector_size(4 * LANES)));

inline floats load(const float* p) {
    floats x;
    __builtin_memcpy(&x, p, sizeof x);
    return x;
}

inline void store(float* p, floats x) { __builtin_memcpy(p, &x, sizeof x); }

inline floats all(float x) { return x - floats{}; }

inline floats relu(floats x) { return x < 0.0f ? floats{} : x; }  // what is not a number stays so

inline floats where_positive(floats x, floats y) { return x > 0.0f ? y : floats{}; }

#ifdef FLOAT32

typedef float number;

inline void store(float* p, floats low, floats high) {
    store(p, low);
    store(p + LANES, high);
}

// exp(x) - 1 for |x| < 87, to 3e-7 of its value. 2^n times exp of a rest within log(2) / 2, whose series ends at x^7.
inline floats expm1(floats x) {
    const floats shifted = x * 1.44269504f + 12582912.0f;  // 1.5 x 2^23: the lowest bits are n, rounded
    const floats n = shifted - 12582912.0f, rest = x - n * 0.693147181f;
    floats sum = rest * (1.0f / 5040) + 1.0f / 720;
    sum = sum * rest + 1.0f / 120;
    sum = sum * rest + 1.0f / 24;
    sum = sum * rest + 1.0f / 6;
    sum = sum * rest + 0.5f;
    sum = sum * (rest * rest) + rest;
    const integers exponent = ((integers)shifted << 23) + 0x3f800000;
    const floats power = (floats)exponent;
    return power * sum + (power - 1.0f);
}

// tanh(a) and sigmoid(b), by one division for both.
struct Gate {
    floats tanh, sigmoid;
    Gate(floats a, floats b) {
        a = a > 10.0f ? all(10.0f) : a < -10.0f ? all(-10.0f) : a;  // where float32 rounds tanh to 1
        b = b > 60.0f ? all(60.0f) : b < -60.0f ? all(-60.0f) : b;
        const floats e = expm1(a + a), f = expm1(-b) + 2.0f;
        const floats inverse = 1.0f / ((e + 2.0f) * f);
        tanh = e * f * inverse;
        sigmoid = (e + 2.0f) * inverse;
    }
};

#else

typedef bf16 number;

inline floats load(const bf16* p) { return load16(p); }

inline void store(bf16* p, floats low, floats high) { store32(p, low, high); }

// tanh(a) and sigmoid(b) = (1 + tanh(b / 2)) / 2, by one division for both. tanh is its continued fraction (Lambert, 1770)
// down to the seventh step, off by less than 1e-4, a twentieth of what rounding to bfloat16 costs.
struct Gate {
    __m512 tanh, sigmoid;
    Gate(__m512 a, __m512 b) {
        const __m512 half = _mm512_set1_ps(0.5f), bound = _mm512_set1_ps(4.97f), low = _mm512_set1_ps(-4.97f);
        a = _mm512_min_ps(_mm512_max_ps(a, low), bound);
        b = _mm512_min_ps(_mm512_max_ps(_mm512_mul_ps(half, b), low), bound);
        __m512 over_a, under_a, over_b, under_b;
        fraction(a, over_a, under_a);
        fraction(b, over_b, under_b);
        const __m512 inverse = _mm512_rcp14_ps(_mm512_mul_ps(under_a, under_b));
        tanh = _mm512_mul_ps(_mm512_mul_ps(over_a, under_b), inverse);
        sigmoid = _mm512_fmadd_ps(half, _mm512_mul_ps(_mm512_mul_ps(over_b, under_a), inverse), half);
    }
    static void fraction(__m512 x, __m512& over, __m512& under) {
        const __m512 x2 = _mm512_mul_ps(x, x), last = _mm512_set1_ps(135135.0f);
        over = _mm512_fmadd_ps(_mm512_add_ps(x2, _mm512_set1_ps(378.0f)), x2, _mm512_set1_ps(17325.0f));
        over = _mm512_mul_ps(_mm512_fmadd_ps(over, x2, last), x);
        under = _mm512_fmadd_ps(x2, _mm512_set1_ps(28.0f), _mm512_set1_ps(3150.0f));
        under = _mm512_fmadd_ps(_mm512_fmadd_ps(under, x2, _mm512_set1_ps(62370.0f)), x2, last);
    }
};

#endif

}  // namespace
