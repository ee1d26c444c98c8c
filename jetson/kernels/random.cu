// Tables of random numbers, for what is not drawn inside another kernel.

#include "threefry.cuh"

namespace {

constexpr int kLanes = 256;

enum Kind { kBits, kUniform, kNormal, kGumbel };

// out [rows, count]: row b is of keys[b], or of fold(keys[b], *step) where there is a step.
template <int kind>
__global__ void numbers(const uint32_t* keys, const int32_t* step, void* out, int count,
                        int chunks) {
  const int row = blockIdx.x / chunks;
  const int i = blockIdx.x % chunks * kLanes + threadIdx.x;
  if (i >= count) return;
  Key key{keys[2 * row], keys[2 * row + 1]};
  if (step) key = folded(key, *step);
  const int64_t at = static_cast<int64_t>(row) * count + i;
  if constexpr (kind == kBits) {
    const Key words = hashed(key, i);
    static_cast<uint32_t*>(out)[at] = words.a ^ words.b;
  } else {
    static_cast<float*>(out)[at] = kind == kUniform ? uniform(key, i)
                                   : kind == kNormal ? normal(key, i)
                                                     : gumbel(key, i);
  }
}

}  // namespace

extern "C" {

// kind: 0 bits u32, 1 uniforms, 2 normals, 3 Gumbels f32. keys u32[rows, 2]; step i32[1] or null.
int tandem_random(int kind, const uint32_t* keys, const int32_t* step, void* out, int rows,
                  int count, void* stream) {
  decltype(&numbers<kBits>) kernels[] = {numbers<kBits>, numbers<kUniform>, numbers<kNormal>,
                                         numbers<kGumbel>};
  auto kernel = kernels[kind];
  const int chunks = (count + kLanes - 1) / kLanes;
  LAUNCH(kernel, rows * chunks, kLanes, 0, stream, keys, step, out, count, chunks);
  return FINISH();
}

const char* tandem_error(int code) {
#ifdef __CUDACC__
  return cudaGetErrorString(static_cast<cudaError_t>(code));
#else
  return emulator::error_string(code);
#endif
}

#ifndef __CUDACC__
void tandem_backward(int yes) { emulator::backward = yes; }
#endif

}  // extern "C"
