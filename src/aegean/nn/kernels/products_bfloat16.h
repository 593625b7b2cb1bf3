// Products in bfloat16, by AMX tiles where the processor has them, otherwise by AVX512-BF16. Pixels are taken as they stand,
// empty ones among them. The right factor is stored in pairs of rows (the "VNNI" layout of both).
#pragma once

#ifdef __AMX_BF16__
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

inline bf16 rounded(float x) {  // to nearest, ties to even
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fc0;
    return bf16((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// Where a packed block of 32 x 32 weights has that of input k and output n: [half of the outputs][pair of inputs][output x pair].
inline int position(int k, int n) { return n / 16 * 512 + k / 2 * 32 + 2 * (n % 16) + k % 2; }

inline void set_order(Grid& grid) {
    for (int p = 0; p < grid.pixels; p++)
        grid.order.push_back(p < grid.height * grid.stride && p % grid.stride < grid.width ? p : -1);
}

#ifdef __AMX_BF16__

struct alignas(64) TileConfig {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

inline void begin_tiles() {
    TileConfig config;
    _tile_loadconfig(&config);
}
inline void end_tiles() { _tile_release(); }

// out (32 pixels from `pixel` on) x (32 outputs) = sum of the terms.
inline void product(const Grid&, float* out, int ld, const Term* terms, int count, long pixel) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int t = 0; t < count; t++) {
        const bf16* a = terms[t].a + pixel * terms[t].stride;
        const long stride = 2 * terms[t].stride;
        _tile_loadd(6, terms[t].b, 64);
        _tile_loadd(4, a, stride);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, terms[t].b + 512, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, a + 16 * terms[t].stride, stride);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, out, 4 * ld);
    _tile_stored(1, out + 16, 4 * ld);
    _tile_stored(2, out + 16 * ld, 4 * ld);
    _tile_stored(3, out + 16 * ld + 16, 4 * ld);
}

// out (32 x 32) += a (32 x pixels) b (pixels x 32), for gradients of weights; b in pairs of pixels. Rows of tiles that
// cross cache lines load at half the speed, so it is b that moves with a tap: there is one of even pairs and one of odd.
inline void accumulate(float* out, int ld, const bf16* a, long a_stride, const bf16* b, long b_stride, int steps) {
    _tile_loadd(0, out, 4 * ld);
    _tile_loadd(1, out + 16, 4 * ld);
    _tile_loadd(2, out + 16 * ld, 4 * ld);
    _tile_loadd(3, out + 16 * ld + 16, 4 * ld);
    for (int k = 0; k < steps; k++) {
        _tile_loadd(6, b, 2 * b_stride);
        _tile_loadd(4, a, 2 * a_stride);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b + 32, 2 * b_stride);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, a + 16 * a_stride, 2 * a_stride);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
        a += 32;
        b += 16 * b_stride;
    }
    _tile_stored(0, out, 4 * ld);
    _tile_stored(1, out + 16, 4 * ld);
    _tile_stored(2, out + 16 * ld, 4 * ld);
    _tile_stored(3, out + 16 * ld + 16, 4 * ld);
}

#else

inline void begin_tiles() {}
inline void end_tiles() {}

inline __m512 dot(__m512 sum, int32_t pair, const bf16* b) {
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(pair), (__m512bh)_mm512_loadu_si512(b));
}

inline int32_t pair_at(const bf16* p) {
    int32_t pair;
    std::memcpy(&pair, p, 4);
    return pair;
}

inline void product(const Grid&, float* out, int ld, const Term* terms, int count, long pixel) {
    for (int first = 0; first < B; first += 8) {
        __m512 sums[8][2];
        for (auto& sum : sums) sum[0] = sum[1] = _mm512_setzero_ps();
        for (int t = 0; t < count; t++) {
            const bf16* a = terms[t].a + (pixel + first) * terms[t].stride;
            const bf16* b = terms[t].b;
            for (int k = 0; k < 16; k++)
                for (int i = 0; i < 8; i++) {
                    const int32_t pair = pair_at(a + i * terms[t].stride + 2 * k);
                    sums[i][0] = dot(sums[i][0], pair, b + 32 * k);
                    sums[i][1] = dot(sums[i][1], pair, b + 512 + 32 * k);
                }
        }
        for (int i = 0; i < 8; i++) {
            _mm512_storeu_ps(out + (first + i) * ld, sums[i][0]);
            _mm512_storeu_ps(out + (first + i) * ld + 16, sums[i][1]);
        }
    }
}

inline void accumulate(float* out, int ld, const bf16* a, long a_stride, const bf16* b, long b_stride, int steps) {
    for (int first = 0; first < B; first += 8) {
        __m512 sums[8][2];
        for (int i = 0; i < 8; i++)
            for (int half = 0; half < 2; half++) sums[i][half] = _mm512_loadu_ps(out + (first + i) * ld + 16 * half);
        for (int k = 0; k < 16 * steps; k++)
            for (int i = 0; i < 8; i++) {
                const int32_t pair = pair_at(a + (first + i) * a_stride + 2 * k);
                sums[i][0] = dot(sums[i][0], pair, b + k * b_stride);
                sums[i][1] = dot(sums[i][1], pair, b + k * b_stride + 32);
            }
        for (int i = 0; i < 8; i++)
            for (int half = 0; half < 2; half++) _mm512_storeu_ps(out + (first + i) * ld + 16 * half, sums[i][half]);
    }
}

#endif

// ---- gradients of weights ------------------------------------------------------------------------------------------

inline __m512i interleave(int first) {
    alignas(64) uint16_t index[32];
    for (int i = 0; i < 32; i++) index[i] = uint16_t(first + i / 2 + 32 * (i % 2));
    return _mm512_load_si512(index);
}

// (pixels, channels) to (pixels / 2, channels, 2), from `margin` pixels in front of pixel 0 to as many behind the
// last. Odd pairs begin one pixel later.
inline void pair_up(const Grid& p, const bf16* from, int channels, bf16* to, int margin, int odd) {
    const __m512i low = interleave(0), high = interleave(16);
    for (int px = -margin; px < p.pixels + margin; px += 2)
        for (int c = 0; c < channels; c += 32) {
            const __m512i a = _mm512_loadu_si512(from + long(px + odd) * channels + c);
            const __m512i b = _mm512_loadu_si512(from + long(px + odd + 1) * channels + c);
            bf16* at = to + long(p.before + px) * channels + 2 * c;
            _mm512_storeu_si512(at, _mm512_permutex2var_epi16(a, low, b));
            _mm512_storeu_si512(at + 32, _mm512_permutex2var_epi16(a, high, b));
        }
}

inline void transpose16(__m512i* r) {  // a 16 x 16 matrix of 32-bit numbers
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) {
            r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + 2 + j]);
            r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + 2 + j]);
        }
    for (int i = 0; i < 16; i += 8)
        for (int j = 0; j < 4; j++) {
            t[i + j] = _mm512_shuffle_i32x4(r[i + j], r[i + 4 + j], 0x88);
            t[i + 4 + j] = _mm512_shuffle_i32x4(r[i + j], r[i + 4 + j], 0xdd);
        }
    for (int j = 0; j < 8; j++) {
        r[j] = _mm512_shuffle_i32x4(t[j], t[8 + j], 0x88);
        r[8 + j] = _mm512_shuffle_i32x4(t[j], t[8 + j], 0xdd);
    }
}

// (pixels, channels) to (channels, room).
inline void transpose(const Grid& p, const bf16* from, int channels, bf16* to) {
    for (int px = 0; px < p.pixels; px += 32)
        for (int c = 0; c < channels; c += 16) {
            __m512i rows[16];
            for (int i = 0; i < 16; i++) {
                const bf16* at = from + long(px + 2 * i) * channels + c;
                const __m256i a = _mm256_loadu_si256((const __m256i*)at);
                const __m256i b = _mm256_loadu_si256((const __m256i*)(at + channels));
                rows[i] = _mm512_or_si512(_mm512_cvtepu16_epi32(a), _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
            }
            transpose16(rows);
            for (int i = 0; i < 16; i++) _mm512_storeu_si512(to + size_t(c + i) * p.room + p.before + px, rows[i]);
        }
}

struct Left {  // gradients of outputs, transposed
    Array<bf16> memory;
    int channels = 0;
    void make(const Grid& grid, int widest) { memory.make(size_t(grid.room) * widest); }
    void set(const Grid& grid, const bf16* from, int n) { transpose(grid, from, channels = n, memory.get()); }
};

struct Right {  // inputs in pairs of pixels; if taps see them from other pixels, in even and odd pairs
    Array<bf16> pairs[2];
    int channels = 0;
    void make(const Grid& grid, int widest, bool shifted) {
        for (int odd = 0; odd <= shifted; odd++) pairs[odd].make(size_t(grid.room) * widest);
    }
    void set(const Grid& grid, const bf16* from, int n, bool shifted) {
        channels = n;
        for (int odd = 0; odd <= shifted; odd++) pair_up(grid, from, n, pairs[odd].get(), shifted ? grid.before : 0, odd);
    }
};

inline void add_outers(const Grid& grid, const std::vector<Outer>& outers) {
    for (const Outer& s : outers) {
        const int odd = s.tap & 1, inputs = s.b->channels, steps = grid.pixels / B;
        const bf16* b = s.b->pairs[odd].get() + long(grid.before + s.tap - odd) * inputs;
        for (int o = 0; o < s.a->channels; o += B)
            for (int i = 0; i < inputs; i += B)
                accumulate(s.to + size_t(o) * inputs + i, inputs, s.a->memory.get() + size_t(o) * grid.room + grid.before,
                           grid.room, b + 2 * i, 2 * inputs, steps);
    }
}

}  // namespace
