// One pixel of the horizontal stack of a PixelCNN and of the layers after it, in float32, for sampling
// (aegean.nn.pixelcnn_sampling). PyTorch spends its time on the calls, of which a pixel takes some sixty; this is one.

#include <algorithm>
#include <cmath>
#include <vector>

namespace {

// out (outputs) += x (inputs) weights (inputs, outputs), for a few images at a time, so that weights are read once for all.
template <int N>
inline void products(const float* const* x, int inputs, const float* weights, int outputs, float* const* out) {
    for (int first = 0; first < outputs; first += 32) {
        const int width = std::min(32, outputs - first);
        if (width == 32) {
            float sums[N][32];
            for (int i = 0; i < N; i++)
                for (int o = 0; o < 32; o++) sums[i][o] = out[i][first + o];
            for (int k = 0; k < inputs; k++) {
                const float* row = weights + long(k) * outputs + first;
                for (int i = 0; i < N; i++) {
                    const float value = x[i][k];
                    for (int o = 0; o < 32; o++) sums[i][o] += value * row[o];
                }
            }
            for (int i = 0; i < N; i++)
                for (int o = 0; o < 32; o++) out[i][first + o] = sums[i][o];
        } else {
            for (int k = 0; k < inputs; k++)
                for (int i = 0; i < N; i++)
                    for (int o = 0; o < width; o++) out[i][first + o] += x[i][k] * weights[long(k) * outputs + first + o];
        }
    }
}

struct Layer {
    int inputs, channels, gated, residual, taps;
    float* row;            // (images, taps - 1 + width, inputs): what the layer has seen of the row, after its padding
    const float* link;     // (width, images, channels or 2 channels): from the vertical stack, with all biases
    const float* kernel;   // (taps x inputs, channels or 2 channels)
    const float* out;      // (channels, channels)
    const float* bias;     // (channels)
};

struct Stack {
    int images, layers, columns, outputs, threads;
    const Layer* layer;
    const float *hidden, *hidden_bias;  // (channels, channels)
    const float *output, *output_bias;  // (channels, outputs)
};

constexpr int TOGETHER = 4;

template <int N>
void pixel(const Stack& s, int j, int first, const float* left, float* params) {
    const int channels = s.layer[0].channels, inputs = s.layer[0].inputs;
    std::vector<float> memory(N * 5 * channels);
    float *h[N], *u[N], *g[N];
    const float *x[N], *seen[N];
    for (int i = 0; i < N; i++) {
        h[i] = memory.data() + i * 5 * channels;
        u[i] = h[i] + channels;
        g[i] = u[i] + 2 * channels;
        x[i] = left + long(first + i) * inputs;
    }
    for (int l = 0; l < s.layers; l++) {
        const Layer& layer = s.layer[l];
        const int width = layer.gated ? 2 * channels : channels, length = (layer.taps - 1 + s.columns) * layer.inputs;
        for (int i = 0; i < N; i++) {
            float* row = layer.row + long(first + i) * length;
            std::copy(x[i], x[i] + layer.inputs, row + long(layer.taps - 1 + j) * layer.inputs);
            seen[i] = row + long(j) * layer.inputs;
            const float* link = layer.link + (long(j) * s.images + first + i) * width;
            std::copy(link, link + width, u[i]);
        }
        products<N>(seen, layer.taps * layer.inputs, layer.kernel, width, u);
        for (int i = 0; i < N; i++) {
            for (int c = 0; c < channels; c++)
                g[i][c] = layer.gated ? std::tanh(u[i][c]) / (1.0f + std::exp(-u[i][channels + c])) : std::max(u[i][c], 0.0f);
            for (int c = 0; c < channels; c++) h[i][c] = layer.residual ? h[i][c] + layer.bias[c] : layer.bias[c];
        }
        products<N>(const_cast<const float* const*>(g), channels, layer.out, channels, h);
        for (int i = 0; i < N; i++) x[i] = h[i];
    }
    for (int i = 0; i < N; i++) {
        for (int c = 0; c < channels; c++) g[i][c] = std::max(h[i][c], 0.0f);
        std::copy(s.hidden_bias, s.hidden_bias + channels, u[i]);
    }
    products<N>(const_cast<const float* const*>(g), channels, s.hidden, channels, u);
    float* to[N];
    for (int i = 0; i < N; i++) {
        for (int c = 0; c < channels; c++) u[i][c] = std::max(u[i][c], 0.0f);
        to[i] = params + long(first + i) * s.outputs;
        std::copy(s.output_bias, s.output_bias + s.outputs, to[i]);
    }
    products<N>(const_cast<const float* const*>(u), channels, s.output, s.outputs, to);
}

}  // namespace

extern "C" {

// left: the pixels left of column j as the first layer sees them, (images, inputs). params: (images, outputs).
void causal_pixel(const Stack* stack, int j, const float* left, float* params) {
    const Stack& s = *stack;
    const int groups = (s.images + TOGETHER - 1) / TOGETHER, threads = std::max(1, std::min(s.threads, groups / 4));
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int group = 0; group < groups; group++) {
        const int first = group * TOGETHER;
        if (first + TOGETHER <= s.images) {
            pixel<TOGETHER>(s, j, first, left, params);
        } else {
            for (int i = first; i < s.images; i++) pixel<1>(s, j, i, left, params);
        }
    }
}
}
