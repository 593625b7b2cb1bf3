// Matrix products of feature maps, for the layers of a PixelCNN: of 32 pixels, 32 channels in and 32 out. Sums are float32.
#pragma once

#include "vectors.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

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
    T* get() const { return memory.get(); }
};

struct Grid {  // where the pixels of an image stand among the empty ones
    int height, width, stride;  // stride: pixels from row to row
    int pixels, room;           // of the padded image (a multiple of B), of a buffer
    int before;                 // in front of pixel 0
    // The pixels in the order of work, B at a time; -1 where there is nothing to do.
    std::vector<int> order;
};

struct Term {  // one tap and 32 of its input channels
    const number* a;  // at pixel 0
    long stride;      // elements between pixels
    const number* b;  // 32 inputs x 32 outputs, packed: see `position`
};

struct Left;   // gradients of outputs, (pixels, channels), as left factor of a sum over pixels
struct Right;  // inputs, (pixels, channels), as right factor

struct Outer {  // to (channels of a, channels of b) += sum over pixels of a (pixel) b (pixel + tap)
    float* to;
    const Left* a;
    const Right* b;
    int tap;
};

}  // namespace

#ifdef FLOAT32
#include "products_float32.h"
#else
#include "products_bfloat16.h"
#endif
