// Products in float32: sums stay in registers, for some pixels and two vectors of outputs. Only pixels of the image are
// worked on, wherever they stand.
#pragma once

namespace {

inline void begin_tiles() {}
inline void end_tiles() {}

inline float rounded(float x) { return x; }

// Where a packed block of 32 x 32 weights has that of input k and output n.
inline int position(int k, int n) { return n / PAIR * (B * PAIR) + k * PAIR + n % PAIR; }

inline void set_order(Grid& grid) {
    for (int i = 0; i < grid.height; i++)
        for (int j = 0; j < grid.width; j++) grid.order.push_back(i * grid.stride + j);
    while (grid.order.size() % B) grid.order.push_back(-1);
}

// Divide 32 rows of a product into as many as registers hold sums of: work.template run<N>(first row) for each part.
template <class Work>
inline void in_parts(const Work& work) {
    if (REGISTERS < 32) {
        work.template run<6>(0);
        work.template run<6>(6);
        for (int first = 12; first < B; first += 5) work.template run<5>(first);
    } else {
        for (int first = 0; first < B; first += 8) work.template run<8>(first);
    }
}

struct Product {
    float* out;
    int ld;
    const Term* terms;
    int count, panel;  // of the packed weights: the first output x 32
    const int* order;

    template <int N>
    __attribute__((always_inline)) void run(int first) const {
        if (order[first] < 0) return;
        floats sums[N][2] = {};
        for (int t = 0; t < count; t++) {
            const float *a[N], *b = terms[t].b + panel;
            for (int i = 0; i < N; i++) a[i] = terms[t].a + std::max(order[first + i], 0) * terms[t].stride;
            for (int k = 0; k < B; k++) {
                const floats low = load(b + k * PAIR), high = load(b + k * PAIR + LANES);
                for (int i = 0; i < N; i++) {
                    sums[i][0] += a[i][k] * low;
                    sums[i][1] += a[i][k] * high;
                }
            }
        }
        for (int i = 0; i < N; i++) store(out + (first + i) * ld, sums[i][0], sums[i][1]);
    }
};

// out (32 pixels of the order from `start` on) x (32 outputs) = sum of the terms.
inline void product(const Grid& grid, float* out, int ld, const Term* terms, int count, int start) {
    for (int n = 0; n < B; n += PAIR) in_parts(Product{out + n, ld, terms, count, n * B, &grid.order[start]});
}

// ---- gradients of weights ------------------------------------------------------------------------------------------

struct Left {  // gradients of outputs, (pixels, channels)
    const float* p = nullptr;
    int channels = 0;
    void make(const Grid&, int) {}
    void set(const Grid&, const float* from, int n) { p = from, channels = n; }
};

struct Right {  // inputs, which taps see from other pixels
    const float* p = nullptr;
    int channels = 0;
    void make(const Grid&, int, bool) {}
    void set(const Grid&, const float* from, int n, bool) { p = from, channels = n; }
};

struct Accumulate {
    float* out;
    int ld;
    const float* a;
    long a_stride;
    const float* b;
    long b_stride;
    int rows, width, stride;  // of the image; pixels from row to row

    template <int N>
    __attribute__((always_inline)) void run(int first) const {
        floats sums[N][2];
        float* to = out + first * ld;
        for (int i = 0; i < N; i++)
            for (int half = 0; half < 2; half++) sums[i][half] = load(to + i * ld + LANES * half);
        for (int row = 0; row < rows; row++) {
            const float *x = a + row * stride * a_stride + first, *y = b + row * stride * b_stride;
            for (int column = 0; column < width; column++, x += a_stride, y += b_stride) {
                const floats low = load(y), high = load(y + LANES);
                for (int i = 0; i < N; i++) {
                    sums[i][0] += x[i] * low;
                    sums[i][1] += x[i] * high;
                }
            }
        }
        for (int i = 0; i < N; i++) store(to + i * ld, sums[i][0], sums[i][1]);
    }
};

// Some rows of the image at a time, so that all taps find them in the cache.
inline void add_outers(const Grid& grid, const std::vector<Outer>& outers) {
    const int together = std::max(1, 64 / grid.width);
    for (int row = 0; row < grid.height; row += together)
        for (const Outer& s : outers) {
            const int rows = std::min(together, grid.height - row), outputs = s.a->channels, inputs = s.b->channels;
            const float* a = s.a->p + long(row) * grid.stride * outputs;
            const float* b = s.b->p + (long(row) * grid.stride + s.tap) * inputs;
            for (int i = 0; i < inputs; i += PAIR)
                for (int o = 0; o < outputs; o += B)
                    in_parts(Accumulate{s.to + size_t(o) * inputs + i, inputs, a + o, outputs, b + i, inputs, rows, grid.width,
                                        grid.stride});
        }
}

}  // namespace
