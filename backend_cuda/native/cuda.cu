// The core as kernels, and the segments in device memory.
//
// A call is two kernels: the first stages, and its last block signals, so that its grid may be larger than the GPU; the
// second waits in its own memory and pulls. The epoch lives in device memory: replays of a CUDA graph advance it. A wait
// ends with the limit or an abort; the result is then all ones, NaN in every float, and the host raises at the next call.
#include <cuda_runtime.h>

#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "cuda.h"

namespace meshbayes {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocks = 264;       // two for each multiprocessor of an H200
constexpr int kElementsEach = 4;   // of a thread, before more blocks are taken

// --- device ---

__device__ uint64_t now_ns() {
  uint64_t t;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(t));
  return t;
}

// Views are loaded once a block: a rank's sight of its group, by its place in the mesh.
__device__ void load_view(View* v, const View* views, const int32_t* place) {
  const uint64_t* from = reinterpret_cast<const uint64_t*>(views + *place);
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

template <class T>
__global__ void stage_kernel(const View* views, const int32_t* place, const int32_t* table, int64_t row_words,
                                                          const T* x, uint32_t call) {
  __shared__ View v;
  __shared__ bool last;
  load_view(&v, views, place);
  Header* own = v.header(v.rank);
  uint32_t epoch = *static_cast<volatile uint32_t*>(&own->epoch) + 1;
  Program program{reinterpret_cast<const int64_t*>(table) + v.rank * row_words};
  if (program.words[3] > v.slot_bytes) {
    if (worker() == 0) abort_all(v, Status::kTooLarge);
  } else {
    program.stage(v, epoch, x, worker(), workers());
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(&own->ticket, 1u) == gridDim.x - 1;
  __syncthreads();
  if (!last) return;
  __threadfence_system();  // what all blocks staged is there before the flags are
  if (threadIdx.x == 0) {
    own->ticket = 0;
    own->epoch = epoch;
  }
  if (static_cast<int>(threadIdx.x) < v.ranks) signal(v, threadIdx.x, epoch, call);
}

template <class T>
__global__ void pull_kernel(const View* views, const int32_t* place, const int32_t* table, int64_t row_words,
                                                         const T* x, T* y, int64_t y_bytes, float* token, uint32_t call, uint64_t limit_ns,
                                                         volatile int32_t* noticed) {
  __shared__ View v;
  load_view(&v, views, place);
  uint32_t epoch = v.header(v.rank)->epoch;
  Program program{reinterpret_cast<const int64_t*>(table) + v.rank * row_words};
  if (worker() == 0) *token = 0.0f;
  program.pull(v, epoch, x, y, false, worker(), workers());
  if (all_here(v, epoch, call, limit_ns, noticed))
    program.pull(v, epoch, x, y, true, worker(), workers());
  else
    poison(y, y_bytes, worker(), workers());
}

// A few numbers: one block does it all.
template <class T, template <class> class Op>
__global__ void all_reduce_kernel(const View* views, const int32_t* place, const T* x, T* y, int64_t count,
                                                              float* token, uint32_t call, uint64_t limit_ns,
                                                              const __grid_constant__ Order order,
                                                              volatile int32_t* noticed) {
  __shared__ View v;
  load_view(&v, views, place);
  Header* own = v.header(v.rank);
  uint32_t epoch = own->epoch + 1;
  T* slot = reinterpret_cast<T*>(v.slot(v.rank, epoch));
  bool fits = count * static_cast<int64_t>(sizeof(T)) <= v.slot_bytes;
  if (!fits && threadIdx.x == 0) abort_all(v, Status::kTooLarge);
  for (int64_t i = threadIdx.x; fits && i < count; i += blockDim.x) slot[i] = x[i];
  __threadfence_system();
  __syncthreads();
  if (static_cast<int>(threadIdx.x) < v.ranks) signal(v, threadIdx.x, epoch, call);
  if (all_here(v, epoch, call, limit_ns, noticed))
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) y[i] = reduce_element<T, Op>(v, epoch, order, i);
  else
    poison(y, count * sizeof(T), threadIdx.x, blockDim.x);
  if (threadIdx.x == 0) {
    own->epoch = epoch;
    *token = 0.0f;
  }
}

// --- host: communicators ---

struct Communicator {
  int64_t slot_bytes = 0;
  uint64_t limit_ns = 0;
  int32_t places = 0;
  std::map<std::pair<int, int>, char*> segments;  // by device and place, as mapped there
  std::map<int, View*> views;                     // by device, in its memory: one for every place
  std::vector<std::pair<int, int>> own;           // device and place of the segments that were allocated here
  int32_t* noticed = nullptr;                     // pinned: what a kernel gave up for
};

std::mutex g_lock;
std::vector<std::unique_ptr<Communicator>> g_communicators;
char g_error[512];

Communicator* find(int64_t handle) {
  std::lock_guard<std::mutex> lock(g_lock);
  return handle >= 0 && handle < static_cast<int64_t>(g_communicators.size()) ? g_communicators[handle].get() : nullptr;
}

#define MB_CUDA(call)                                                                              \
  if (cudaError_t failed_ = (call); failed_ != cudaSuccess) {                                      \
    std::snprintf(g_error, sizeof g_error, "%s: %s", #call, cudaGetErrorString(failed_));          \
    return -1;                                                                                     \
  }

// The communicator of a call, or why there is none.
const char* check(const Call& c, Communicator** comm, const View** views) {
  *comm = find(c.handle);
  if (!*comm) return "the mesh of this program is not bound to native collectives";
  auto found = (*comm)->views.find(c.device);
  if (found == (*comm)->views.end()) return "no rank of this mesh is bound to this device";
  *views = found->second;
  switch (static_cast<Status>(*static_cast<volatile int32_t*>((*comm)->noticed))) {
    case Status::kOk: return nullptr;
    case Status::kTimeout: return "a peer did not arrive at an earlier collective within the limit; bind the mesh again";
    case Status::kMismatch: return "ranks called different collectives, or in a different order; bind the mesh again";
    case Status::kTooLarge: return "a message was larger than the staging slots; bind the mesh again with larger ones";
    default: return "the communicator was aborted; bind the mesh again";
  }
}

const char* launched() {
  cudaError_t e = cudaGetLastError();
  return e == cudaSuccess ? nullptr : cudaGetErrorString(e);
}

int blocks(int64_t elements) {
  int64_t n = (elements + kThreads * kElementsEach - 1) / (kThreads * kElementsEach);
  return static_cast<int>(n < 1 ? 1 : n < kBlocks ? n : kBlocks);
}

template <class T>
const char* exchange(const Call& c, const int32_t* table, int64_t row_words) {
  Communicator* comm;
  const View* views;
  if (const char* why = check(c, &comm, &views)) return why;
  auto stream = static_cast<cudaStream_t>(c.stream);
  const T* x = static_cast<const T*>(c.x);
  stage_kernel<T><<<blocks(c.x_bytes / sizeof(T)), kThreads, 0, stream>>>(views, c.place, table, row_words, x, c.call);
  pull_kernel<T><<<blocks(c.y_bytes / sizeof(T)), kThreads, 0, stream>>>(views, c.place, table, row_words, x, static_cast<T*>(c.y), c.y_bytes,
                                                                        c.token, c.call, comm->limit_ns, comm->noticed);
  return launched();
}

template <class T, template <class> class Op>
const char* reduce(const Call& c, const Order& order, int64_t count) {
  Communicator* comm;
  const View* views;
  if (const char* why = check(c, &comm, &views)) return why;
  all_reduce_kernel<T, Op><<<1, kThreads, 0, static_cast<cudaStream_t>(c.stream)>>>(
      views, c.place, static_cast<const T*>(c.x), static_cast<T*>(c.y), count, c.token, c.call, comm->limit_ns, order, comm->noticed);
  return launched();
}

template <class T>
const char* reduce(const Call& c, int kind, const Order& order, int64_t count) {
  if (kind == 1) return reduce<T, Max>(c, order, count);
  if (kind == 2) return reduce<T, Min>(c, order, count);
  return reduce<T, Sum>(c, order, count);
}

}  // namespace

const char* launch_exchange(const Call& c, Type type, const int32_t* table, int64_t row_words) {
  switch (type) {
    case Type::kUnit1: return exchange<Unit<1>>(c, table, row_words);
    case Type::kUnit2: return exchange<Unit<2>>(c, table, row_words);
    case Type::kUnit4: return exchange<Unit<4>>(c, table, row_words);
    case Type::kUnit8: return exchange<Unit<8>>(c, table, row_words);
    case Type::kUnit16: return exchange<Unit<16>>(c, table, row_words);
    case Type::kF32: return exchange<float>(c, table, row_words);
    case Type::kF64: return exchange<double>(c, table, row_words);
    case Type::kS32: return exchange<int32_t>(c, table, row_words);
    case Type::kS64: return exchange<int64_t>(c, table, row_words);
    case Type::kC64: return exchange<Complex<float>>(c, table, row_words);
    default: return exchange<Complex<double>>(c, table, row_words);
  }
}

const char* launch_all_reduce(const Call& c, Type type, int kind, const Order& order, int64_t count) {
  switch (type) {
    case Type::kF32: return reduce<float>(c, kind, order, count);
    case Type::kF64: return reduce<double>(c, kind, order, count);
    case Type::kS32: return reduce<int32_t>(c, kind, order, count);
    default: return reduce<int64_t>(c, kind, order, count);
  }
}

const char* launch_copy(void* stream, void* to, const void* from, int64_t bytes) {
  cudaError_t e = cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, static_cast<cudaStream_t>(stream));
  return e == cudaSuccess ? nullptr : cudaGetErrorString(e);
}

}  // namespace meshbayes

using namespace meshbayes;

extern "C" {

const char* meshbayes_cuda_error() { return g_error; }

int64_t meshbayes_cuda_create(int64_t slot_bytes, int64_t limit_ms, int places) {
  auto comm = std::make_unique<Communicator>();
  comm->slot_bytes = (slot_bytes + 4095) / 4096 * 4096;
  comm->limit_ns = static_cast<uint64_t>(limit_ms) * 1'000'000;
  comm->places = places;
  MB_CUDA(cudaHostAlloc(&comm->noticed, sizeof(int32_t), cudaHostAllocMapped | cudaHostAllocPortable));
  *comm->noticed = 0;
  std::lock_guard<std::mutex> lock(g_lock);
  g_communicators.push_back(std::move(comm));
  return static_cast<int64_t>(g_communicators.size()) - 1;
}

// A segment of this process, on a device; `ipc` receives the 64 bytes by which other processes open it.
int meshbayes_cuda_add_segment(int64_t handle, int device, int place, char* ipc) {
  Communicator* comm = find(handle);
  void* p;
  MB_CUDA(cudaSetDevice(device));
  MB_CUDA(cudaMalloc(&p, View::segment_bytes(comm->slot_bytes)));
  MB_CUDA(cudaMemset(p, 0, kHeaderBytes));
  MB_CUDA(cudaDeviceSynchronize());
  MB_CUDA(cudaIpcGetMemHandle(reinterpret_cast<cudaIpcMemHandle_t*>(ipc), p));
  comm->segments[{device, place}] = static_cast<char*>(p);
  comm->own.emplace_back(device, place);
  return 0;
}

// Another process's segment, as mapped for a device.
int meshbayes_cuda_open_segment(int64_t handle, int device, int place, const char* ipc) {
  Communicator* comm = find(handle);
  void* p;
  MB_CUDA(cudaSetDevice(device));
  MB_CUDA(cudaIpcOpenMemHandle(&p, *reinterpret_cast<const cudaIpcMemHandle_t*>(ipc), cudaIpcMemLazyEnablePeerAccess));
  comm->segments[{device, place}] = static_cast<char*>(p);
  return 0;
}

// A segment of this process on `owner`, made visible on another of its devices: never by IPC.
int meshbayes_cuda_share_segment(int64_t handle, int device, int owner, int place) {
  Communicator* comm = find(handle);
  MB_CUDA(cudaSetDevice(device));
  cudaError_t e = cudaDeviceEnablePeerAccess(owner, 0);
  if (e == cudaErrorPeerAccessAlreadyEnabled) {
    cudaGetLastError();
  } else {
    MB_CUDA(e);
  }
  comm->segments[{device, place}] = comm->segments.at({owner, place});
  return 0;
}

// The rank at a place, on a device, in a group of places whose segments are all mapped there.
int meshbayes_cuda_add_endpoint(int64_t handle, int device, int place, const int32_t* group, int ranks) {
  Communicator* comm = find(handle);
  MB_CUDA(cudaSetDevice(device));
  View*& views = comm->views[device];
  if (!views) MB_CUDA(cudaMalloc(&views, comm->places * sizeof(View)));
  View v{};
  v.ranks = ranks;
  v.slot_bytes = comm->slot_bytes;
  for (int r = 0; r < ranks; ++r) {
    v.base[r] = comm->segments.at({device, group[r]});
    if (group[r] == place) v.rank = r;
  }
  MB_CUDA(cudaMemcpy(views + place, &v, sizeof v, cudaMemcpyHostToDevice));
  return 0;
}

// Starts anew after an abort; see Communicator::reset of host.h.
int meshbayes_cuda_reset(int64_t handle) {
  Communicator* comm = find(handle);
  for (auto [device, place] : comm->own) {
    MB_CUDA(cudaSetDevice(device));
    MB_CUDA(cudaMemset(comm->segments.at({device, place}), 0, sizeof(Header)));
    MB_CUDA(cudaDeviceSynchronize());
  }
  *comm->noticed = 0;
  return 0;
}
}
