// The layers of a PixelCNN (aegean.nn.pixelcnn) and the hidden layer after them, one image at a time, in bfloat16.
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

#include "bfloat16.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#ifdef __AMX_BF16__
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

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

inline bf16 to_bf16(float x) {  // to nearest, ties to even
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fc0;
    return bf16((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

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
    int inputs, first_rows, first_columns;  // channels of the image and the first layer's kernel, or 0: no first layer
    int threads;
};

// What one layer reads. The first layer's convolutions are on few channels, so each pixel's whole neighbourhood is laid
// out as its channels, and they become products with a single tap.
struct Layer {
    int v_channels, h_channels;      // multiples of 32
    std::vector<int> v_taps, h_taps; // steps from a pixel to what each tap sees
    int v_inputs, h_inputs;          // channels that weights are given for, of the image or a stack
    int v_area, h_area;              // and taps
    bool residual;
    size_t vertical, bias_v, horizontal, bias_h, link, out, bias_o, end;  // where its parameters stand
};

struct Plan {
    Shape s;
    int c, w, pad;               // channels, width before the non-linearity, empty columns
    int stride, pixels, room;    // pixels of a padded row, of the padded image (a multiple of B), of a buffer
    int before;                  // pixels in front of pixel 0
    std::vector<Layer> layers;
    size_t hidden, parameters;   // where the hidden layer's weights stand; how many parameters there are
    std::vector<uint8_t> valid;

    explicit Plan(const Shape& shape) : s(shape) {
        c = s.channels;
        w = s.gated ? 2 * c : c;
        pad = s.columns / 2;
        stride = s.width + pad;
        pixels = (s.height * stride + B - 1) / B * B;
        before = ((s.rows - 1) * stride + pad + B - 1) / B * B;
        room = before + pixels + before + B;
        if (room / B % 2 == 0) room += B;  // rows of transposed maps an odd number of cache lines apart share no cache set
        valid.resize(pixels);
        for (int p = 0; p < pixels; p++) valid[p] = p < s.height * stride && p % stride < s.width;
        size_t at = 0;
        if (s.inputs) {
            const int area = s.first_rows * s.first_columns, taps = s.first_columns / 2;
            layers.push_back({round_up(area * s.inputs), round_up(taps * s.inputs), {0}, {0}, s.inputs, s.inputs, area, taps, false});
            place(layers.back(), at);
        }
        for (int l = 0; l < s.blocks; l++) {
            Layer block{c, c, {}, {}, c, c, s.rows * s.columns, pad + 1, true};
            for (int row = 0; row < s.rows; row++)
                for (int column = 0; column < s.columns; column++)
                    block.v_taps.push_back((row - (s.rows - 1)) * stride + column - pad);
            for (int tap = 0; tap <= pad; tap++) block.h_taps.push_back(tap - pad);
            layers.push_back(block);
            place(layers.back(), at);
        }
        hidden = at;
        parameters = hidden + size_t(c) * c + c;
    }
    static int round_up(int channels) { return (channels + B - 1) / B * B; }
    void place(Layer& layer, size_t& at) const {
        layer.vertical = at;
        layer.bias_v = at += size_t(w) * layer.v_inputs * layer.v_area;
        layer.horizontal = at += w;
        layer.bias_h = at += size_t(w) * layer.h_inputs * layer.h_area;
        layer.link = at += w;
        layer.out = at += size_t(w) * w;
        layer.bias_o = at += size_t(c) * c;
        layer.end = at += c;
    }
    bool is_first(const Layer& layer) const { return !layer.residual; }
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

std::vector<Weights> pack_all(const Plan& p, const float* given, bool backward) {
    const int kc = p.c / B, kw = p.w / B;
    std::vector<Weights> all(p.layers.size());
    for (size_t l = 0; l < all.size(); l++) {
        const Layer& layer = p.layers[l];
        Weights& to = all[l];
        to.bias_v = given + layer.bias_v;
        to.bias_h = given + layer.bias_h;
        to.bias_o = given + layer.bias_o;
        const float *V = given + layer.vertical, *H = given + layer.horizontal, *L = given + layer.link, *O = given + layer.out;
        const bool first = p.is_first(layer);
        // Output o, channel i of tap t; where all taps are channels of one, as (tap, input).
        const auto weight = [&](const float* from, int inputs, int area, int o, int i, int t) {
            if (first) {
                t = i / inputs;
                i %= inputs;
                if (t >= area) return 0.0f;
            }
            return from[(size_t(o) * inputs + i) * area + t];
        };
        const auto v = [&](int o, int i, int t) { return weight(V, layer.v_inputs, layer.v_area, o, i, t); };
        const auto h = [&](int o, int i, int t) { return weight(H, layer.h_inputs, layer.h_area, o, i, t); };
        const int v_taps = layer.v_taps.size(), h_taps = layer.h_taps.size();
        const int v_chunks = layer.v_channels / B, h_chunks = layer.h_channels / B;
        // [chunk of outputs][tap][chunk of inputs]: the terms of one product stand one after the other
        to.forward_u.resize(size_t(kw) * v_taps * v_chunks * 1024);
        for (int t = 0; t < v_taps; t++)
            pack(&to.forward_u[size_t(t) * v_chunks * 1024], v_chunks, kw, long(v_taps) * v_chunks * 1024, 1024,
                 [&](int k, int n) { return v(n, k, t); });
        const int terms_s = kw + h_taps * h_chunks;
        to.forward_s.resize(size_t(kw) * terms_s * 1024);
        pack(&to.forward_s[0], kw, kw, terms_s * 1024, 1024, [&](int k, int n) { return L[size_t(n) * p.w + k]; });
        for (int t = 0; t < h_taps; t++)
            pack(&to.forward_s[size_t(kw + t * h_chunks) * 1024], h_chunks, kw, terms_s * 1024, 1024,
                 [&](int k, int n) { return h(n, k, t); });
        to.forward_o.resize(size_t(kc) * kc * 1024);
        pack(&to.forward_o[0], kc, kc, kc * 1024, 1024, [&](int k, int n) { return O[size_t(n) * p.c + k]; });
        if (!backward) continue;
        to.back_o.resize(size_t(kc) * kc * 1024);
        pack(&to.back_o[0], kc, kc, kc * 1024, 1024, [&](int k, int n) { return O[size_t(k) * p.c + n]; });
        to.back_link.resize(size_t(kw) * kw * 1024);
        pack(&to.back_link[0], kw, kw, kw * 1024, 1024, [&](int k, int n) { return L[size_t(k) * p.w + n]; });
        if (first) continue;  // nobody asks for the image's gradient
        to.back_h.resize(size_t(kc) * h_taps * kw * 1024);
        for (int t = 0; t < h_taps; t++)
            pack(&to.back_h[size_t(t) * kw * 1024], kw, kc, long(h_taps) * kw * 1024, 1024,
                 [&](int k, int n) { return h(k, n, t); });
        to.back_v.resize(size_t(kc) * v_taps * kw * 1024);
        for (int t = 0; t < v_taps; t++)
            pack(&to.back_v[size_t(t) * kw * 1024], kw, kc, long(v_taps) * kw * 1024, 1024,
                 [&](int k, int n) { return v(k, n, t); });
    }
    return all;
}

Head pack_head(const Plan& p, const float* parameters) {  // they stand after those of the blocks
    const int kc = p.c / B;
    const float* W = parameters + p.hidden;
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

// Lay the neighbourhood of each pixel of an image (height, width, inputs) out as its channels: (taps, inputs), then 0.
// `rows` rows above the pixel and `columns` / 2 columns on both sides, or, without rows, the columns left of it.
void unfold(const Plan& p, const bf16* image, int rows, int columns, int channels, bf16* to) {
    const int inputs = p.s.inputs, half = columns / 2, taps = rows ? columns : half;
    for (int i = 0; i < p.s.height; i++)
        for (int j = 0; j < p.s.width; j++) {
            bf16* at = to + (size_t(i) * p.stride + j) * channels;
            for (int r = 0; r < std::max(rows, 1); r++)
                for (int t = 0; t < taps; t++, at += inputs) {
                    const int y = rows ? i + r - rows : i, x = j + t - half;
                    const bool inside = y >= 0 && x >= 0 && x < p.s.width;
                    for (int c = 0; c < inputs; c++)
                        at[c] = inside ? image[(size_t(y) * p.s.width + x) * inputs + c] : 0;
                }
        }
}

void write_image(const Plan& p, const bf16* from, bf16* to) {
    for (int i = 0; i < p.s.height; i++)
        std::memcpy(to + size_t(i) * p.s.width * p.c, from + size_t(i) * p.stride * p.c, 2 * size_t(p.s.width) * p.c);
}

// The non-linearity of 32 channels of a pixel, from c on: sums u (w) in float32 to g (c). `kept` (w) is what its gradient
// takes: u, or tanh and sigmoid.
inline void activate(const Plan& p, const float* u, int c, bf16* kept, bf16* g) {
    const __m512 low = _mm512_loadu_ps(u + c), high = _mm512_loadu_ps(u + c + 16);
    if (p.s.gated) {
        const Gate a(low, _mm512_loadu_ps(u + p.c + c)), b(high, _mm512_loadu_ps(u + p.c + c + 16));
        store32(kept + c, a.tanh, b.tanh);
        store32(kept + p.c + c, a.sigmoid, b.sigmoid);
        store32(g + c, _mm512_mul_ps(a.tanh, a.sigmoid), _mm512_mul_ps(b.tanh, b.sigmoid));
    } else {
        store32(kept + c, low, high);
        store32(g + c, _mm512_max_ps(low, _mm512_setzero_ps()), _mm512_max_ps(high, _mm512_setzero_ps()));
    }
}

// The gradient, 16 channels from c on: dg to du, one value a channel or two (tanh's, sigmoid's). Returns g.
inline __m512 derive(const Plan& p, const bf16* kept, __m512 dg, int c, __m512* du) {
    const __m512 x = load16(kept + c);
    if (!p.s.gated) {
        du[0] = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ), dg);
        return _mm512_max_ps(x, _mm512_setzero_ps());
    }
    const __m512 one = _mm512_set1_ps(1.0f), sigmoid = load16(kept + p.c + c), g = _mm512_mul_ps(x, sigmoid);
    du[0] = _mm512_mul_ps(dg, _mm512_mul_ps(sigmoid, _mm512_fnmadd_ps(x, x, one)));
    du[1] = _mm512_mul_ps(dg, _mm512_mul_ps(g, _mm512_sub_ps(one, sigmoid)));
    return g;
}

struct Work {  // of one thread
    const Plan& p;
    // Inputs of each layer (one more for the outputs of the last), and what each keeps: u, and what the gradients of
    // the non-linearities of both stacks take.
    std::vector<Buffer> v, h, u, u_kept, s_kept;
    Buffer g, ds, du, dh[2], dv[2], top;
    Array<float> sums, bias;
    Array<bf16> v_pairs[2], h_pairs[2], u_pairs, g_pairs, dst, dut, dht;

    // Without the backward pass layers take turns with two sets of buffers.
    Work(const Plan& plan, bool backward) : p(plan) {
        const int layers = p.layers.size(), kept = backward ? layers : std::min(layers, 2);
        int widest = p.c;
        for (const Layer& layer : p.layers) widest = std::max({widest, layer.v_channels, layer.h_channels});
        for (auto* set : {&v, &h}) set->resize(kept + 1);
        for (auto* set : {&u, &u_kept, &s_kept}) set->resize(backward ? layers : 1);
        for (int l = 0; l <= kept; l++) {
            const bool first = l == 0 && p.s.inputs;
            v[l].make(p, first ? p.layers[0].v_channels : p.c);
            h[l].make(p, first ? p.layers[0].h_channels : p.c);
        }
        for (size_t l = 0; l < u.size(); l++) {
            u[l].make(p, p.w);
            s_kept[l].make(p, p.w);
            if (p.s.gated) u_kept[l].make(p, p.w);
            else u_kept[l].p = u[l].p;  // the gradient of ReLU takes u itself
        }
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
        for (int odd = 0; odd < 2; odd++) {
            v_pairs[odd].make(size_t(p.room) * widest);
            h_pairs[odd].make(size_t(p.room) * widest);
        }
        u_pairs.make(size_t(p.room) * p.w);
        g_pairs.make(size_t(p.room) * p.c);
        dst.make(size_t(p.room) * p.w);
        dut.make(size_t(p.room) * p.w);
        dht.make(size_t(p.room) * p.c);
    }

    // Where the inputs of a layer are.
    int slot(int l, bool backward) const { return backward || l == 0 ? l : 1 + (l - 1) % 2; }

    // All layers on one image: (height, width, inputs), or the inputs of the first block's stacks. Returns h.
    const bf16* forward(const std::vector<Weights>& nets, const Head& head, const float* condition, const bf16* v_in,
                        const bf16* h_in, bool backward) {
        if (p.s.inputs) {
            unfold(p, v_in, p.s.first_rows, p.s.first_columns, p.layers[0].v_channels, v[0].p);
            unfold(p, v_in, 0, p.s.first_columns, p.layers[0].h_channels, h[0].p);
        } else {
            read_image(p, v_in, v[0].p);
            read_image(p, h_in, h[0].p);
        }
        const int layers = p.layers.size();
        for (int l = 0; l < layers; l++) {
            const int from = slot(l, backward), to = slot(l + 1, backward), kept = backward ? l : 0;
            forward(p.layers[l], nets[l], condition ? condition + 2 * l * p.w : nullptr, v[from].p, h[from].p, u[kept].p,
                    u_kept[kept].p, s_kept[kept].p, v[to].p, h[to].p);
        }
        const bf16* out = h[slot(layers, backward)].p;
        forward_head(head, out);
        return out;
    }

    static void point(std::vector<Term>& terms, const std::vector<bf16>& packed, int chunk) {
        for (size_t t = 0; t < terms.size(); t++) terms[t].b = &packed[(chunk * terms.size() + t) * 1024];
    }

    static void add_terms(std::vector<Term>& terms, const bf16* from, int channels, long step) {
        for (int k = 0; k < channels; k += B) terms.push_back({from + step * channels + k, channels, nullptr});
    }

    // outputs / 32 products of the terms, for 32 pixels, into `sums`.
    void multiply(std::vector<Term>& terms, const std::vector<bf16>& packed, int outputs, int px) {
        for (int n = 0; n < outputs; n += B) {
            point(terms, packed, n / B);
            product(sums.get() + n, p.w, terms.data(), terms.size(), px);
        }
    }

    // One layer of one image. `condition` holds its biases, (2, w), or is null.
    void forward(const Layer& layer, const Weights& net, const float* condition, const bf16* v_in, const bf16* h_in,
                 bf16* u_out, bf16* u_keep, bf16* s_keep, bf16* v_out, bf16* h_out) {
        float *bias_v = bias.get(), *bias_h = bias_v + p.w, *acc = sums.get();
        for (int c = 0; c < p.w; c++) {
            bias_v[c] = net.bias_v[c] + (condition ? condition[c] : 0.0f);
            bias_h[c] = net.bias_h[c] + (condition ? condition[p.w + c] : 0.0f);
        }
        std::vector<Term> vertical, beside, way_out;
        for (int tap : layer.v_taps) add_terms(vertical, v_in, layer.v_channels, tap);
        add_terms(beside, u_out, p.w, 0);
        for (int tap : layer.h_taps) add_terms(beside, h_in, layer.h_channels, tap);
        add_terms(way_out, g.p, p.c, 0);
        for (int px = 0; px < p.pixels; px += B) {
            multiply(vertical, net.forward_u, p.w, px);
            for (int i = 0; i < B; i++) {
                if (!p.valid[px + i]) continue;  // stays 0
                const size_t at = size_t(px + i) * p.w;
                float* sum = acc + i * p.w;
                add(sum, bias_v, p.w);
                for (int c = 0; c < p.w && u_keep != u_out; c += 32)
                    store32(u_out + at + c, _mm512_loadu_ps(sum + c), _mm512_loadu_ps(sum + c + 16));
                for (int c = 0; c < p.c; c += 32) activate(p, sum, c, u_keep + at, v_out + size_t(px + i) * p.c);
            }
            multiply(beside, net.forward_s, p.w, px);
            for (int i = 0; i < B; i++) {
                if (!p.valid[px + i]) continue;
                float* sum = acc + i * p.w;
                add(sum, bias_h, p.w);
                for (int c = 0; c < p.c; c += 32)
                    activate(p, sum, c, s_keep + size_t(px + i) * p.w, g.p + size_t(px + i) * p.c);
            }
            multiply(way_out, net.forward_o, p.c, px);
            for (int i = 0; i < B; i++) {
                if (!p.valid[px + i]) continue;
                float* sum = acc + i * p.w;
                add(sum, net.bias_o, p.c);
                for (int c = 0; c < p.c; c += 32) {
                    const size_t at = size_t(px + i) * p.c + c;
                    __m512 low = _mm512_loadu_ps(sum + c), high = _mm512_loadu_ps(sum + c + 16);
                    if (layer.residual) {
                        low = _mm512_add_ps(low, load16(h_in + at));
                        high = _mm512_add_ps(high, load16(h_in + at + 16));
                    }
                    store32(h_out + at, low, high);
                }
            }
        }
    }

    static void add(float* to, const float* from, int count) {
        for (int c = 0; c < count; c += 16)
            _mm512_storeu_ps(to + c, _mm512_add_ps(_mm512_loadu_ps(to + c), _mm512_loadu_ps(from + c)));
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
        pair_up(g.p, p.c, g_pairs.get(), 0, 0);
        transpose(d, p.c, dht.get());
        outer(d_weights, dht.get(), p.c, &g_pairs, p.c, 0, p.pixels / B);
    }

    // Gradients of layer l. dh[now], dv[now]: those of its outputs, replaced by those of its inputs (not of an image);
    // dv_known: false above the last layer. d_parameters: each tap's matrix is (inputs, outputs). d_condition: (2, w).
    void backward(int l, const Weights& net, int& now, bool dv_known, float* d_parameters, float* d_condition) {
        const Layer& layer = p.layers[l];
        float *acc = sums.get(), *dbias_v = d_condition, *dbias_h = d_condition + p.w, *dbias_o = d_parameters + layer.bias_o;
        const bf16 *dh_out = dh[now].p, *dv_out = dv[now].p;
        bf16 *dh_in = dh[1 - now].p, *dv_in = dv[1 - now].p;
        now = 1 - now;
        std::vector<Term> from_out, from_link, from_h, from_v;
        add_terms(from_out, dh_out, p.c, 0);
        add_terms(from_link, ds.p, p.w, 0);
        for (int tap : layer.h_taps) add_terms(from_h, ds.p, p.w, -tap);
        for (int tap : layer.v_taps) add_terms(from_v, du.p, p.w, -tap);

        for (int px = 0; px < p.pixels; px += B) {
            multiply(from_out, net.back_o, p.c, px);
            for (int i = 0; i < B; i++) {
                if (!p.valid[px + i]) continue;
                const bf16 *kept = s_kept[l].p + size_t(px + i) * p.w, *dh_at = dh_out + size_t(px + i) * p.c;
                bf16 *to = ds.p + size_t(px + i) * p.w, *g_at = g.p + size_t(px + i) * p.c;
                for (int c = 0; c < p.c; c += 16)
                    _mm512_storeu_ps(dbias_o + c, _mm512_add_ps(_mm512_loadu_ps(dbias_o + c), load16(dh_at + c)));
                for (int c = 0; c < p.c; c += 32) {
                    __m512 low[2], high[2];
                    const __m512 g_low = derive(p, kept, _mm512_loadu_ps(acc + i * p.w + c), c, low);
                    store32(g_at + c, g_low, derive(p, kept, _mm512_loadu_ps(acc + i * p.w + c + 16), c + 16, high));
                    for (int part = 0; part <= p.s.gated; part++) put(to, dbias_h, part * p.c + c, low[part], high[part]);
                }
            }
            multiply(from_link, net.back_link, p.w, px);
            for (int i = 0; i < B; i++) {
                if (!p.valid[px + i]) continue;
                const bf16 *kept = u_kept[l].p + size_t(px + i) * p.w, *dv_at = dv_out + size_t(px + i) * p.c;
                bf16* to = du.p + size_t(px + i) * p.w;
                for (int c = 0; c < p.c; c += 32) {
                    __m512 low[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()}, high[2] = {low[0], low[0]};
                    if (dv_known) {
                        derive(p, kept, load16(dv_at + c), c, low);
                        derive(p, kept, load16(dv_at + c + 16), c + 16, high);
                    }
                    for (int part = 0; part <= p.s.gated; part++) {
                        const float* link = acc + i * p.w + part * p.c + c;
                        put(to, dbias_v, part * p.c + c, _mm512_add_ps(low[part], _mm512_loadu_ps(link)),
                            _mm512_add_ps(high[part], _mm512_loadu_ps(link + 16)));
                    }
                }
            }
        }

        for (int px = 0; px < p.pixels && !p.is_first(layer); px += B) {
            multiply(from_h, net.back_h, p.c, px);
            for (int i = 0; i < B; i++) {
                if (!p.valid[px + i]) continue;
                for (int c = 0; c < p.c; c += 32) {
                    const float* from = acc + i * p.w + c;
                    const size_t at = size_t(px + i) * p.c + c;
                    store32(dh_in + at, _mm512_add_ps(_mm512_loadu_ps(from), load16(dh_out + at)),
                            _mm512_add_ps(_mm512_loadu_ps(from + 16), load16(dh_out + at + 16)));
                }
            }
            multiply(from_v, net.back_v, p.c, px);
            for (int i = 0; i < B; i++) {
                if (!p.valid[px + i]) continue;
                for (int c = 0; c < p.c; c += 32)
                    store32(dv_in + size_t(px + i) * p.c + c, _mm512_loadu_ps(acc + i * p.w + c),
                            _mm512_loadu_ps(acc + i * p.w + c + 16));
            }
        }

        // Gradients of weights: sums over pixels of (output, input).
        const int margin = p.is_first(layer) ? 0 : p.before, steps = p.pixels / B;
        for (int odd = 0; odd < 1 + layer.residual; odd++) {
            pair_up(v[l].p, layer.v_channels, v_pairs[odd].get(), margin, odd);
            pair_up(h[l].p, layer.h_channels, h_pairs[odd].get(), margin, odd);
        }
        pair_up(u[l].p, p.w, u_pairs.get(), 0, 0);
        pair_up(g.p, p.c, g_pairs.get(), 0, 0);
        transpose(ds.p, p.w, dst.get());
        transpose(du.p, p.w, dut.get());
        transpose(dh_out, p.c, dht.get());
        float* d_vertical = scratch(d_parameters, layer, true);
        for (size_t t = 0; t < layer.v_taps.size(); t++)
            outer(d_vertical + t * layer.v_channels * p.w, dut.get(), p.w, v_pairs, layer.v_channels, layer.v_taps[t], steps);
        float* d_horizontal = scratch(d_parameters, layer, false);
        for (size_t t = 0; t < layer.h_taps.size(); t++)
            outer(d_horizontal + t * layer.h_channels * p.w, dst.get(), p.w, h_pairs, layer.h_channels, layer.h_taps[t], steps);
        outer(d_parameters + layer.link, dst.get(), p.w, &u_pairs, p.w, 0, steps);
        outer(d_parameters + layer.out, dht.get(), p.c, &g_pairs, p.c, 0, steps);
        add(d_parameters + layer.bias_v, dbias_v, p.w);
        add(d_parameters + layer.bias_h, dbias_h, p.w);
    }

    // Where the gradients of a layer's convolutions are summed: those of the first layer, whose channels are padded to a
    // multiple of 32, stand behind all parameters.
    float* scratch(float* d_parameters, const Layer& layer, bool vertical) const {
        if (!p.is_first(layer)) return d_parameters + (vertical ? layer.vertical : layer.horizontal);
        return d_parameters + p.parameters + (vertical ? 0 : size_t(layer.v_channels) * p.w);
    }

    // Store 32 values of a pixel and add them to sums.
    static void put(bf16* to, float* sums, int c, __m512 low, __m512 high) {
        store32(to + c, low, high);
        _mm512_storeu_ps(sums + c, _mm512_add_ps(_mm512_loadu_ps(sums + c), low));
        _mm512_storeu_ps(sums + c + 16, _mm512_add_ps(_mm512_loadu_ps(sums + c + 16), high));
    }

    // `a`: transposed gradients; `pairs`: inputs from the pixel on that the tap sees, of even or odd pairs.
    void outer(float* to, const bf16* a, int outputs, Array<bf16>* pairs, int inputs, int tap, int steps) {
        const int odd = tap & 1;
        const bf16* b = pairs[odd].get() + long(p.before + tap - odd) * inputs;
        for (int o = 0; o < outputs; o += B)
            for (int i = 0; i < inputs; i += B)
                accumulate(to + size_t(o) * inputs + i, inputs, a + size_t(o) * p.room + p.before, p.room, b + 2 * i,
                           2 * inputs, steps);
    }

    // (pixels, channels) to (pixels / 2, channels, 2), from `margin` pixels in front of pixel 0 to as many behind the
    // last. Odd pairs begin one pixel later.
    void pair_up(const bf16* from, int channels, bf16* to, int margin, int odd) {
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

    static __m512i interleave(int first) {
        alignas(64) uint16_t index[32];
        for (int i = 0; i < 32; i++) index[i] = uint16_t(first + i / 2 + 32 * (i % 2));
        return _mm512_load_si512(index);
    }

    // (pixels, channels) to (channels, room).
    void transpose(const bf16* from, int channels, bf16* to) {
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

// From a gradient, with its steps from tap to tap and from output to output, to the order of the parameters, (output,
// input, tap).
void reorder(const float* from, long tap_step, long output_step, float* to, int outputs, int inputs, int taps) {
    for (int o = 0; o < outputs; o++)
        for (int i = 0; i < inputs; i++)
            for (int t = 0; t < taps; t++)
                to[(size_t(o) * inputs + i) * taps + t] = from[size_t(t) * tap_step + size_t(o) * output_step + i];
}

}  // namespace

extern "C" {

// 0: may not be used; 1: AVX512-BF16; 2: AMX, which the system has to allow first.
int causal_layers_kind() {
#ifdef __AMX_BF16__
    const int request_permission = 0x1023, tile_data = 18;
    return syscall(SYS_arch_prctl, request_permission, tile_data) == 0 ? 2 : 0;
#else
    return 1;
#endif
}

// v, h, output: bfloat16 (images, height, width, channels); with a first layer v is the image (images, height, width,
// inputs), rescaled, and h is not read. parameters: those of the layers, then of the hidden layer, each (outputs, inputs,
// rows, columns) and then its bias, if it has one. condition: float32 (images, layers, 2, width), or null.
// Returns 0, or 1 where memory ran out.
int causal_layers_forward(const Shape* shape, const float* parameters, const float* condition, const bf16* v, const bf16* h,
                          bf16* output) try {
    const Plan p(*shape);
    const auto nets = pack_all(p, parameters, false);
    const Head head = pack_head(p, parameters);
    const int count = std::max(1, std::min(shape->threads, shape->images));
    std::vector<std::unique_ptr<Work>> works;
    for (int t = 0; t < count; t++) works.emplace_back(new Work(p, false));
    const size_t area = size_t(shape->height) * shape->width, entering = area * (p.s.inputs ? p.s.inputs : p.c);
    const size_t biases = p.layers.size() * 2 * p.w;
    in_threads(*shape, [&](int t, long first, long last) {
        begin_tiles();
        for (long n = first; n < last; n++) {
            works[t]->forward(nets, head, condition ? condition + n * biases : nullptr, v + n * entering, h + n * entering,
                              false);
            write_image(p, works[t]->top.p, output + n * area * p.c);
        }
        end_tiles();
    });
    return 0;
} catch (const std::bad_alloc&) {
    return 1;
}

// d_output: gradient of the output; dv, dh: those of v and h, not written with a first layer. d_parameters: float32, as the
// parameters. d_condition: float32 (images, layers, 2, width), always written.
int causal_layers_backward(const Shape* shape, const float* parameters, const float* condition, const bf16* v, const bf16* h,
                           const bf16* d_output, bf16* dv, bf16* dh, float* d_parameters, float* d_condition) try {
    const Plan p(*shape);
    const auto nets = pack_all(p, parameters, true);
    const Head head = pack_head(p, parameters);
    const int count = std::max(1, std::min(shape->threads, shape->images)), layers = p.layers.size();
    const size_t area = size_t(shape->height) * shape->width, entering = area * (p.s.inputs ? p.s.inputs : p.c);
    const size_t biases = p.layers.size() * 2 * p.w;
    size_t total = p.parameters;
    if (p.s.inputs) total += size_t(p.layers[0].v_channels + p.layers[0].h_channels) * p.w;
    std::vector<std::unique_ptr<Work>> works;
    std::vector<Array<float>> gradients(count);
    for (int t = 0; t < count; t++) {
        works.emplace_back(new Work(p, true));
        gradients[t].make(total);
    }
    std::fill(d_condition, d_condition + shape->images * biases, 0.0f);
    in_threads(*shape, [&](int t, long first, long last) {
        begin_tiles();
        Work& work = *works[t];
        float* gradient = gradients[t].get();
        for (long n = first; n < last; n++) {
            const bf16* out = work.forward(nets, head, condition ? condition + n * biases : nullptr, v + n * entering,
                                           h + n * entering, true);
            int now = 0;
            read_image(p, d_output + n * area * p.c, work.dh[now].p);
            work.backward_head(head, out, now, gradient + p.hidden);
            for (int l = layers - 1; l >= 0; l--)
                work.backward(l, nets[l], now, l < layers - 1, gradient, d_condition + n * biases + l * 2 * p.w);
            if (p.s.inputs) continue;
            write_image(p, work.dv[now].p, dv + n * entering);
            write_image(p, work.dh[now].p, dh + n * entering);
        }
        end_tiles();
    });
    float* sum = gradients[0].get();
    for (int t = 1; t < count; t++)
        for (size_t i = 0; i < total; i++) sum[i] += gradients[t].get()[i];
    for (const Layer& layer : p.layers) {
        const bool is_first = p.is_first(layer);
        const auto convolution = [&](const float* from, int channels, size_t to, int inputs, int taps) {
            const long tap_step = is_first ? inputs : long(channels) * p.w;
            reorder(from, tap_step, channels, d_parameters + to, p.w, inputs, taps);
        };
        convolution(works[0]->scratch(sum, layer, true), layer.v_channels, layer.vertical, layer.v_inputs, layer.v_area);
        convolution(works[0]->scratch(sum, layer, false), layer.h_channels, layer.horizontal, layer.h_inputs, layer.h_area);
        std::copy(sum + layer.link, sum + layer.bias_o, d_parameters + layer.link);
        std::copy(sum + layer.bias_v, sum + layer.horizontal, d_parameters + layer.bias_v);
        std::copy(sum + layer.bias_h, sum + layer.link, d_parameters + layer.bias_h);
        std::copy(sum + layer.bias_o, sum + layer.end, d_parameters + layer.bias_o);
    }
    std::copy(sum + p.hidden, sum + p.parameters, d_parameters + p.hidden);
    return 0;
} catch (const std::bad_alloc&) {
    return 1;
}
}
