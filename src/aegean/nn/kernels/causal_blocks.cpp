// The residual blocks of a PixelCNN (aegean.nn.pixelcnn) and the hidden layer after them, one image at a time, in bfloat16.
//
// Run operation by operation, a block reads and writes whole batches of feature maps some thirty times, and memory, not
// arithmetic, sets its speed. Here a thread takes one image through all blocks while everything stays in its cache.
//
// Layout. The feature maps of an image are a matrix, a row a pixel, a column a channel. After each image row stand
// `pad` empty pixels, which serve as right padding of that row and left padding of the next; above and below stand
// empty rows. So a tap of a convolution is the same matrix some rows further up or down, and a convolution is a sum
// of matrix products, one a tap, with no copy of anything. Empty pixels are kept at 0.
//
// Products are of 32 pixels, 32 channels in and 32 out, by AMX tiles where the processor has them, otherwise by
// AVX512-BF16. Sums are float32. The right factor is stored in pairs of rows (the "VNNI" layout of both).
//
// The backward pass computes the forward pass of an image again instead of storing it: that is cheaper than a trip to
// memory, and the memory of training does not grow with the number of blocks.

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#ifdef __AMX_BF16__
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

typedef uint16_t bf16;

constexpr int B = 32;  // pixels and channels of a block product

struct Free {
    void operator()(void* p) const { std::free(p); }
};

template <class T>
struct Array {  // zeroed, aligned to cache lines
    std::unique_ptr<T, Free> memory;
    size_t size = 0;
    void make(size_t n) {
        size = n;
        void* p = std::aligned_alloc(64, (n * sizeof(T) + 63) / 64 * 64);
        if (!p) throw std::bad_alloc();
        std::memset(p, 0, n * sizeof(T));
        memory.reset(static_cast<T*>(p));
    }
    T* get() { return memory.get(); }
};

inline float to_float(bf16 x) {
    uint32_t bits = uint32_t(x) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

inline bf16 to_bf16(float x) {  // to nearest, ties to even
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fc0;
    return bf16((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline __m512 load16(const bf16* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16));
}

inline void store32(bf16* p, __m512 low, __m512 high) {
    _mm512_storeu_si512(p, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

inline __m512 exp16(__m512 x) {  // relative error below 2e-7
    x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-87.0f)), _mm512_set1_ps(87.0f));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 y = _mm512_set1_ps(1.9875691500e-4f);
    for (float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
        y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(c));
    y = _mm512_fmadd_ps(y, _mm512_mul_ps(r, r), _mm512_add_ps(r, _mm512_set1_ps(1.0f)));
    return _mm512_scalef_ps(y, n);
}

inline __m512 reciprocal(__m512 x) {  // relative error below 1e-7
    const __m512 y = _mm512_rcp14_ps(x);
    return _mm512_mul_ps(y, _mm512_fnmadd_ps(x, y, _mm512_set1_ps(2.0f)));
}

struct Gate {  // tanh(a) and sigmoid(b), by one division for both
    __m512 tanh, sigmoid;
    Gate(__m512 a, __m512 b) {
        const __m512 one = _mm512_set1_ps(1.0f), zero = _mm512_setzero_ps();
        a = _mm512_min_ps(_mm512_max_ps(a, _mm512_set1_ps(-15.0f)), _mm512_set1_ps(15.0f));
        b = _mm512_min_ps(_mm512_max_ps(b, _mm512_set1_ps(-30.0f)), _mm512_set1_ps(30.0f));
        const __m512 e = exp16(_mm512_sub_ps(zero, _mm512_add_ps(a, a))), f = exp16(_mm512_sub_ps(zero, b));
        const __m512 one_e = _mm512_add_ps(one, e), one_f = _mm512_add_ps(one, f);
        const __m512 inverse = reciprocal(_mm512_mul_ps(one_e, one_f));
        sigmoid = _mm512_mul_ps(one_e, inverse);
        tanh = _mm512_mul_ps(_mm512_mul_ps(_mm512_sub_ps(one, e), one_f), inverse);
    }
};

// ---- products of blocks ------------------------------------------------------------------------------------------

struct Term {  // one tap and 32 of its input channels
    const bf16* a;  // at pixel 0
    long stride;    // elements between pixels
    const bf16* b;  // [2][16][32]: two halves of the 32 outputs, pairs of inputs, outputs x pair
};

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
inline void product(float* out, int ld, const Term* terms, int count, long pixel) {
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

// out (32 x 32) += a (32 x pixels) b (pixels x 32), for gradients of weights; b in pairs of pixels.
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

inline void product(float* out, int ld, const Term* terms, int count, long pixel) {
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

// ---- the network -------------------------------------------------------------------------------------------------

struct Shape {
    int images, height, width;  // pixels
    int channels, gated;        // of a stack; tanh x sigmoid units, on twice the channels
    int blocks, rows, columns;  // of the vertical convolution
    int threads;
};

struct Plan {
    Shape s;
    int c, w, pad, taps;     // channels, width before the non-linearity, empty columns, taps of the horizontal stack
    int stride, pixels, room;  // pixels of a padded row, of the padded image (a multiple of B), of a buffer
    int before;              // pixels in front of pixel 0
    size_t block_weights;    // of the parameters of one block, as they are given
    std::vector<uint8_t> valid;

    explicit Plan(const Shape& shape) : s(shape) {
        c = s.channels;
        w = s.gated ? 2 * c : c;
        pad = s.columns / 2;
        taps = s.columns / 2 + 1;
        stride = s.width + pad;
        pixels = (s.height * stride + B - 1) / B * B;
        before = ((s.rows - 1) * stride + pad + B - 1) / B * B;
        room = before + pixels + before + B;
        if (room / B % 2 == 0) room += B;  // rows of transposed maps an odd number of cache lines apart share no cache set
        block_weights = size_t(w) * c * s.rows * s.columns + w + size_t(w) * c * taps + w + size_t(w) * w + size_t(c) * c + c;
        valid.resize(pixels);
        for (int p = 0; p < pixels; p++) valid[p] = p < s.height * stride && p % stride < s.width;
    }
    int up(int row, int column) const {  // from a pixel to what a vertical tap sees
        return (row - (s.rows - 1)) * stride + column - pad;
    }
};

struct Head {  // relu(hidden(relu(h))), packed
    const float* bias;
    std::vector<bf16> forward, back;
};

struct Weights {  // of one block, packed
    const float *bias_v, *bias_h, *bias_o;
    std::vector<bf16> forward_u, forward_s, forward_o, back_o, back_link, back_h, back_v;
};

// Pack a matrix given by value(k, n), k < 32 * chunks_k, n < 32 * chunks_n, as [chunk n][chunk k] blocks of 1024.
template <class F>
void pack(bf16* to, int chunks_k, int chunks_n, long step_n, long step_k, F value) {
    for (int cn = 0; cn < chunks_n; cn++)
        for (int ck = 0; ck < chunks_k; ck++) {
            bf16* block = to + cn * step_n + ck * step_k;
            for (int half = 0; half < 2; half++)
                for (int k = 0; k < 16; k++)
                    for (int n = 0; n < 16; n++)
                        for (int j = 0; j < 2; j++)
                            block[half * 512 + k * 32 + 2 * n + j] =
                                to_bf16(value(32 * ck + 2 * k + j, 32 * cn + 16 * half + n));
        }
}

struct Pointers {  // into the parameters of one block, in the order of `block_weights`
    size_t vertical, bias_v, horizontal, bias_h, link, out, bias_o;
    explicit Pointers(const Plan& p) {
        vertical = 0;
        bias_v = vertical + size_t(p.w) * p.c * p.s.rows * p.s.columns;
        horizontal = bias_v + p.w;
        bias_h = horizontal + size_t(p.w) * p.c * p.taps;
        link = bias_h + p.w;
        out = link + size_t(p.w) * p.w;
        bias_o = out + size_t(p.c) * p.c;
    }
};

std::vector<Weights> pack_all(const Plan& p, const float* parameters, bool backward) {
    const int kc = p.c / B, kw = p.w / B, area = p.s.rows * p.s.columns;
    const Pointers at(p);
    std::vector<Weights> all(p.s.blocks);
    for (int l = 0; l < p.s.blocks; l++) {
        const float* given = parameters + l * p.block_weights;
        Weights& to = all[l];
        to.bias_v = given + at.bias_v;
        to.bias_h = given + at.bias_h;
        to.bias_o = given + at.bias_o;
        const float *V = given + at.vertical, *H = given + at.horizontal, *L = given + at.link, *O = given + at.out;
        const auto v = [&](int o, int i, int t) { return V[(size_t(o) * p.c + i) * area + t]; };
        const auto h = [&](int o, int i, int t) { return H[(size_t(o) * p.c + i) * p.taps + t]; };
        // [chunk of outputs][tap][chunk of inputs]: the terms of one product stand one after the other
        to.forward_u.resize(size_t(kw) * area * kc * 1024);
        for (int t = 0; t < area; t++)
            pack(&to.forward_u[size_t(t) * kc * 1024], kc, kw, long(area) * kc * 1024, 1024,
                 [&](int k, int n) { return v(n, k, t); });
        const int terms_s = kw + p.taps * kc;
        to.forward_s.resize(size_t(kw) * terms_s * 1024);
        pack(&to.forward_s[0], kw, kw, terms_s * 1024, 1024, [&](int k, int n) { return L[size_t(n) * p.w + k]; });
        for (int t = 0; t < p.taps; t++)
            pack(&to.forward_s[size_t(kw + t * kc) * 1024], kc, kw, terms_s * 1024, 1024,
                 [&](int k, int n) { return h(n, k, t); });
        to.forward_o.resize(size_t(kc) * kc * 1024);
        pack(&to.forward_o[0], kc, kc, kc * 1024, 1024, [&](int k, int n) { return O[size_t(n) * p.c + k]; });
        if (!backward) continue;
        to.back_o.resize(size_t(kc) * kc * 1024);
        pack(&to.back_o[0], kc, kc, kc * 1024, 1024, [&](int k, int n) { return O[size_t(k) * p.c + n]; });
        to.back_link.resize(size_t(kw) * kw * 1024);
        pack(&to.back_link[0], kw, kw, kw * 1024, 1024, [&](int k, int n) { return L[size_t(k) * p.w + n]; });
        to.back_h.resize(size_t(kc) * p.taps * kw * 1024);
        for (int t = 0; t < p.taps; t++)
            pack(&to.back_h[size_t(t) * kw * 1024], kw, kc, long(p.taps) * kw * 1024, 1024,
                 [&](int k, int n) { return h(k, n, t); });
        to.back_v.resize(size_t(kc) * area * kw * 1024);
        for (int t = 0; t < area; t++)
            pack(&to.back_v[size_t(t) * kw * 1024], kw, kc, long(area) * kw * 1024, 1024,
                 [&](int k, int n) { return v(k, n, t); });
    }
    return all;
}

Head pack_head(const Plan& p, const float* parameters) {  // they stand after those of the blocks
    const int kc = p.c / B;
    const float* W = parameters + p.s.blocks * p.block_weights;
    Head to{W + size_t(p.c) * p.c, std::vector<bf16>(size_t(kc) * kc * 1024), std::vector<bf16>(size_t(kc) * kc * 1024)};
    pack(&to.forward[0], kc, kc, kc * 1024, 1024, [&](int k, int n) { return W[size_t(n) * p.c + k]; });
    pack(&to.back[0], kc, kc, kc * 1024, 1024, [&](int k, int n) { return W[size_t(k) * p.c + n]; });
    return to;
}

struct Buffer {  // feature maps of one image with empty pixels around
    Array<bf16> memory;
    bf16* p = nullptr;  // pixel 0
    void make(const Plan& plan, int channels) {
        memory.make(size_t(plan.room) * channels);
        p = memory.get() + size_t(plan.before) * channels;
    }
};

void read_image(const Plan& p, const bf16* from, bf16* to) {
    for (int i = 0; i < p.s.height; i++)
        std::memcpy(to + size_t(i) * p.stride * p.c, from + size_t(i) * p.s.width * p.c, 2 * size_t(p.s.width) * p.c);
}

void write_image(const Plan& p, const bf16* from, bf16* to) {
    for (int i = 0; i < p.s.height; i++)
        std::memcpy(to + size_t(i) * p.s.width * p.c, from + size_t(i) * p.stride * p.c, 2 * size_t(p.s.width) * p.c);
}

// The non-linearity of 16 channels of a pixel, from c on.
inline __m512 activate16(const Plan& p, const bf16* u, int c) {
    if (!p.s.gated) return _mm512_max_ps(load16(u + c), _mm512_setzero_ps());
    const Gate gate(load16(u + c), load16(u + p.c + c));
    return _mm512_mul_ps(gate.tanh, gate.sigmoid);
}

// The same, with its gradient: from dg to du, one value a channel or two (tanh's, sigmoid's).
inline __m512 derive(const Plan& p, const bf16* u, __m512 dg, int c, __m512* du) {
    if (!p.s.gated) {
        const __m512 x = load16(u + c);
        du[0] = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ), dg);
        return _mm512_max_ps(x, _mm512_setzero_ps());
    }
    const __m512 one = _mm512_set1_ps(1.0f);
    const Gate gate(load16(u + c), load16(u + p.c + c));
    const __m512 g = _mm512_mul_ps(gate.tanh, gate.sigmoid);
    du[0] = _mm512_mul_ps(dg, _mm512_mul_ps(gate.sigmoid, _mm512_fnmadd_ps(gate.tanh, gate.tanh, one)));
    du[1] = _mm512_mul_ps(dg, _mm512_mul_ps(g, _mm512_sub_ps(one, gate.sigmoid)));
    return g;
}

struct Work {  // of one thread
    const Plan& p;
    std::vector<Buffer> v, h, u, s;  // inputs of each block (one more for its outputs), and what it keeps
    Buffer g, ds, du, dh[2], dv[2], top;
    Array<float> sums, bias;
    Array<bf16> vt, ht, ut, gt, ds_pairs, du_pairs, dh_pairs;

    Work(const Plan& plan, bool backward) : p(plan) {
        const int kept = backward ? p.s.blocks : 1;
        v.resize(kept + 1);
        h.resize(kept + 1);
        u.resize(kept);
        s.resize(kept);
        for (auto& buffer : v) buffer.make(p, p.c);
        for (auto& buffer : h) buffer.make(p, p.c);
        for (auto& buffer : u) buffer.make(p, p.w);
        for (auto& buffer : s) buffer.make(p, p.w);
        g.make(p, p.c);
        top.make(p, p.c);
        sums.make(size_t(B) * p.w);
        bias.make(3 * p.w);
        if (!backward) return;
        ds.make(p, p.w);
        du.make(p, p.w);
        for (int i = 0; i < 2; i++) {
            dh[i].make(p, p.c);
            dv[i].make(p, p.c);
        }
        vt.make(size_t(p.room) * p.c);
        ht.make(size_t(p.room) * p.c);
        ut.make(size_t(p.room) * p.w);
        gt.make(size_t(p.room) * p.c);
        ds_pairs.make(size_t(p.pixels) * p.w);
        du_pairs.make(size_t(p.pixels) * p.w);
        dh_pairs.make(size_t(p.pixels) * p.c);
    }

    // One block of one image. `condition` holds its biases, (2, w), or is null.
    void forward(const Weights& net, const float* condition, const bf16* v_in, const bf16* h_in, bf16* u_out, bf16* s_out,
                 bf16* v_out, bf16* h_out) {
        const int kc = p.c / B, kw = p.w / B, area = p.s.rows * p.s.columns, terms_s = kw + p.taps * kc;
        float *bias_v = bias.get(), *bias_h = bias_v + p.w, *acc = sums.get();
        for (int c = 0; c < p.w; c++) {
            bias_v[c] = net.bias_v[c] + (condition ? condition[c] : 0.0f);
            bias_h[c] = net.bias_h[c] + (condition ? condition[p.w + c] : 0.0f);
        }
        std::vector<Term> vertical(area * kc), beside(terms_s), way_out(kc);
        for (int r = 0, t = 0; r < p.s.rows; r++)
            for (int col = 0; col < p.s.columns; col++)
                for (int k = 0; k < kc; k++, t++) vertical[t] = {v_in + long(p.up(r, col)) * p.c + B * k, p.c, nullptr};
        for (int k = 0; k < kw; k++) beside[k] = {u_out + B * k, p.w, nullptr};
        for (int tap = 0; tap < p.taps; tap++)
            for (int k = 0; k < kc; k++)
                beside[kw + tap * kc + k] = {h_in + long(tap - (p.taps - 1)) * p.c + B * k, p.c, nullptr};
        for (int k = 0; k < kc; k++) way_out[k] = {g.p + B * k, p.c, nullptr};
        const auto point = [](std::vector<Term>& terms, const std::vector<bf16>& packed, int chunk) {
            for (size_t t = 0; t < terms.size(); t++) terms[t].b = &packed[(chunk * terms.size() + t) * 1024];
        };

        for (int px = 0; px < p.pixels; px += B) {
            for (int n = 0; n < kw; n++) {
                point(vertical, net.forward_u, n);
                product(acc + B * n, p.w, vertical.data(), area * kc, px);
            }
            finish(acc, bias_v, px, u_out, v_out);
            for (int n = 0; n < kw; n++) {
                point(beside, net.forward_s, n);
                product(acc + B * n, p.w, beside.data(), terms_s, px);
            }
            finish(acc, bias_h, px, s_out, g.p);
            for (int n = 0; n < kc; n++) {
                point(way_out, net.forward_o, n);
                product(acc + B * n, p.w, way_out.data(), kc, px);
            }
            for (int i = 0; i < B; i++) {
                if (!p.valid[px + i]) continue;  // stays 0
                for (int c = 0; c < p.c; c += 32) {
                    const float* from = acc + i * p.w + c;
                    const size_t at = size_t(px + i) * p.c + c;
                    __m512 low = _mm512_add_ps(_mm512_loadu_ps(from), _mm512_loadu_ps(net.bias_o + c));
                    __m512 high = _mm512_add_ps(_mm512_loadu_ps(from + 16), _mm512_loadu_ps(net.bias_o + c + 16));
                    store32(h_out + at, _mm512_add_ps(low, load16(h_in + at)), _mm512_add_ps(high, load16(h_in + at + 16)));
                }
            }
        }
    }

    // The hidden layer after the blocks: h to top, with relu(h) in g.
    void forward_head(const Head& head, const bf16* h) {
        const int kc = p.c / B;
        float* acc = sums.get();
        std::vector<Term> terms(kc);
        for (int px = 0; px < p.pixels; px += B) {
            for (int i = 0; i < B; i++)
                for (int c = 0; c < p.c; c += 32) {
                    const size_t at = size_t(px + i) * p.c + c;
                    const __m512 low = load16(h + at), high = load16(h + at + 16), zero = _mm512_setzero_ps();
                    store32(g.p + at, _mm512_max_ps(low, zero), _mm512_max_ps(high, zero));
                }
            for (int n = 0; n < kc; n++) {
                for (int k = 0; k < kc; k++) terms[k] = {g.p + B * k, p.c, &head.forward[size_t(n * kc + k) * 1024]};
                product(acc + B * n, p.w, terms.data(), kc, px);
            }
            for (int i = 0; i < B; i++) {
                if (!p.valid[px + i]) continue;
                for (int c = 0; c < p.c; c += 32) {
                    const float* from = acc + i * p.w + c;
                    const __m512 low = _mm512_add_ps(_mm512_loadu_ps(from), _mm512_loadu_ps(head.bias + c));
                    const __m512 high = _mm512_add_ps(_mm512_loadu_ps(from + 16), _mm512_loadu_ps(head.bias + c + 16));
                    store32(top.p + size_t(px + i) * p.c + c, _mm512_max_ps(low, _mm512_setzero_ps()),
                            _mm512_max_ps(high, _mm512_setzero_ps()));
                }
            }
        }
    }

    // Its gradient. dh[now]: that of top, replaced by that of h. Expects what `forward_head` left in g and top.
    void backward_head(const Head& head, const bf16* h, int& now, float* d_weights) {
        const int kc = p.c / B;
        float *acc = sums.get(), *d_bias = d_weights + size_t(p.c) * p.c;
        bf16 *d = dh[now].p, *to = dh[1 - now].p;
        now = 1 - now;
        const auto positive = [](const bf16* x) {
            return _mm512_cmp_ps_mask(load16(x), _mm512_setzero_ps(), _CMP_GT_OQ);
        };
        std::vector<Term> terms(kc);
        for (int px = 0; px < p.pixels; px += B) {
            for (int i = 0; i < B; i++) {
                if (!p.valid[px + i]) continue;
                bf16 *d_at = d + size_t(px + i) * p.c, *top_at = top.p + size_t(px + i) * p.c;
                for (int c = 0; c < p.c; c += 32)
                    put(d_at, d_bias, c, _mm512_maskz_mov_ps(positive(top_at + c), load16(d_at + c)),
                        _mm512_maskz_mov_ps(positive(top_at + c + 16), load16(d_at + c + 16)));
            }
            for (int n = 0; n < kc; n++) {
                for (int k = 0; k < kc; k++) terms[k] = {d + B * k, p.c, &head.back[size_t(n * kc + k) * 1024]};
                product(acc + B * n, p.w, terms.data(), kc, px);
            }
            for (int i = 0; i < B; i++) {
                if (!p.valid[px + i]) continue;
                const size_t at = size_t(px + i) * p.c;
                for (int c = 0; c < p.c; c += 32) {
                    const float* from = acc + i * p.w + c;
                    store32(to + at + c, _mm512_maskz_mov_ps(positive(h + at + c), _mm512_loadu_ps(from)),
                            _mm512_maskz_mov_ps(positive(h + at + c + 16), _mm512_loadu_ps(from + 16)));
                }
            }
        }
        transpose(g, p.c, gt.get(), 0);
        pair_up(d, p.c, dh_pairs.get());
        outer(d_weights, gt.get() + p.before, p.c, dh_pairs.get(), p.c, p.pixels / B);
    }

    void finish(const float* acc, const float* bias, int px, bf16* before, bf16* after) {
        for (int i = 0; i < B; i++) {
            if (!p.valid[px + i]) continue;
            bf16* u = before + size_t(px + i) * p.w;
            for (int c = 0; c < p.w; c += 32)
                store32(u + c, _mm512_add_ps(_mm512_loadu_ps(acc + i * p.w + c), _mm512_loadu_ps(bias + c)),
                        _mm512_add_ps(_mm512_loadu_ps(acc + i * p.w + c + 16), _mm512_loadu_ps(bias + c + 16)));
            bf16* v = after + size_t(px + i) * p.c;
            for (int c = 0; c < p.c; c += 32) store32(v + c, activate16(p, u, c), activate16(p, u, c + 16));
        }
    }

    // Gradients of one block. dh, dv: those of its outputs, replaced by those of its inputs; dv_known: false above the
    // last block. d_parameters: as the parameters, but each tap's matrix is (inputs, outputs). d_condition: (2, w).
    void backward(const Weights& net, const Buffer& v_in, const Buffer& h_in, const Buffer& u_kept, const Buffer& s_kept,
                  int& now, bool dv_known, float* d_weights, float* d_condition) {
        const int kc = p.c / B, kw = p.w / B, area = p.s.rows * p.s.columns;
        float* acc = sums.get();
        const bf16 *dh_out = dh[now].p, *dv_out = dv[now].p;
        bf16 *dh_in = dh[1 - now].p, *dv_in = dv[1 - now].p;
        now = 1 - now;
        float *dbias_v = d_condition, *dbias_h = d_condition + p.w, *dbias_o = bias.get();
        std::fill(dbias_o, dbias_o + p.c, 0.0f);

        std::vector<Term> from_out(kc), from_link(kw), from_h(p.taps * kw), from_v(area * kw);
        for (int k = 0; k < kc; k++) from_out[k] = {dh_out + B * k, p.c, nullptr};
        for (int k = 0; k < kw; k++) from_link[k] = {ds.p + B * k, p.w, nullptr};
        for (int tap = 0; tap < p.taps; tap++)
            for (int k = 0; k < kw; k++)
                from_h[tap * kw + k] = {ds.p + long(p.taps - 1 - tap) * p.w + B * k, p.w, nullptr};
        for (int r = 0, t = 0; r < p.s.rows; r++)
            for (int col = 0; col < p.s.columns; col++)
                for (int k = 0; k < kw; k++, t++) from_v[t] = {du.p - long(p.up(r, col)) * p.w + B * k, p.w, nullptr};
        const auto point = [](std::vector<Term>& terms, const std::vector<bf16>& packed, int chunk) {
            for (size_t t = 0; t < terms.size(); t++) terms[t].b = &packed[(chunk * terms.size() + t) * 1024];
        };

        for (int px = 0; px < p.pixels; px += B) {
            for (int n = 0; n < kc; n++) {
                point(from_out, net.back_o, n);
                product(acc + B * n, p.w, from_out.data(), kc, px);
            }
            for (int i = 0; i < B; i++) {
                if (!p.valid[px + i]) continue;
                const bf16* s_at = s_kept.p + size_t(px + i) * p.w;
                bf16 *to = ds.p + size_t(px + i) * p.w, *g_at = g.p + size_t(px + i) * p.c;
                const bf16* dh_at = dh_out + size_t(px + i) * p.c;
                for (int c = 0; c < p.c; c += 16)
                    _mm512_storeu_ps(dbias_o + c, _mm512_add_ps(_mm512_loadu_ps(dbias_o + c), load16(dh_at + c)));
                for (int c = 0; c < p.c; c += 32) {
                    __m512 low[2], high[2];
                    const __m512 g_low = derive(p, s_at, _mm512_loadu_ps(acc + i * p.w + c), c, low);
                    store32(g_at + c, g_low, derive(p, s_at, _mm512_loadu_ps(acc + i * p.w + c + 16), c + 16, high));
                    for (int part = 0; part <= p.s.gated; part++) put(to, dbias_h, part * p.c + c, low[part], high[part]);
                }
            }
            for (int n = 0; n < kw; n++) {
                point(from_link, net.back_link, n);
                product(acc + B * n, p.w, from_link.data(), kw, px);
            }
            for (int i = 0; i < B; i++) {
                if (!p.valid[px + i]) continue;
                const bf16 *u_at = u_kept.p + size_t(px + i) * p.w, *dv_at = dv_out + size_t(px + i) * p.c;
                bf16* to = du.p + size_t(px + i) * p.w;
                for (int c = 0; c < p.c; c += 32) {
                    __m512 low[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()}, high[2] = {low[0], low[0]};
                    if (dv_known) {
                        derive(p, u_at, load16(dv_at + c), c, low);
                        derive(p, u_at, load16(dv_at + c + 16), c + 16, high);
                    }
                    for (int part = 0; part <= p.s.gated; part++) {
                        const float* link = acc + i * p.w + part * p.c + c;
                        put(to, dbias_v, part * p.c + c, _mm512_add_ps(low[part], _mm512_loadu_ps(link)),
                            _mm512_add_ps(high[part], _mm512_loadu_ps(link + 16)));
                    }
                }
            }
        }

        for (int px = 0; px < p.pixels; px += B) {
            for (int n = 0; n < kc; n++) {
                point(from_h, net.back_h, n);
                product(acc + B * n, p.w, from_h.data(), p.taps * kw, px);
            }
            for (int i = 0; i < B; i++) {
                if (!p.valid[px + i]) continue;
                for (int c = 0; c < p.c; c += 32) {
                    const float* from = acc + i * p.w + c;
                    const size_t at = size_t(px + i) * p.c + c;
                    store32(dh_in + at, _mm512_add_ps(_mm512_loadu_ps(from), load16(dh_out + at)),
                            _mm512_add_ps(_mm512_loadu_ps(from + 16), load16(dh_out + at + 16)));
                }
            }
            for (int n = 0; n < kc; n++) {
                point(from_v, net.back_v, n);
                product(acc + B * n, p.w, from_v.data(), area * kw, px);
            }
            for (int i = 0; i < B; i++) {
                if (!p.valid[px + i]) continue;
                for (int c = 0; c < p.c; c += 32)
                    store32(dv_in + size_t(px + i) * p.c + c, _mm512_loadu_ps(acc + i * p.w + c),
                            _mm512_loadu_ps(acc + i * p.w + c + 16));
            }
        }

        // Gradients of weights: sums over pixels of (input, output).
        transpose(v_in, p.c, vt.get(), p.before);
        transpose(h_in, p.c, ht.get(), p.before);
        transpose(u_kept, p.w, ut.get(), 0);
        transpose(g, p.c, gt.get(), 0);
        pair_up(ds.p, p.w, ds_pairs.get());
        pair_up(du.p, p.w, du_pairs.get());
        pair_up(dh_out, p.c, dh_pairs.get());
        const Pointers at(p);
        const int steps = p.pixels / B;
        for (int r = 0, t = 0; r < p.s.rows; r++)
            for (int col = 0; col < p.s.columns; col++, t++)
                outer(d_weights + at.vertical + size_t(t) * p.c * p.w, vt.get() + p.before + p.up(r, col), p.c,
                      du_pairs.get(), p.w, steps);
        for (int tap = 0; tap < p.taps; tap++)
            outer(d_weights + at.horizontal + size_t(tap) * p.c * p.w, ht.get() + p.before + tap - (p.taps - 1), p.c,
                  ds_pairs.get(), p.w, steps);
        outer(d_weights + at.link, ut.get() + p.before, p.w, ds_pairs.get(), p.w, steps);
        outer(d_weights + at.out, gt.get() + p.before, p.c, dh_pairs.get(), p.c, steps);
        for (int c = 0; c < p.w; c++) {
            d_weights[at.bias_v + c] += dbias_v[c];
            d_weights[at.bias_h + c] += dbias_h[c];
        }
        for (int c = 0; c < p.c; c++) d_weights[at.bias_o + c] += dbias_o[c];
    }

    // Store 32 values of a pixel and add them to sums.
    static void put(bf16* to, float* sums, int c, __m512 low, __m512 high) {
        store32(to + c, low, high);
        _mm512_storeu_ps(sums + c, _mm512_add_ps(_mm512_loadu_ps(sums + c), low));
        _mm512_storeu_ps(sums + c + 16, _mm512_add_ps(_mm512_loadu_ps(sums + c + 16), high));
    }

    void outer(float* to, const bf16* a, int inputs, const bf16* b, int outputs, int steps) {
        for (int i = 0; i < inputs; i += B)
            for (int o = 0; o < outputs; o += B)
                accumulate(to + size_t(i) * outputs + o, outputs, a + size_t(i) * p.room, p.room, b + 2 * o, 2 * outputs, steps);
    }

    // (pixels, channels) to (pixels / 2, channels, 2).
    void pair_up(const bf16* from, int channels, bf16* to) {
        for (int px = 0; px < p.pixels; px += 2)
            for (int c = 0; c < channels; c += 32) {
                const __m512i a = _mm512_loadu_si512(from + size_t(px) * channels + c);
                const __m512i b = _mm512_loadu_si512(from + size_t(px + 1) * channels + c);
                bf16* at = to + size_t(px) * channels + 2 * c;
                _mm512_storeu_si512(at, _mm512_permutex2var_epi16(a, interleave(0), b));
                _mm512_storeu_si512(at + 32, _mm512_permutex2var_epi16(a, interleave(16), b));
            }
    }

    static __m512i interleave(int first) {
        alignas(64) uint16_t index[32];
        for (int i = 0; i < 32; i++) index[i] = uint16_t(first + i / 2 + 32 * (i % 2));
        return _mm512_load_si512(index);
    }

    // (pixels, channels) to (channels, room), from `margin` pixels in front of pixel 0 to as many behind the last.
    void transpose(const Buffer& from, int channels, bf16* to, int margin) {
        for (int px = -margin; px < p.pixels + margin; px += 32)
            for (int c = 0; c < channels; c += 16) {
                __m512i rows[16];
                for (int i = 0; i < 16; i++) {
                    const bf16* at = from.p + long(px + 2 * i) * channels + c;
                    const __m256i a = _mm256_loadu_si256((const __m256i*)at);
                    const __m256i b = _mm256_loadu_si256((const __m256i*)(at + channels));
                    rows[i] = _mm512_or_si512(_mm512_cvtepu16_epi32(a), _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
                }
                transpose16(rows);
                for (int i = 0; i < 16; i++) _mm512_storeu_si512(to + size_t(c + i) * p.room + p.before + px, rows[i]);
            }
    }

    static void transpose16(__m512i* r) {  // a 16 x 16 matrix of 32-bit numbers
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
};

// Divide the images among threads; work(thread, first image, image after the last). The threads are those of PyTorch,
// whose library of OpenMP is the one that is loaded: two sets of them would stand in each other's way.
template <class F>
void in_threads(const Shape& s, F work) {
    const int count = std::max(1, std::min(s.threads, s.images));
#pragma omp parallel for num_threads(count) schedule(static, 1)
    for (int t = 0; t < count; t++) work(t, long(s.images) * t / count, long(s.images) * (t + 1) / count);
}

}  // namespace

extern "C" {

// 0: neither instruction set; 1: AVX512-BF16; 2: AMX, which the system has to allow first.
int causal_blocks_kind() {
#ifdef __AMX_BF16__
    const int request_permission = 0x1023, tile_data = 18;
    return syscall(SYS_arch_prctl, request_permission, tile_data) == 0 ? 2 : 0;
#else
    return 1;
#endif
}

// v, h, output: bfloat16 (images, height, width, channels). parameters: those of the blocks, then of the hidden layer, each
// (outputs, inputs, rows, columns) and then its bias, if it has one. condition: float32 (images, blocks, 2, width), or null.
// Returns 0, or 1 where memory ran out.
int causal_blocks_forward(const Shape* shape, const float* parameters, const float* condition, const bf16* v, const bf16* h,
                          bf16* output) try {
    const Plan p(*shape);
    const auto nets = pack_all(p, parameters, false);
    const Head head = pack_head(p, parameters);
    const int count = std::max(1, std::min(shape->threads, shape->images));
    std::vector<std::unique_ptr<Work>> works;
    for (int t = 0; t < count; t++) works.emplace_back(new Work(p, false));
    const size_t image = size_t(shape->height) * shape->width * p.c;
    in_threads(*shape, [&](int t, long first, long last) {
        begin_tiles();
        Work& work = *works[t];
        for (long n = first; n < last; n++) {
            read_image(p, v + n * image, work.v[0].p);
            read_image(p, h + n * image, work.h[0].p);
            for (int l = 0; l < shape->blocks; l++) {
                const float* biases = condition ? condition + (n * shape->blocks + l) * 2 * p.w : nullptr;
                const int now = l % 2;
                work.forward(nets[l], biases, work.v[now].p, work.h[now].p, work.u[0].p, work.s[0].p, work.v[1 - now].p,
                             work.h[1 - now].p);
            }
            work.forward_head(head, work.h[shape->blocks % 2].p);
            write_image(p, work.top.p, output + n * image);
        }
        end_tiles();
    });
    return 0;
} catch (const std::bad_alloc&) {
    return 1;
}

// d_output: gradient of the output; dv, dh: those of v and h. d_parameters: float32, as the parameters. d_condition: float32
// (images, blocks, 2, width), always written.
int causal_blocks_backward(const Shape* shape, const float* parameters, const float* condition, const bf16* v, const bf16* h,
                           const bf16* d_output, bf16* dv, bf16* dh, float* d_parameters, float* d_condition) try {
    const Plan p(*shape);
    const auto nets = pack_all(p, parameters, true);
    const Head head = pack_head(p, parameters);
    const int count = std::max(1, std::min(shape->threads, shape->images));
    const size_t image = size_t(shape->height) * shape->width * p.c, total = p.block_weights * shape->blocks + size_t(p.c) * p.c + p.c;
    std::vector<std::unique_ptr<Work>> works;
    std::vector<Array<float>> gradients(count);
    for (int t = 0; t < count; t++) {
        works.emplace_back(new Work(p, true));
        gradients[t].make(total);
    }
    in_threads(*shape, [&](int t, long first, long last) {
        begin_tiles();
        Work& work = *works[t];
        for (long n = first; n < last; n++) {
            read_image(p, v + n * image, work.v[0].p);
            read_image(p, h + n * image, work.h[0].p);
            const auto at = [&](int l) { return (n * shape->blocks + l) * 2 * p.w; };
            for (int l = 0; l < shape->blocks; l++)
                work.forward(nets[l], condition ? condition + at(l) : nullptr, work.v[l].p, work.h[l].p, work.u[l].p,
                             work.s[l].p, work.v[l + 1].p, work.h[l + 1].p);
            int now = 0;
            read_image(p, d_output + n * image, work.dh[now].p);
            work.forward_head(head, work.h[shape->blocks].p);
            work.backward_head(head, work.h[shape->blocks].p, now, gradients[t].get() + shape->blocks * p.block_weights);
            for (int l = shape->blocks - 1; l >= 0; l--) {
                std::fill(d_condition + at(l), d_condition + at(l) + 2 * p.w, 0.0f);
                work.backward(nets[l], work.v[l], work.h[l], work.u[l], work.s[l], now, l < shape->blocks - 1,
                              gradients[t].get() + l * p.block_weights, d_condition + at(l));
            }
            write_image(p, work.dv[now].p, dv + n * image);
            write_image(p, work.dh[now].p, dh + n * image);
        }
        end_tiles();
    });
    for (int t = 1; t < count; t++)
        for (size_t i = 0; i < total; i++) gradients[0].get()[i] += gradients[t].get()[i];
    // From (tap, input, output) to the order of the parameters.
    const Pointers at(p);
    const int area = p.s.rows * p.s.columns;
    for (int l = 0; l < shape->blocks; l++) {
        const float* from = gradients[0].get() + l * p.block_weights;
        float* to = d_parameters + l * p.block_weights;
        const auto reorder = [&](size_t start, int outputs, int inputs, int taps) {
            for (int o = 0; o < outputs; o++)
                for (int i = 0; i < inputs; i++)
                    for (int t = 0; t < taps; t++)
                        to[start + (size_t(o) * inputs + i) * taps + t] = from[start + (size_t(t) * inputs + i) * outputs + o];
        };
        reorder(at.vertical, p.w, p.c, area);
        reorder(at.horizontal, p.w, p.c, p.taps);
        reorder(at.link, p.w, p.w, 1);
        reorder(at.out, p.c, p.c, 1);
        std::copy(from + at.bias_v, from + at.bias_v + p.w, to + at.bias_v);
        std::copy(from + at.bias_h, from + at.bias_h + p.w, to + at.bias_h);
        std::copy(from + at.bias_o, from + at.bias_o + p.c, to + at.bias_o);
    }
    const size_t last = shape->blocks * p.block_weights, area_c = size_t(p.c) * p.c;
    for (int o = 0; o < p.c; o++)
        for (int i = 0; i < p.c; i++)
            d_parameters[last + size_t(o) * p.c + i] = gradients[0].get()[last + size_t(i) * p.c + o];
    std::copy(gradients[0].get() + last + area_c, gradients[0].get() + total, d_parameters + last + area_c);
    return 0;
} catch (const std::bad_alloc&) {
    return 1;
}
}
