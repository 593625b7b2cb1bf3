// Max-pooling of 2 x 2 that keeps the last row and column of an odd size, in bfloat16 with channels last. The gradient
// goes to the first largest pixel of each window, found again from the inputs instead of stored as an index.

#include "bfloat16.h"

#include <algorithm>

extern "C" {

// x: (images, height, width, channels); y: half as high and wide, rounded up.
void max_pool_forward(int images, int height, int width, int channels, int threads, const bf16* x, bf16* y) {
    const int rows = (height + 1) / 2, columns = (width + 1) / 2;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int n = 0; n < images; n++)
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++) {
                const long above = ((long(n) * height + 2 * i) * width + 2 * j) * channels;
                const long right = 2 * j + 1 < width ? channels : 0, below = 2 * i + 1 < height ? long(width) * channels : 0;
                bf16* to = y + ((long(n) * rows + i) * columns + j) * channels;
                for (int c = 0; c < channels; c += 16) {
                    const bf16* from = x + above + c;
                    const __m512 top = _mm512_max_ps(load16(from), load16(from + right));
                    const __m512 bottom = _mm512_max_ps(load16(from + below), load16(from + below + right));
                    store16(to + c, _mm512_max_ps(top, bottom));
                }
            }
}

// dy, dx: gradients of y and x.
void max_pool_backward(int images, int height, int width, int channels, int threads, const bf16* x, const bf16* dy, bf16* dx) {
    const int rows = (height + 1) / 2, columns = (width + 1) / 2;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int n = 0; n < images; n++)
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++) {
                const long above = ((long(n) * height + 2 * i) * width + 2 * j) * channels;
                const bool has_right = 2 * j + 1 < width, has_below = 2 * i + 1 < height;
                const long right = has_right ? channels : 0, below = has_below ? long(width) * channels : 0;
                const bf16* gradient = dy + ((long(n) * rows + i) * columns + j) * channels;
                for (int c = 0; c < channels; c += 16) {
                    const long at[4] = {above + c, above + c + right, above + c + below, above + c + below + right};
                    const __m512 x0 = load16(x + at[0]), x1 = load16(x + at[1]), x2 = load16(x + at[2]), x3 = load16(x + at[3]);
                    const __m512 largest = _mm512_max_ps(_mm512_max_ps(x0, x1), _mm512_max_ps(x2, x3));
                    const __m256i g = _mm256_loadu_si256((const __m256i*)(gradient + c));
                    __mmask16 open = 0xffff;
                    const __m512 values[4] = {x0, x1, x2, x3};
                    const bool there[4] = {true, has_right, has_below, has_right && has_below};
                    for (int k = 0; k < 4; k++) {
                        if (!there[k]) continue;
                        const __mmask16 here = _mm512_mask_cmp_ps_mask(open, values[k], largest, _CMP_EQ_OQ);
                        _mm256_storeu_si256((__m256i*)(dx + at[k]), _mm256_maskz_mov_epi16(here, g));
                        open &= ~here;
                    }
                }
            }
}
}
