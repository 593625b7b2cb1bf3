// The layers of a PixelCNN (aegean.nn.pixelcnn) and the hidden layer after them, one image at a time, in bfloat16, or in
// float32 where FLOAT32 is defined.
//
// Run operation by operation, a block reads and writes whole batches of feature maps some thirty times, and memory, not
// arithmetic, sets its speed. Here a thread takes one image through all blocks while everything stays in its cache.
//
// Layout. The feature maps of an image are a matrix, a row a pixel, a column a channel. After each image row stand
// `pad` empty pixels, which serve as right padding of that row and left padding of the next; above and below stand
// empty rows. So a tap of a convolution is the same matrix some rows further up or down, and a convolution is a sum
// of matrix products, one a tap, with no copy of anything. Empty pixels are kept at 0.
//
// The backward pass computes the forward pass of an image again instead of storing it, if it is given nothing that the
// forward pass kept: in bfloat16 that is cheaper than a trip to memory, and the memory of training does not grow with the
// number of blocks. In float32 products cost as much more as a trip to memory costs less in comparison.

#include "causal_plan.h"

namespace {

struct Buffer {  // feature maps of one image with empty pixels around
    Array<number> memory;
    number* p = nullptr;  // pixel 0
    void make(const Plan& plan, int channels) {
        memory.make(size_t(plan.room) * channels);
        p = memory.get() + size_t(plan.before) * channels;
    }
};

// Between an image (height, width, channels) and a buffer.
void read_image(const Plan& p, const number* from, number* to, int channels) {
    for (int i = 0; i < p.height; i++)
        std::memcpy(to + size_t(i) * p.stride * channels, from + size_t(i) * p.width * channels,
                    sizeof(number) * p.width * channels);
}

void write_image(const Plan& p, const number* from, number* to, int channels) {
    for (int i = 0; i < p.height; i++)
        std::memcpy(to + size_t(i) * p.width * channels, from + size_t(i) * p.stride * channels,
                    sizeof(number) * p.width * channels);
}

// Lay the neighbourhood of each pixel of an image (height, width, inputs) out as its channels: (taps, inputs), then 0.
// `rows` rows above the pixel and `columns` / 2 columns on both sides, or, without rows, the columns left of it.
void unfold(const Plan& p, const number* image, int rows, int columns, int channels, number* to) {
    const int inputs = p.s.inputs, half = columns / 2, taps = rows ? columns : half;
    for (int i = 0; i < p.height; i++)
        for (int j = 0; j < p.width; j++) {
            number* at = to + (size_t(i) * p.stride + j) * channels;
            for (int r = 0; r < std::max(rows, 1); r++)
                for (int t = 0; t < taps; t++, at += inputs) {
                    const int y = rows ? i + r - rows : i, x = j + t - half;
                    const bool inside = y >= 0 && x >= 0 && x < p.width;
                    for (int c = 0; c < inputs; c++) at[c] = inside ? image[(size_t(y) * p.width + x) * inputs + c] : 0;
                }
        }
}

// The non-linearity of some channels of a pixel, from c on: sums u (w) to g (c). `kept` (w) is what its gradient takes: u,
// or tanh and sigmoid.
template <class T>
inline void activate(const Plan& p, const T* u, int c, number* kept, number* g) {
    const floats low = load(u + c), high = load(u + c + LANES);
    if (p.s.gated) {
        const Gate a(low, load(u + p.c + c)), b(high, load(u + p.c + c + LANES));
        store(kept + c, a.tanh, b.tanh);
        store(kept + p.c + c, a.sigmoid, b.sigmoid);
        store(g + c, a.tanh * a.sigmoid, b.tanh * b.sigmoid);
    } else {
        store(kept + c, low, high);
        store(g + c, relu(low), relu(high));
    }
}

// The gradient, some channels from c on: dg to du, one value a channel or two (tanh's, sigmoid's). Returns g.
inline floats derive(const Plan& p, const number* kept, floats dg, int c, floats* du) {
    const floats x = load(kept + c);
    if (!p.s.gated) {
        du[0] = where_positive(x, dg);
        return relu(x);
    }
    const floats sigmoid = load(kept + p.c + c), g = x * sigmoid;
    du[0] = dg * (sigmoid * (1.0f - x * x));
    du[1] = dg * (g * (1.0f - sigmoid));
    return g;
}

inline void add(float* to, const float* from, int count) {
    for (int c = 0; c < count; c += LANES) store(to + c, load(to + c) + load(from + c));
}

// Store some values of a pixel and add them to sums.
inline void put(number* to, float* sums, int c, floats low, floats high) {
    store(to + c, low, high);
    store(sums + c, load(sums + c) + low);
    store(sums + c + LANES, load(sums + c + LANES) + high);
}

// What the forward pass may keep of an image for the backward pass, without empty pixels: of each layer u, what the
// gradient of the horizontal stack's non-linearity takes, and h.
struct Kept {
    number *u, *s, *h;
    static size_t size(const Plan& p) { return size_t(p.height) * p.width * (2 * p.w + p.c); }  // of a layer
    Kept(const Plan& p, number* image, int l) {
        u = image + l * size(p);
        s = u + size_t(p.height) * p.width * p.w;
        h = s + size_t(p.height) * p.width * p.w;
    }
};

struct Work {  // of one thread
    const Plan& p;
    const bool every;  // each layer has buffers of its own; otherwise layers take turns with two sets
    // Inputs of each layer (one more for the outputs of the last), and what each keeps: u, and what the gradients of
    // the non-linearities of both stacks take.
    std::vector<Buffer> v, h, u, u_kept, s_kept;
    Buffer g, ds, du, dh[2], dv[2], top;
    Array<float> sums, bias;
    Left dst, dut, dht;
    Right v_right, h_right, u_right, g_right;

    Work(const Plan& plan, bool every_layer, bool backward) : p(plan), every(every_layer) {
        const int layers = p.layers.size(), sets = every ? layers : std::min(layers, 2);
        int widest = p.c;
        for (const Layer& layer : p.layers) widest = std::max({widest, layer.v_channels, layer.h_channels});
        for (auto* set : {&v, &h}) set->resize(sets + 1);
        for (auto* set : {&u, &u_kept, &s_kept}) set->resize(sets);
        for (int l = 0; l <= sets; l++) {
            const bool first = l == 0 && p.s.inputs;
            v[l].make(p, first ? p.layers[0].v_channels : p.c);
            h[l].make(p, first ? p.layers[0].h_channels : p.c);
        }
        for (int l = 0; l < sets; l++) {
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
        v_right.make(p, widest, true);
        h_right.make(p, widest, true);
        u_right.make(p, p.w, false);
        g_right.make(p, p.c, false);
        dst.make(p, p.w);
        dut.make(p, p.w);
        dht.make(p, p.c);
    }

    int slot(int l) const { return every || l == 0 ? l : 1 + (l - 1) % 2; }  // of the inputs of a layer
    int turn(int l) const { return every ? l : l % int(u.size()); }          // of what it keeps

    // work(pixel, its sums) for each pixel of a block.
    template <class F>
    inline void each(int start, F work) {
        for (int i = 0; i < B; i++)
            if (p.order[start + i] >= 0) work(size_t(p.order[start + i]), sums.get() + i * p.w);
    }

    int end() const { return p.order.size(); }

    void enter(const number* v_in, const number* h_in) {
        if (p.s.inputs) {
            unfold(p, v_in, p.s.first_rows, p.s.first_columns, p.layers[0].v_channels, v[0].p);
            unfold(p, v_in, 0, p.s.first_columns, p.layers[0].h_channels, h[0].p);
        } else {
            read_image(p, v_in, v[0].p, p.c);
            read_image(p, h_in, h[0].p, p.c);
        }
    }

    // All layers on one image: (height, width, inputs), or the inputs of the first block's stacks. `kept` may be null.
    void forward(const std::vector<Weights>& nets, const Head& head, const float* condition, const number* v_in,
                 const number* h_in, number* kept) {
        enter(v_in, h_in);
        const int layers = p.layers.size();
        for (int l = 0; l < layers; l++) {
            forward(l, nets[l], condition ? condition + 2 * l * p.w : nullptr);
            if (!kept) continue;
            const Kept to(p, kept, l);
            write_image(p, u[turn(l)].p, to.u, p.w);
            write_image(p, s_kept[turn(l)].p, to.s, p.w);
            write_image(p, h[slot(l + 1)].p, to.h, p.c);
        }
        forward_head(head);
    }

    // Make the buffers that `backward` reads of layer l from what was kept, layer after layer from the last one down.
    void restore(number* kept, int l) {
        const Kept from(p, kept, l);
        const int last = int(p.layers.size()) - 1;
        if (l == last) {
            read_image(p, from.h, h[slot(l + 1)].p, p.c);
            restore_u(from, l);
        }
        read_image(p, from.s, s_kept[turn(l)].p, p.w);
        if (l == 0) return;
        const Kept below(p, kept, l - 1);
        read_image(p, below.h, h[slot(l)].p, p.c);
        restore_u(below, l - 1);
    }

    void restore_u(const Kept& from, int l) {
        number *to = u[turn(l)].p, *to_kept = u_kept[turn(l)].p, *v_out = v[slot(l + 1)].p;
        read_image(p, from.u, to, p.w);
        for (int at : p.order)
            for (int c = 0; c < p.c && at >= 0; c += PAIR)
                activate(p, to + size_t(at) * p.w, c, to_kept + size_t(at) * p.w, v_out + size_t(at) * p.c);
    }

    static void point(std::vector<Term>& terms, const std::vector<number>& packed, int chunk) {
        for (size_t t = 0; t < terms.size(); t++) terms[t].b = &packed[(chunk * terms.size() + t) * 1024];
    }

    static void add_terms(std::vector<Term>& terms, const number* from, int channels, long step) {
        for (int k = 0; k < channels; k += B) terms.push_back({from + step * channels + k, channels, nullptr});
    }

    // outputs / 32 products of the terms, for a block of pixels, into `sums`.
    void multiply(std::vector<Term>& terms, const std::vector<number>& packed, int outputs, int start) {
        for (int n = 0; n < outputs; n += B) {
            point(terms, packed, n / B);
            product(p, sums.get() + n, p.w, terms.data(), terms.size(), start);
        }
    }

    // One layer of one image. `condition` holds its biases, (2, w), or is null.
    void forward(int l, const Weights& net, const float* condition) {
        const Layer& layer = p.layers[l];
        const number *v_in = v[slot(l)].p, *h_in = h[slot(l)].p;
        number *u_out = u[turn(l)].p, *u_keep = u_kept[turn(l)].p, *s_keep = s_kept[turn(l)].p;
        number *v_out = v[slot(l + 1)].p, *h_out = h[slot(l + 1)].p;
        float *bias_v = bias.get(), *bias_h = bias_v + p.w;
        for (int c = 0; c < p.w; c++) {
            bias_v[c] = net.bias_v[c] + (condition ? condition[c] : 0.0f);
            bias_h[c] = net.bias_h[c] + (condition ? condition[p.w + c] : 0.0f);
        }
        std::vector<Term> vertical, beside, way_out;
        for (int tap : layer.v_taps) add_terms(vertical, v_in, layer.v_channels, tap);
        add_terms(beside, u_out, p.w, 0);
        for (int tap : layer.h_taps) add_terms(beside, h_in, layer.h_channels, tap);
        add_terms(way_out, g.p, p.c, 0);
        for (int start = 0; start < end(); start += B) {
            multiply(vertical, net.forward_u, p.w, start);
            each(start, [&](size_t at, float* sum) {
                add(sum, bias_v, p.w);
                for (int c = 0; c < p.w && u_keep != u_out; c += PAIR)
                    store(u_out + at * p.w + c, load(sum + c), load(sum + c + LANES));
                for (int c = 0; c < p.c; c += PAIR) activate(p, sum, c, u_keep + at * p.w, v_out + at * p.c);
            });
            multiply(beside, net.forward_s, p.w, start);
            each(start, [&](size_t at, float* sum) {
                add(sum, bias_h, p.w);
                for (int c = 0; c < p.c; c += PAIR) activate(p, sum, c, s_keep + at * p.w, g.p + at * p.c);
            });
            multiply(way_out, net.forward_o, p.c, start);
            each(start, [&](size_t at, float* sum) {
                add(sum, net.bias_o, p.c);
                for (int c = 0; c < p.c; c += PAIR) {
                    floats low = load(sum + c), high = load(sum + c + LANES);
                    if (layer.residual) {
                        low += load(h_in + at * p.c + c);
                        high += load(h_in + at * p.c + c + LANES);
                    }
                    store(h_out + at * p.c + c, low, high);
                }
            });
        }
    }

    // The hidden layer after the blocks: h to top, with relu(h) in g.
    void forward_head(const Head& head) {
        const number* from = h[slot(p.layers.size())].p;
        std::vector<Term> terms;
        add_terms(terms, g.p, p.c, 0);
        for (int start = 0; start < end(); start += B) {
            each(start, [&](size_t at, float*) {
                for (int c = 0; c < p.c; c += PAIR)
                    store(g.p + at * p.c + c, relu(load(from + at * p.c + c)), relu(load(from + at * p.c + c + LANES)));
            });
            multiply(terms, head.forward, p.c, start);
            each(start, [&](size_t at, float* sum) {
                add(sum, head.bias, p.c);
                for (int c = 0; c < p.c; c += PAIR)
                    store(top.p + at * p.c + c, relu(load(sum + c)), relu(load(sum + c + LANES)));
            });
        }
    }

    // Its gradient. dh[now]: that of top, replaced by that of h. Expects what `forward_head` left in g and top.
    void backward_head(const Head& head, int& now, float* d_weights) {
        const number* from = h[slot(p.layers.size())].p;
        float* d_bias = d_weights + size_t(p.c) * p.c;
        number *d = dh[now].p, *to = dh[1 - now].p;
        now = 1 - now;
        std::vector<Term> terms;
        add_terms(terms, d, p.c, 0);
        for (int start = 0; start < end(); start += B) {
            each(start, [&](size_t at, float*) {
                number *d_at = d + at * p.c, *top_at = top.p + at * p.c;
                for (int c = 0; c < p.c; c += PAIR)
                    put(d_at, d_bias, c, where_positive(load(top_at + c), load(d_at + c)),
                        where_positive(load(top_at + c + LANES), load(d_at + c + LANES)));
            });
            multiply(terms, head.back, p.c, start);
            each(start, [&](size_t at, float* sum) {
                const number* h_at = from + at * p.c;
                for (int c = 0; c < p.c; c += PAIR)
                    store(to + at * p.c + c, where_positive(load(h_at + c), load(sum + c)),
                          where_positive(load(h_at + c + LANES), load(sum + c + LANES)));
            });
        }
        g_right.set(p, g.p, p.c, false);
        dht.set(p, d, p.c);
        add_outers(p, {{d_weights, &dht, &g_right, 0}});
    }

    // Gradients of layer l. dh[now], dv[now]: those of its outputs, replaced by those of its inputs (not of an image);
    // dv_known: false above the last layer. d_parameters: each tap's matrix is (outputs, inputs). d_condition: (2, w).
    void backward(int l, const Weights& net, int& now, bool dv_known, float* d_parameters, float* d_condition) {
        const number *dh_out = dh[now].p, *dv_out = dv[now].p;
        backward_units(l, net, dh_out, dv_known ? dv_out : nullptr, d_parameters, d_condition);
        now = 1 - now;
        if (!p.is_first(p.layers[l])) backward_inputs(p.layers[l], net, dh_out, dh[now].p, dv[now].p);
        backward_weights(l, dh_out, d_parameters);
        add(d_parameters + p.layers[l].bias_v, d_condition, p.w);
        add(d_parameters + p.layers[l].bias_h, d_condition + p.w, p.w);
    }

    // Gradients before the non-linearities, ds and du, and of biases.
    void backward_units(int l, const Weights& net, const number* dh_out, const number* dv_out, float* d_parameters,
                        float* d_condition) {
        float *dbias_v = d_condition, *dbias_h = d_condition + p.w, *dbias_o = d_parameters + p.layers[l].bias_o;
        const number *s_keep = s_kept[turn(l)].p, *u_keep = u_kept[turn(l)].p;
        std::vector<Term> from_out, from_link;
        add_terms(from_out, dh_out, p.c, 0);
        add_terms(from_link, ds.p, p.w, 0);
        for (int start = 0; start < end(); start += B) {
            multiply(from_out, net.back_o, p.c, start);
            each(start, [&](size_t at, float* sum) {
                const number *kept = s_keep + at * p.w, *dh_at = dh_out + at * p.c;
                for (int c = 0; c < p.c; c += LANES) store(dbias_o + c, load(dbias_o + c) + load(dh_at + c));
                for (int c = 0; c < p.c; c += PAIR) {
                    floats low[2], high[2];
                    const floats g_low = derive(p, kept, load(sum + c), c, low);
                    store(g.p + at * p.c + c, g_low, derive(p, kept, load(sum + c + LANES), c + LANES, high));
                    for (int part = 0; part <= p.s.gated; part++)
                        put(ds.p + at * p.w, dbias_h, part * p.c + c, low[part], high[part]);
                }
            });
            multiply(from_link, net.back_link, p.w, start);
            each(start, [&](size_t at, float* sum) {
                const number* kept = u_keep + at * p.w;
                for (int c = 0; c < p.c; c += PAIR) {
                    floats low[2] = {}, high[2] = {};
                    if (dv_out) {
                        derive(p, kept, load(dv_out + at * p.c + c), c, low);
                        derive(p, kept, load(dv_out + at * p.c + c + LANES), c + LANES, high);
                    }
                    for (int part = 0; part <= p.s.gated; part++) {
                        const float* link = sum + part * p.c + c;
                        put(du.p + at * p.w, dbias_v, part * p.c + c, low[part] + load(link), high[part] + load(link + LANES));
                    }
                }
            });
        }
    }

    // Gradients of a block's inputs.
    void backward_inputs(const Layer& layer, const Weights& net, const number* dh_out, number* dh_in, number* dv_in) {
        std::vector<Term> from_h, from_v;
        for (int tap : layer.h_taps) add_terms(from_h, ds.p, p.w, -tap);
        for (int tap : layer.v_taps) add_terms(from_v, du.p, p.w, -tap);
        for (int start = 0; start < end(); start += B) {
            multiply(from_h, net.back_h, p.c, start);
            each(start, [&](size_t at, float* sum) {
                for (int c = 0; c < p.c; c += PAIR)
                    store(dh_in + at * p.c + c, load(sum + c) + load(dh_out + at * p.c + c),
                          load(sum + c + LANES) + load(dh_out + at * p.c + c + LANES));
            });
            multiply(from_v, net.back_v, p.c, start);
            each(start, [&](size_t at, float* sum) {
                for (int c = 0; c < p.c; c += PAIR) store(dv_in + at * p.c + c, load(sum + c), load(sum + c + LANES));
            });
        }
    }

    // Gradients of weights: sums over pixels of (output, input).
    void backward_weights(int l, const number* dh_out, float* d_parameters) {
        const Layer& layer = p.layers[l];
        v_right.set(p, v[slot(l)].p, layer.v_channels, layer.residual);
        h_right.set(p, h[slot(l)].p, layer.h_channels, layer.residual);
        u_right.set(p, u[turn(l)].p, p.w, false);
        g_right.set(p, g.p, p.c, false);
        dst.set(p, ds.p, p.w);
        dut.set(p, du.p, p.w);
        dht.set(p, dh_out, p.c);
        float *d_vertical = scratch(d_parameters, layer, true), *d_horizontal = scratch(d_parameters, layer, false);
        std::vector<Outer> outers;
        for (size_t t = 0; t < layer.v_taps.size(); t++)
            outers.push_back({d_vertical + t * layer.v_channels * p.w, &dut, &v_right, layer.v_taps[t]});
        for (size_t t = 0; t < layer.h_taps.size(); t++)
            outers.push_back({d_horizontal + t * layer.h_channels * p.w, &dst, &h_right, layer.h_taps[t]});
        outers.push_back({d_parameters + layer.link, &dst, &u_right, 0});
        outers.push_back({d_parameters + layer.out, &dht, &g_right, 0});
        add_outers(p, outers);
    }

    // Where the gradients of a layer's convolutions are summed: those of the first layer, whose channels are padded to a
    // multiple of 32, stand behind all parameters.
    float* scratch(float* d_parameters, const Layer& layer, bool vertical) const {
        if (!p.is_first(layer)) return d_parameters + (vertical ? layer.vertical : layer.horizontal);
        return d_parameters + p.parameters + (vertical ? 0 : size_t(layer.v_channels) * p.w);
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

// How many numbers of an image the forward pass keeps, if it is asked to.
long causal_layers_kept(const Shape* shape) {
    const Plan p(*shape);
    return long(p.layers.size() * Kept::size(p));
}

// v, h, output: (images, height, width, channels); with a first layer v is the image (images, height, width, inputs),
// rescaled, and h is not read. parameters: those of the layers, then of the hidden layer, each (outputs, inputs, rows,
// columns) and then its bias, if it has one. condition: float32 (images, layers, 2, width), or null. kept: numbers for the
// backward pass, `causal_layers_kept` an image, or null. Returns 0, or 1 where memory ran out.
int causal_layers_forward(const Shape* shape, const float* parameters, const float* condition, const number* v,
                          const number* h, number* output, number* kept) try {
    const Plan p(*shape);
    const auto nets = pack_all(p, parameters, false);
    const Head head = pack_head(p, parameters);
    const int count = std::max(1, std::min(shape->threads, shape->images));
    std::vector<std::unique_ptr<Work>> works;
    for (int t = 0; t < count; t++) works.emplace_back(new Work(p, false, false));
    const size_t area = size_t(p.height) * p.width, entering = area * (p.s.inputs ? p.s.inputs : p.c);
    const size_t biases = p.layers.size() * 2 * p.w, keeping = p.layers.size() * Kept::size(p);
    in_threads(*shape, [&](int t, long first, long last) {
        begin_tiles();
        for (long n = first; n < last; n++) {
            works[t]->forward(nets, head, condition ? condition + n * biases : nullptr, v + n * entering, h + n * entering,
                              kept ? kept + n * keeping : nullptr);
            write_image(p, works[t]->top.p, output + n * area * p.c, p.c);
        }
        end_tiles();
    });
    return 0;
} catch (const std::bad_alloc&) {
    return 1;
}

// d_output: gradient of the output; dv, dh: those of v and h, not written with a first layer. d_parameters: float32, as the
// parameters. d_condition: float32 (images, layers, 2, width), always written. kept: as the forward pass left it.
int causal_layers_backward(const Shape* shape, const float* parameters, const float* condition, const number* v,
                           const number* h, const number* d_output, number* dv, number* dh, float* d_parameters,
                           float* d_condition, number* kept) try {
    const Plan p(*shape);
    const auto nets = pack_all(p, parameters, true);
    const Head head = pack_head(p, parameters);
    const int count = std::max(1, std::min(shape->threads, shape->images)), layers = p.layers.size();
    const size_t area = size_t(p.height) * p.width, entering = area * (p.s.inputs ? p.s.inputs : p.c);
    const size_t biases = p.layers.size() * 2 * p.w, keeping = p.layers.size() * Kept::size(p);
    size_t total = p.parameters;
    if (p.s.inputs) total += size_t(p.layers[0].v_channels + p.layers[0].h_channels) * p.w;
    std::vector<std::unique_ptr<Work>> works;
    std::vector<Array<float>> gradients(count);
    for (int t = 0; t < count; t++) {
        works.emplace_back(new Work(p, !kept, true));
        gradients[t].make(total);
    }
    std::fill(d_condition, d_condition + shape->images * biases, 0.0f);
    in_threads(*shape, [&](int t, long first, long last) {
        begin_tiles();
        Work& work = *works[t];
        float* gradient = gradients[t].get();
        for (long n = first; n < last; n++) {
            number* of_image = kept ? kept + n * keeping : nullptr;
            if (kept) {
                work.enter(v + n * entering, h + n * entering);
                work.restore(of_image, layers - 1);
                work.forward_head(head);
            } else {
                work.forward(nets, head, condition ? condition + n * biases : nullptr, v + n * entering, h + n * entering,
                             nullptr);
            }
            int now = 0;
            read_image(p, d_output + n * area * p.c, work.dh[now].p, p.c);
            work.backward_head(head, now, gradient + p.hidden);
            for (int l = layers - 1; l >= 0; l--) {
                if (kept && l < layers - 1) work.restore(of_image, l);
                work.backward(l, nets[l], now, l < layers - 1, gradient, d_condition + n * biases + l * 2 * p.w);
            }
            if (p.s.inputs) continue;
            write_image(p, work.dv[now].p, dv + n * entering, p.c);
            write_image(p, work.dh[now].p, dh + n * entering, p.c);
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
