// What stands between the matrix products of a block, each in one pass over memory:
//
//   modulate   LN(x) (1 + scale) + shift
//   residual   x + gate h
//   both       x + gate h, and the modulated norm of it
//
// x, h [B, L, D]; shift, scale, gate [B, D] with rows `stride` apart, as chunks of one table are.
// All of one type, float or half; sums are float. A warp a row of D.

#include "portable.cuh"

namespace {

constexpr int kWarps = 4;

template <typename T>
struct Rows {
  const T *x, *h, *shift, *scale, *gate;
  T *sum, *out;  // x + gate h and the modulated norm; either may be null
  int count, length, width, stride;
  float eps;
};

// Rounded as it will be read back: the norm is of what `sum` holds.
template <typename T, bool kGated>
__device__ inline float value(const Rows<T>& r, int64_t at, int64_t by, int i) {
  const float x = static_cast<float>(r.x[at + i]);
  if constexpr (!kGated) return x;
  const float gated = static_cast<float>(r.gate[by + i]) * static_cast<float>(r.h[at + i]);
  return static_cast<float>(static_cast<T>(x + gated));
}

template <typename T, bool kGated>
__global__ void __launch_bounds__(kWarps* kWarp) rows(Rows<T> r) {
  const int lane = threadIdx.x % kWarp, row = blockIdx.x * kWarps + threadIdx.x / kWarp;
  if (row >= r.count) return;
  const int64_t at = static_cast<int64_t>(row) * r.width;
  const int64_t by = static_cast<int64_t>(row / r.length) * r.stride;
  if (!r.out) {
    for (int i = lane; i < r.width; i += kWarp)
      r.sum[at + i] = static_cast<T>(value<T, kGated>(r, at, by, i));
    return;
  }
  // Mean and variance in two passes: x^2 alone would overflow or cancel. A row is short, so all
  // passes after the first find it in the cache.
  float mean = 0.0f, variance = 0.0f;
  for (int i = lane; i < r.width; i += kWarp) mean += value<T, kGated>(r, at, by, i);
  mean = warp_sum(mean) / r.width;
  for (int i = lane; i < r.width; i += kWarp) {
    const float d = value<T, kGated>(r, at, by, i) - mean;
    variance += d * d;
  }
  const float over = 1.0f / sqrtf(warp_sum(variance) / r.width + r.eps);
  for (int i = lane; i < r.width; i += kWarp) {
    const float x = value<T, kGated>(r, at, by, i);
    const float scale = 1.0f + static_cast<float>(r.scale[by + i]);
    const float shift = static_cast<float>(r.shift[by + i]);
    if (kGated) r.sum[at + i] = static_cast<T>(x);  // sum may be x itself: lane i alone reads it
    r.out[at + i] = static_cast<T>((x - mean) * over * scale + shift);
  }
}

template <typename T>
int launch(const void* x, const void* h, const void* shift, const void* scale, const void* gate,
           void* sum, void* out, int count, int length, int width, int stride, float eps,
           void* stream) {
  const auto in = [](const void* p) { return static_cast<const T*>(p); };
  const Rows<T> r{in(x), in(h), in(shift), in(scale), in(gate), static_cast<T*>(sum),
                  static_cast<T*>(out), count, length, width, stride, eps};
  auto kernel = gate ? rows<T, true> : rows<T, false>;
  LAUNCH(kernel, (count + kWarps - 1) / kWarps, kWarps * kWarp, 0, stream, r);
  return FINISH();
}

}  // namespace

// Null h and gate: modulate. Null shift, scale and out: residual. count: B L rows of x.
extern "C" int tandem_rows(int half, const void* x, const void* h, const void* shift,
                           const void* scale, const void* gate, void* sum, void* out, int count,
                           int length, int width, int stride, float eps, void* stream) {
  auto run = half ? launch<Half> : launch<float>;
  return run(x, h, shift, scale, gate, sum, out, count, length, width, stride, eps, stream);
}
