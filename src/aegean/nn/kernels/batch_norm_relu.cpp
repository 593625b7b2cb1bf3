// Batch normalisation with the statistics of the batch (Ioffe and Szegedy, 2015), then ReLU, in bfloat16 with channels
// last; and its gradient. Each direction takes two passes over memory: one for sums over pixels, one for the result.
// Sums are float32 over runs of pixels, and double over the runs.

#include "bfloat16.h"

#include <algorithm>
#include <vector>

namespace {

constexpr long RUN = 256;  // pixels that are summed in float32

// Divide the pixels among threads. They are those of PyTorch, whose library of OpenMP is the one that is loaded.
template <class F>
void in_threads(int threads, long pixels, F work) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int t = 0; t < threads; t++) work(t, pixels * t / threads, pixels * (t + 1) / threads);
}

// Two sums over pixels for each channel; terms(at, channel, a, b) gives what one pixel adds, 16 channels at a time.
template <class F>
void sums(int threads, long pixels, int channels, double* a, double* b, F terms) {
    std::vector<std::vector<double>> found(threads, std::vector<double>(2 * channels, 0.0));
    in_threads(threads, pixels, [&](int t, long first, long last) {
        std::vector<float> run(2 * channels);
        for (long start = first; start < last; start += RUN) {
            for (int c = 0; c < channels; c += 16) {
                __m512 sum_a = _mm512_setzero_ps(), sum_b = _mm512_setzero_ps();
                for (long p = start; p < std::min(start + RUN, last); p++) {
                    __m512 x, y;
                    terms(p * channels + c, c, x, y);
                    sum_a = _mm512_add_ps(sum_a, x);
                    sum_b = _mm512_add_ps(sum_b, y);
                }
                _mm512_storeu_ps(&run[c], sum_a);
                _mm512_storeu_ps(&run[channels + c], sum_b);
            }
            for (int c = 0; c < 2 * channels; c++) found[t][c] += run[c];
        }
    });
    for (int c = 0; c < channels; c++) {
        a[c] = b[c] = 0;
        for (const auto& part : found) {
            a[c] += part[c];
            b[c] += part[channels + c];
        }
    }
}

}  // namespace

extern "C" {

// x, y: bfloat16 (pixels, channels). Writes the mean, the (biased) variance and 1 / sqrt(variance + eps) of each channel.
void batch_norm_relu_forward(long pixels, int channels, int threads, float eps, const bf16* x, const float* weight,
                             const float* bias, bf16* y, float* mean, float* variance, float* inverse) {
    std::vector<double> sum(channels), squares(channels);
    std::vector<float> shift(channels), scale(channels);
    for (int c = 0; c < channels; c++) {  // sums of squares around some value lose less than around 0
        const uint32_t bits = uint32_t(x[c]) << 16;
        __builtin_memcpy(&shift[c], &bits, 4);
    }
    sums(threads, pixels, channels, sum.data(), squares.data(), [&](long at, int c, __m512& a, __m512& b) {
        a = _mm512_sub_ps(load16(x + at), _mm512_loadu_ps(&shift[c]));
        b = _mm512_mul_ps(a, a);
    });
    for (int c = 0; c < channels; c++) {
        const double m = sum[c] / pixels;
        mean[c] = float(m + shift[c]);
        variance[c] = float(std::max(squares[c] / pixels - m * m, 0.0));
        inverse[c] = 1.0f / __builtin_sqrtf(variance[c] + eps);
        scale[c] = weight[c] * inverse[c];
        shift[c] = bias[c] - mean[c] * scale[c];
    }
    in_threads(threads, pixels, [&](int, long first, long last) {
        for (long p = first; p < last; p++)
            for (int c = 0; c < channels; c += 16) {
                const long at = p * channels + c;
                const __m512 z = _mm512_fmadd_ps(load16(x + at), _mm512_loadu_ps(&scale[c]), _mm512_loadu_ps(&shift[c]));
                store16(y + at, _mm512_max_ps(z, _mm512_setzero_ps()));
            }
    });
}

void batch_norm_relu_backward(long pixels, int channels, int threads, const bf16* x, const bf16* dy, const float* weight,
                              const float* bias, const float* mean, const float* inverse, bf16* dx, float* d_weight,
                              float* d_bias) {
    std::vector<float> scale(channels), shift(channels), from_d(channels), from_x(channels), constant(channels);
    for (int c = 0; c < channels; c++) {
        scale[c] = weight[c] * inverse[c];
        shift[c] = bias[c] - mean[c] * scale[c];
    }
    const auto masked = [&](long at, int c, __m512 value) {
        const __m512 z = _mm512_fmadd_ps(value, _mm512_loadu_ps(&scale[c]), _mm512_loadu_ps(&shift[c]));
        return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(z, _mm512_setzero_ps(), _CMP_GT_OQ), load16(dy + at));
    };
    std::vector<double> sum(channels), with_x(channels);
    sums(threads, pixels, channels, sum.data(), with_x.data(), [&](long at, int c, __m512& a, __m512& b) {
        const __m512 value = load16(x + at);
        a = masked(at, c, value);
        b = _mm512_mul_ps(a, _mm512_sub_ps(value, _mm512_loadu_ps(&mean[c])));
    });
    for (int c = 0; c < channels; c++) {
        d_bias[c] = float(sum[c]);
        d_weight[c] = float(with_x[c] * inverse[c]);
        // dx = scale (d - mean(d) - x^ mean(d x^)),  x^ = (x - mean) inverse
        const double slope = with_x[c] * inverse[c] * inverse[c] / pixels;
        from_d[c] = scale[c];
        from_x[c] = float(-scale[c] * slope);
        constant[c] = float(scale[c] * (slope * mean[c] - sum[c] / pixels));
    }
    in_threads(threads, pixels, [&](int, long first, long last) {
        for (long p = first; p < last; p++)
            for (int c = 0; c < channels; c += 16) {
                const long at = p * channels + c;
                const __m512 value = load16(x + at);
                __m512 d = _mm512_fmadd_ps(value, _mm512_loadu_ps(&from_x[c]), _mm512_loadu_ps(&constant[c]));
                store16(dx + at, _mm512_fmadd_ps(masked(at, c, value), _mm512_loadu_ps(&from_d[c]), d));
            }
    });
}
}
