// What stands between the matrix products of a block, each in one pass over memory:
//
//   modulate   LN(x) (1 + scale) + shift
//   residual   x + gate h
//   both       x + gate h, and the modulated norm of it
//
// x, h [B, L, D]; shift, scale, gate [B, D] with rows `stride` apart, as chunks of one table are.
// h and the norm are what products read and write, float or half; all else is float, or x would be
// rounded at every branch. A warp a row of D.

#include "portable.cuh"

namespace {

constexpr int kWarps = 4;

template <typename T>
struct Rows {
  const float *x, *shift, *scale, *gate;
  const T* h;
  float* sum;  // x + gate h, and
  T* out;      // the modulated norm; either may be null
  int count, length, width, stride;
  float eps;
};

template <typename T, bool kGated>
__device__ inline float value(const Rows<T>& r, int64_t at, int64_t by, int i) {
  const float x = r.x[at + i];
  if constexpr (!kGated) return x;
  return x + r.gate[by + i] * static_cast<float>(r.h[at + i]);
}

template <typename T, bool kGated>
__global__ void __launch_bounds__(kWarps* kWarp) rows(Rows<T> r) {
  const int lane = threadIdx.x % kWarp, row = blockIdx.x * kWarps + threadIdx.x / kWarp;
  if (row >= r.count) return;
  const int64_t at = static_cast<int64_t>(row) * r.width;
  const int64_t by = static_cast<int64_t>(row / r.length) * r.stride;
  if (!r.out) {
    for (int i = lane; i < r.width; i += kWarp)
      r.sum[at + i] = value<T, kGated>(r, at, by, i);
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
    if (kGated) r.sum[at + i] = x;  // sum may be x itself: lane i alone reads it
    r.out[at + i] = static_cast<T>((x - mean) * over * (1.0f + r.scale[by + i]) + r.shift[by + i]);
  }
}

template <typename T>
int launch(const void* x, const void* h, const void* shift, const void* scale, const void* gate,
           void* sum, void* out, int count, int length, int width, int stride, float eps,
           void* stream) {
  const auto in = [](const void* p) { return static_cast<const float*>(p); };
  const Rows<T> r{in(x), in(shift), in(scale), in(gate), static_cast<const T*>(h),
                  static_cast<float*>(sum), static_cast<T*>(out), count, length, width, stride, eps};
  auto kernel = gate ? rows<T, true> : rows<T, false>;
  LAUNCH(kernel, (count + kWarps - 1) / kWarps, kWarps * kWarp, 0, stream, r);
  return FINISH();
}

}  // namespace

// Null h and gate: modulate. Null shift, scale and out: residual. count: B L rows of x. half: h, out.
extern "C" int tandem_rows(int half, const void* x, const void* h, const void* shift,
                           const void* scale, const void* gate, void* sum, void* out, int count,
                           int length, int width, int stride, float eps, void* stream) {
  auto run = half ? launch<Half> : launch<float>;
  return run(x, h, shift, scale, gate, sum, out, count, length, width, stride, eps, stream);
}
