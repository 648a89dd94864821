// What the blocks of a rank do: load its view, stage and signal, wait and pull; the same in every kernel.
#pragma once
#include <cuda_runtime.h>

#include "core.h"

namespace meshbayes {
namespace {

constexpr int kThreads = 256;

__device__ uint64_t now_ns() {
  uint64_t t;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(t));
  return t;
}

// Views are loaded once a block: a rank's sight of its group, by its place in the mesh.
__device__ void load_view(View* v, const View* views, int32_t place) {
  const uint64_t* from = reinterpret_cast<const uint64_t*>(views + place);
  for (unsigned i = threadIdx.x; i < sizeof(View) / 8; i += blockDim.x) reinterpret_cast<uint64_t*>(v)[i] = from[i];
  __syncthreads();
}

__device__ Status wait_for(const View& v, int peer, uint32_t epoch, uint32_t call, uint64_t limit_ns) {
  uint64_t begun = now_ns();
  while (true) {
    if (Status s = aborted(v); s != Status::kOk) return s;
    Arrival a = arrival(v, peer, epoch, call);
    if (a == Arrival::kHere) return Status::kOk;
    Status why = a == Arrival::kMismatch ? Status::kMismatch : now_ns() - begun > limit_ns ? Status::kTimeout : Status::kOk;
    if (why != Status::kOk) {
      abort_all(v, why);
      return why;
    }
  }
}

// Whether all peers have staged; the same answer in every thread of a block. `noticed` is in the host's memory.
__device__ bool all_here(const View& v, uint32_t epoch, uint32_t call, uint64_t limit_ns, volatile int32_t* noticed) {
  Status s = static_cast<int>(threadIdx.x) < v.ranks ? wait_for(v, threadIdx.x, epoch, call, limit_ns) : Status::kOk;
  if (s != Status::kOk) *noticed = static_cast<int32_t>(s);
  return !__syncthreads_or(s != Status::kOk);
}

__device__ void poison(void* y, int64_t bytes, int64_t worker, int64_t workers) {
  for (int64_t i = worker; i < bytes; i += workers) static_cast<uint8_t*>(y)[i] = 0xff;
}

__device__ uint32_t worker() { return blockIdx.x * blockDim.x + threadIdx.x; }
__device__ uint32_t workers() { return gridDim.x * blockDim.x; }

// Packs a rank's slot; the last of its blocks along x to be done tells the peers. Gives the call's epoch.
template <class T>
__device__ uint32_t stage_and_signal(const View& v, const Program& program, const T* x, uint32_t call) {
  __shared__ bool last;
  Header* own = v.header(v.rank);
  uint32_t epoch = *static_cast<volatile uint32_t*>(&own->epoch) + 1;
  if (program.words[3] > v.slot_bytes) {
    if (worker() == 0) abort_all(v, Status::kTooLarge);
  } else {
    program.stage(v, epoch, x, worker(), workers());
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(&own->ticket, 1u) == gridDim.x - 1;
  __syncthreads();
  if (!last) return epoch;
  __threadfence_system();  // what all blocks staged is there before the flags are
  if (threadIdx.x == 0) {
    own->ticket = 0;
    own->epoch = epoch;
  }
  if (static_cast<int>(threadIdx.x) < v.ranks) signal(v, threadIdx.x, epoch, call);
  return epoch;
}

// What a kernel needs to wait: `noticed` is in the host's memory.
struct Wait {
  uint32_t call;
  uint64_t limit_ns;
  volatile int32_t* noticed;
};

template <class T>
__device__ void wait_and_pull(const View& v, uint32_t epoch, const Program& program, const T* x, T* y, int64_t y_bytes, const Wait& wait) {
  program.pull(v, epoch, x, y, false, worker(), workers());
  if (all_here(v, epoch, wait.call, wait.limit_ns, wait.noticed))
    program.pull(v, epoch, x, y, true, worker(), workers());
  else
    poison(y, y_bytes, worker(), workers());
}

// A few numbers: one block does it all.
template <class T, template <class> class Op>
__device__ void all_reduce_block(const View& v, const T* x, T* y, int64_t count, const Order& order, const Wait& wait) {
  Header* own = v.header(v.rank);
  uint32_t epoch = own->epoch + 1;
  T* slot = reinterpret_cast<T*>(v.slot(v.rank, epoch));
  bool fits = count * static_cast<int64_t>(sizeof(T)) <= v.slot_bytes;
  if (!fits && threadIdx.x == 0) abort_all(v, Status::kTooLarge);
  for (int64_t i = threadIdx.x; fits && i < count; i += blockDim.x) slot[i] = x[i];
  __threadfence_system();
  __syncthreads();
  if (static_cast<int>(threadIdx.x) < v.ranks) signal(v, threadIdx.x, epoch, wait.call);
  if (all_here(v, epoch, wait.call, wait.limit_ns, wait.noticed))
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) y[i] = reduce_element<T, Op>(v, epoch, order, i);
  else
    poison(y, count * sizeof(T), threadIdx.x, blockDim.x);
  if (threadIdx.x == 0) own->epoch = epoch;
}

}  // namespace
}  // namespace meshbayes
