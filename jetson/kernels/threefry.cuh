// jax.random's numbers, as jetson/threefry.py has them: Threefry-2x32 with 20 rounds (Salmon et
// al., SC 2011), counted as jax's "partitionable" numbers are. One number a (key, count), in any
// order, by any lane.

#pragma once
#include <cmath>

#include "portable.cuh"

struct Key {
  uint32_t a, b;
};

ANY uint32_t rotated(uint32_t x, int r) { return x << r | x >> (32 - r); }

// Two words of a key and a count below 2^32.
ANY Key hashed(Key key, uint32_t count) {
  const uint32_t k[3] = {key.a, key.b, key.a ^ key.b ^ 0x1BD11BDAu};
  const int turns[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
  uint32_t a = k[0], b = count + k[1];
#ifdef __CUDACC__
#pragma unroll
#endif
  for (int i = 0; i < 5; ++i) {
    for (int j = 0; j < 4; ++j) {
      a += b;
      b = a ^ rotated(b, turns[i % 2][j]);
    }
    a += k[(i + 1) % 3];
    b += k[(i + 2) % 3] + i + 1;
  }
  return {a, b};
}

// jax.random.fold_in(key, count), and as well jax.random.split(key, n)[count].
ANY Key folded(Key key, uint32_t count) { return hashed(key, count); }

// In [0, 1), a multiple of 2^-23.
ANY float uniform(Key key, uint32_t count) {
  const Key words = hashed(key, count);
  return static_cast<float>((words.a ^ words.b) >> 9) * 0x1p-23f;
}

// At most kGumbelMost: -log(-log(1 - 2^-23)) is 15.9424.
constexpr float kGumbelMost = 15.95f;

ANY float gumbel(Key key, uint32_t count) {
  return -logf(-logf(fmaxf(uniform(key, count), 0x1p-126f)));
}

// erf^-1 in (-1, 1), single precision: M. Giles, "Approximating the erfinv function", GPU
// Computing Gems (Jade edition), 2011; for w < 5 in w - 2.5, else in sqrt(w) - 3.
ANY float inverse_erf(float x) {
  const float near_[9] = {2.81022636e-08f, 3.43273939e-07f, -3.5233877e-06f,
                          -4.39150654e-06f, 0.00021858087f, -0.00125372503f,
                          -0.00417768164f, 0.246640727f, 1.50140941f};
  const float far_[9] = {-0.000200214257f, 0.000100950558f, 0.00134934322f,
                         -0.00367342844f, 0.00573950773f, -0.0076224613f,
                         0.00943887047f, 1.00167406f, 2.83297682f};
  const float w = -log1pf(-x * x);
  const bool close = w < 5.0f;
  const float z = close ? w - 2.5f : sqrtf(w) - 3.0f;
  float p = close ? near_[0] : far_[0];
  for (int i = 1; i < 9; ++i) p = (close ? near_[i] : far_[i]) + p * z;
  return p * x;
}

ANY float normal(Key key, uint32_t count) {
  const float low = -0x1.fffffep-1f;  // the float above -1
  return 0x1.6a09e6p+0f * inverse_erf(fmaxf(uniform(key, count) * (1.0f - low) + low, low));
}
