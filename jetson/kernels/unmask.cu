// One step of unmasking: softmax, a token for each hidden place, how sure it is, which are shown.
//
//   by chance ("ancestral")   the coin comes first: logits of what stays hidden are never read
//   surest first ("confidence")   all hidden places, then their ranks in a second, small kernel
//
// Tokens are drawn as diffusion/tokens.py draws them: by inverse CDF from one uniform, or as the
// largest logit with Gumbel noise. Random numbers are those of jax.random: a place's are functions
// of (key of the row, step, place). Keys, step, shares and temperature are read from memory, so
// that a captured graph is replayed with others.

#include "unmask.cuh"

namespace {

struct Step {
  int64_t* x;               // [B, L], read and written
  const uint32_t* keys;     // [B, 2]
  const int32_t* step;      // [1]
  const float* kept;        // [steps]: P(hidden after the step | hidden before)
  const float* temperature;  // [1]
  int32_t* tokens;          // [B, L] of work space, of "confidence" alone
  float* said;              // [B, L]: of the tokens, -1 where nothing is hidden
  int length, size, mask_id, pad_id;

  __device__ Key key(int row, int stream) const {
    return folded(folded(Key{keys[2 * row], keys[2 * row + 1]}, *step), stream);
  }
};

template <typename T, bool kGumbel, bool kOrdered>
__global__ void __launch_bounds__(kLanes) draw(const T* out, Step s) {
  DYNAMIC_SHARED(Group, groups);
  __shared__ Best winners[kWarps];
  const int64_t place = blockIdx.x;
  const int row = place / s.length, at = place % s.length;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const bool hidden = s.x[place] == s.mask_id;
  if (!hidden || (!kOrdered && uniform(s.key(row, 1), at) < s.kept[*s.step])) {
    if (kOrdered && threadIdx.x == 0) s.said[place] = -1.0f;
    return;
  }
  const Logits<T> logits{out + place * s.size, s.size, s.mask_id, s.pad_id};
  const float inverse = 1.0f / *s.temperature, scale = kLog2E * inverse;
  const Key key = s.key(row, 0);
  const int n = (s.size + kGroup - 1) / kGroup;
  Best best{-INFINITY, s.size};
  for (int g = warp; g < n; g += kWarps) {
    float l[kEach];
    for (int k = 0; k < kEach; ++k) l[k] = logits[g * kGroup + k * kWarp + lane];
    if (kGumbel)
      best = noisy(l, g * kGroup, best, inverse, key, static_cast<uint32_t>(at) * s.size);
    if (kGumbel && !kOrdered) continue;
    const Group sums = summed(l, scale, kOrdered);
    if (lane == 0) groups[g] = sums;
  }
  if (kGumbel) {
    best = warp_best(best);
    if (lane == 0) winners[warp] = best;
  }
  __syncthreads();
  if (warp) return;
  float most = -INFINITY, plain = 0.0f;
  if (kOrdered || !kGumbel) {
    for (int g = lane; g < n; g += kWarp) most = fmaxf(most, groups[g].most);
    most = warp_max(most);
  }
  int token;
  if (kGumbel) {
    for (int w = 0; w < kWarps; ++w) best = better(best, winners[w]);
    token = best.id;
  } else {
    token = inverted(logits, groups, n, most, scale, uniform(key, at));
  }
  if (kOrdered) {
    for (int g = lane; g < n; g += kWarp)
      plain += groups[g].plain * weight(groups[g].most, most, kLog2E);
    plain = warp_sum(plain);
  }
  if (lane) return;
  if (!kOrdered) {
    s.x[place] = token;
    return;
  }
  s.tokens[place] = token;
  s.said[place] = weight(logits[token], most, kLog2E) / plain;
}

// A block a row: the surest are shown, of equals those further left; a share of a token by a coin.
__global__ void __launch_bounds__(kLanes) show(Step s) {
  __shared__ float counts[kWarps];
  const int row = blockIdx.x;
  const int64_t first = static_cast<int64_t>(row) * s.length;
  const float* said = s.said + first;
  float hidden = 0.0f;
  for (int i = threadIdx.x; i < s.length; i += kLanes) hidden += said[i] >= 0.0f;
  hidden = warp_sum(hidden);
  if (threadIdx.x % kWarp == 0) counts[threadIdx.x / kWarp] = hidden;
  __syncthreads();
  float total = 0.0f;
  for (int w = 0; w < kWarps; ++w) total += counts[w];
  const float shown = total - floorf(total * s.kept[*s.step] + uniform(s.key(row, 2), 0));
  for (int i = threadIdx.x; i < s.length; i += kLanes) {
    if (said[i] < 0.0f) continue;
    int rank = 0;
    for (int j = 0; j < s.length; ++j) rank += said[j] > said[i] || (said[j] == said[i] && j < i);
    if (rank < shown) s.x[first + i] = s.tokens[first + i];
  }
}

template <typename T, bool kGumbel, bool kOrdered>
int launch(const void* logits, const Step& s, int rows, void* stream) {
  auto kernel = draw<T, kGumbel, kOrdered>;
  const size_t bytes = (s.size + kGroup - 1) / kGroup * sizeof(Group);
  LAUNCH(kernel, rows * s.length, kLanes, bytes, stream, static_cast<const T*>(logits), s);
  if (kOrdered) LAUNCH(show, rows, kLanes, 0, stream, s);
  return FINISH();
}

}  // namespace

// logits [rows, length, size], float or half. ordered: "confidence", which wants tokens and said.
// Returns a CUDA error, 0 for none.
extern "C" int tandem_unmask(int half, int gumbel, int ordered, const void* logits, int64_t* x,
                             const uint32_t* keys, const int32_t* step, const float* kept,
                             const float* temperature, int32_t* tokens, float* said, int rows,
                             int length, int size, int mask_id, int pad_id, void* stream) {
  const Step s{x, keys, step, kept, temperature, tokens, said, length, size, mask_id, pad_id};
  constexpr decltype(&launch<float, false, false>) table[] = {
      launch<float, false, false>, launch<float, false, true>, launch<float, true, false>,
      launch<float, true, true>,   launch<Half, false, false>, launch<Half, false, true>,
      launch<Half, true, false>,   launch<Half, true, true>};
  return table[4 * !!half + 2 * !!gumbel + !!ordered](logits, s, rows, stream);
}
