// What a PixelCNN's layers are, and their weights in the order in which products read them.
#pragma once

#include "products.h"

namespace {

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

struct Plan : Grid {
    Shape s;
    int c, w, pad;              // channels, width before the non-linearity, empty columns
    std::vector<Layer> layers;
    size_t hidden, parameters;  // where the hidden layer's weights stand; how many parameters there are

    explicit Plan(const Shape& shape) : s(shape) {
        c = s.channels;
        w = s.gated ? 2 * c : c;
        pad = s.columns / 2;
        height = s.height;
        width = s.width;
        stride = width + pad;
        pixels = (s.height * stride + B - 1) / B * B;
        before = ((s.rows - 1) * stride + pad + B - 1) / B * B;
        room = before + pixels + before + B;
        if (room / B % 2 == 0) room += B;  // rows of transposed maps an odd number of cache lines apart share no cache set
        set_order(*this);
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
    std::vector<number> forward, back;
};

struct Weights {  // of one block, packed
    const float *bias_v, *bias_h, *bias_o;
    std::vector<number> forward_u, forward_s, forward_o, back_o, back_link, back_h, back_v;
};

// Pack a matrix given by value(k, n), k < 32 * chunks_k, n < 32 * chunks_n, as [chunk n][chunk k] blocks of 1024.
template <class F>
void pack(number* to, int chunks_k, int chunks_n, long step_n, long step_k, F value) {
    for (int cn = 0; cn < chunks_n; cn++)
        for (int ck = 0; ck < chunks_k; ck++) {
            number* block = to + cn * step_n + ck * step_k;
            for (int k = 0; k < B; k++)
                for (int n = 0; n < B; n++) block[position(k, n)] = rounded(value(B * ck + k, B * cn + n));
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
    Head to{W + size_t(p.c) * p.c, std::vector<number>(size_t(kc) * kc * 1024), std::vector<number>(size_t(kc) * kc * 1024)};
    pack(&to.forward[0], kc, kc, kc * 1024, 1024, [&](int k, int n) { return W[size_t(n) * p.c + k]; });
    pack(&to.back[0], kc, kc, kc * 1024, 1024, [&](int k, int n) { return W[size_t(k) * p.c + n]; });
    return to;
}

}  // namespace
