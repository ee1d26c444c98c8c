// A token for one hidden place from its V logits, by the lanes of one block.
//
// Each logit is read once. What an id may weigh, 2^(scale (logit - most)), is summed against the
// most of its group of 128 ids, and groups are put together at the end ("online softmax", Milakov
// and Gimelshein, arXiv:1805.02867). By inverse CDF one group of 128 is then looked at again.

#pragma once
#include "threefry.cuh"

constexpr int kLanes = 256, kWarps = kLanes / kWarp;
constexpr int kEach = 4, kGroup = kEach * kWarp;  // 128, as diffusion/tokens.py has it
constexpr float kLog2E = 0x1.715476p+0f;

struct Group {
  float most;         // of its logits
  float mass, plain;  // sums of 2^(scale (logit - most)): at the temperature, and at 1
};

struct Place {
  int id;
  float before;  // the sum ahead of it
};

struct Best {
  float score;
  int id;
};

ANY Best better(Best a, Best b) {
  return b.score > a.score || (b.score == a.score && b.id < a.id) ? b : a;
}

// 0 for what was ruled out, also where all of a group was.
ANY float weight(float logit, float most, float scale) {
  return logit > -INFINITY ? exp2f(scale * (logit - most)) : 0.0f;
}

__device__ inline Best warp_best(Best mine) {
  for (int d = kWarp / 2; d; d /= 2) {
    const Best other{__shfl_xor_sync(kAll, mine.score, d), __shfl_xor_sync(kAll, mine.id, d)};
    mine = better(mine, other);
  }
  return mine;
}

// Logits of which two ids are silent; those behind the last count as ruled out.
template <typename T>
struct Logits {
  const T* row;
  int size, mask_id, pad_id;

  // Always loads, so that several loads are under way at once.
  __device__ float operator[](int id) const {
    const float l = static_cast<float>(row[id < size ? id : size - 1]);
    return id < size && id != mask_id && id != pad_id ? l : -INFINITY;
  }
};

// The first of n places where the running sum of mass(i) exceeds level; the heaviest where
// rounding leaves none. By one warp.
template <typename Mass>
__device__ Place first_above(float level, int n, Mass mass) {
  const int lane = threadIdx.x % kWarp;
  float sum = 0.0f, before = 0.0f;
  Best heaviest{-1.0f, 0};
  for (int base = 0; base < n; base += kWarp) {
    const int i = base + lane;
    const float m = i < n ? mass(i) : 0.0f;
    const float upto = sum + warp_scan(m);
    if (const unsigned fits = __ballot_sync(kAll, m > 0.0f && upto > level)) {
      const int first = __ffs(fits) - 1;
      return {base + first, __shfl_sync(kAll, upto - m, first)};
    }
    if (m > heaviest.score) heaviest = {m, i}, before = upto - m;
    sum = __shfl_sync(kAll, upto, kWarp - 1);
  }
  const int id = warp_best(heaviest).id;
  return {id, __shfl_sync(kAll, before, id % kWarp)};
}

// Sums of one group by one warp; scale is log2(e) / temperature.
__device__ inline Group summed(const float* l, float scale, bool ordered) {
  float most = l[0], mass = 0.0f, plain = 0.0f;
  for (int k = 1; k < kEach; ++k) most = fmaxf(most, l[k]);
  most = warp_max(most);
  for (int k = 0; k < kEach; ++k) {
    const float m = weight(l[k], most, scale);
    mass += m;
    if (ordered) plain += scale == kLog2E ? m : weight(l[k], most, kLog2E);
  }
  return {most, warp_sum(mass), ordered ? warp_sum(plain) : 0.0f};
}

// The best of this lane's logits with noise, over `best`. Threefry costs more than all else, and
// noise is at most kGumbelMost: what could not win even with that draws none. The result is the
// same as with noise on all, as long as logits are below 2^16 (rounding stays below the slack).
__device__ inline Best noisy(const float* l, int base, Best best, float inverse, Key key,
                             uint32_t count) {
  const float bar = warp_max(best.score);
  for (int k = 0; k < kEach; ++k) {
    const float score = l[k] * inverse;
    const int id = base + k * kWarp + threadIdx.x % kWarp;
    if (score + kGumbelMost > fmaxf(bar, best.score))
      best = better(best, {score + gumbel(key, count + id), id});
  }
  return best;
}

// By the first warp, once all groups are summed.
template <typename T>
__device__ int inverted(const Logits<T>& logits, const Group* groups, int n, float most,
                        float scale, float u) {
  const int lane = threadIdx.x % kWarp;
  const auto held = [&](int g) { return groups[g].mass * weight(groups[g].most, most, scale); };
  float total = 0.0f;
  for (int g = lane; g < n; g += kWarp) total += held(g);
  const float level = u * warp_sum(total);
  const Place at = first_above(level, n, held);
  const auto mass = [&](int i) { return weight(logits[at.id * kGroup + i], most, scale); };
  return at.id * kGroup + first_above(fmaxf(level - at.before, 0.0f), kGroup, mass).id;
}
