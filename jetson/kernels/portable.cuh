// What the kernels are written in: CUDA under nvcc, and under any other C++ compiler the same words
// with emulator.h behind them.

#pragma once
#include <cstdint>

#ifdef __CUDACC__
#include <cuda_fp16.h>
using Half = __half;
#define ANY __host__ __device__ __forceinline__
#define LAUNCH(kernel, blocks, lanes, bytes, stream, ...) \
  kernel<<<blocks, lanes, bytes, static_cast<cudaStream_t>(stream)>>>(__VA_ARGS__)
#define FINISH() static_cast<int>(cudaGetLastError())
#define DYNAMIC_SHARED(type, name)               \
  extern __shared__ __align__(16) char bytes_[]; \
  type* name = reinterpret_cast<type*>(bytes_)
#else
#include "emulator.h"
using Half = _Float16;
#define ANY inline
#define LAUNCH(kernel, blocks, lanes, bytes, stream, ...) \
  (void)(stream), emulator::launch(kernel, blocks, lanes, bytes, __VA_ARGS__)
#define FINISH() emulator::finish()
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(emulator::shared)
#endif

constexpr int kWarp = 32;
constexpr unsigned kAll = 0xffffffffu;

// Over the 32 lanes of a warp; every lane gets the result.
__device__ inline float warp_max(float v) {
  for (int d = kWarp / 2; d; d /= 2) v = fmaxf(v, __shfl_xor_sync(kAll, v, d));
  return v;
}

__device__ inline float warp_sum(float v) {
  for (int d = kWarp / 2; d; d /= 2) v += __shfl_xor_sync(kAll, v, d);
  return v;
}

// The sum over this lane and those before it.
__device__ inline float warp_scan(float v) {
  const int lane = threadIdx.x % kWarp;
  for (int d = 1; d < kWarp; d *= 2) {
    const float before = __shfl_up_sync(kAll, v, d);
    if (lane >= d) v += before;
  }
  return v;
}
