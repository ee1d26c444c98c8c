// A GPU's grid on a CPU: the same kernels, compiled by any C++ compiler, for the tests.
//
// Blocks run one after the other. The lanes of a block are fibers: one runs until it waits at a
// barrier, then the next of its warp, and one warp as far as it can get before the next. Shuffles
// and votes are barriers of 32 lanes around a table. All may be run from the last to the first as
// well: a result that then differs lacks a barrier.

#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __launch_bounds__(lanes)

namespace emulator {

constexpr unsigned kWarp = 32;
constexpr size_t kStack = 64 << 10, kShared = 48 << 10;
constexpr int kStuck = 702;  // what CUDA calls a kernel that never ends

struct Barrier {
  unsigned arrived = 0, passed = 0;
};

struct Lane {
  jmp_buf at;
  std::vector<char> stack;
  const unsigned* gate;  // of the barrier it waits at; null: it may run
  unsigned seen, number;
  bool done;
};

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

inline bool backward = false;
inline int status = 0;
inline std::deque<Lane> lanes;  // of the largest block so far; they wait between blocks
inline std::vector<Barrier> warps;
inline std::vector<uint64_t> table;
inline Barrier whole;
inline jmp_buf scheduler;
inline Lane* now;
inline std::function<void()> body;
inline Index block, size;
alignas(16) inline char shared[kShared];

// From a lane to the scheduler. Jumps cost no system call, as swapcontext would.
inline void leave() {
  if (!_setjmp(now->at)) _longjmp(scheduler, 1);
}

inline void wait(Barrier& barrier, unsigned wanted) {
  if (++barrier.arrived == wanted) {
    barrier.arrived = 0;
    ++barrier.passed;
    return;
  }
  now->gate = &barrier.passed;
  now->seen = barrier.passed;
  leave();
}

inline void wait_warp() { wait(warps[now->number / kWarp], kWarp); }

inline void enter() {
  for (;;) {
    leave();
    body();
    now->done = true;
  }
}

inline void start() {
  Lane& lane = lanes.emplace_back();
  lane.number = lanes.size() - 1;
  lane.stack.resize(kStack);
  now = &lane;
  ucontext_t fresh;
  getcontext(&fresh);
  fresh.uc_stack.ss_sp = lane.stack.data();
  fresh.uc_stack.ss_size = kStack;
  fresh.uc_link = nullptr;
  makecontext(&fresh, enter, 0);
  if (!_setjmp(scheduler)) setcontext(&fresh);
}

// Whether any lane of a warp could go on.
inline bool run_warp(unsigned first) {
  volatile bool moved = false;
  for (volatile unsigned i = 0; i < kWarp; i = i + 1) {
    Lane& lane = lanes[first + (backward ? kWarp - 1 - i : i)];
    if (lane.done || (lane.gate && *lane.gate == lane.seen)) continue;
    lane.gate = nullptr;
    now = &lane;
    if (!_setjmp(scheduler)) _longjmp(lane.at, 1);
    moved = true;
  }
  return moved;
}

inline bool round() {
  bool moved = false;
  for (unsigned first = 0; first < size.x; first += kWarp)
    while (run_warp(backward ? size.x - kWarp - first : first)) moved = true;
  return moved;
}

inline void run_block() {
  table.assign(size.x, 0);
  warps.assign(size.x / kWarp, {});
  whole = {};
  std::memset(shared, 0xff, kShared);  // NaN: nothing is left over from the block before
  while (lanes.size() < size.x) start();
  for (unsigned i = 0; i < size.x; ++i) lanes[i].gate = nullptr, lanes[i].done = false;
  while (round()) {
  }
  for (unsigned i = 0; i < size.x; ++i)
    if (!lanes[i].done) status = kStuck;
  if (status == kStuck) lanes.clear();
}

template <typename... Wanted, typename... Given>
void launch(void (*kernel)(Wanted...), int blocks, int threads, size_t bytes, Given... given) {
  if (bytes > kShared || threads % kWarp || threads > 1024 || blocks < 1) {
    status = 1;  // cudaErrorInvalidValue
    return;
  }
  size.x = threads;
  body = [=] { kernel(given...); };
  for (block.x = 0; block.x < unsigned(blocks) && !status; ++block.x) run_block();
}

inline int finish() {
  const int code = status;
  status = 0;
  return code;
}

inline const char* error_string(int code) {
  return code == kStuck ? "some lanes wait at a barrier that others never reach"
                        : "invalid argument";
}

template <typename T>
T exchange(T value, unsigned from) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  std::memcpy(&table[now->number], &value, sizeof(T));
  wait_warp();
  const unsigned base = now->number / kWarp * kWarp;
  if (from < kWarp) std::memcpy(&value, &table[base + from], sizeof(T));
  wait_warp();
  return value;
}

}  // namespace emulator

#define threadIdx (emulator::Index{emulator::now->number})
#define blockIdx (emulator::block)
#define blockDim (emulator::size)

inline void __syncthreads() { emulator::wait(emulator::whole, blockDim.x); }

template <typename T>
T __shfl_sync(unsigned, T value, int from) {
  return emulator::exchange(value, from);
}

template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return emulator::exchange(value, (emulator::now->number % emulator::kWarp) ^ unsigned(mask));
}

template <typename T>
T __shfl_up_sync(unsigned, T value, unsigned by) {
  const unsigned lane = emulator::now->number % emulator::kWarp;
  return emulator::exchange(value, lane < by ? lane : lane - by);
}

inline unsigned __ballot_sync(unsigned, bool vote) {
  unsigned votes = 0;
  for (unsigned i = 0; i < emulator::kWarp; ++i)
    votes |= emulator::exchange(unsigned(vote), i) << i;
  return votes;
}

inline int __ffs(unsigned bits) { return __builtin_ffs(bits); }
