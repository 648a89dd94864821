// Ranks made known to each other: segments in device memory, shared within a process directly, between processes by IPC.
#include "communicators.h"

#include <cstdio>
#include <memory>
#include <mutex>

#include "cuda.h"

namespace meshbayes {
namespace {

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

}  // namespace

const char* find_views(int64_t handle, int device, Communicator** comm, const View** views) {
  *comm = find(handle);
  if (!*comm) return "the mesh of this program is not bound to native collectives";
  auto found = (*comm)->views.find(device);
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

}  // namespace meshbayes

using namespace meshbayes;

extern "C" {

const char* meshbayes_cuda_error() { return g_error; }

int64_t meshbayes_cuda_create(int64_t slot_bytes, int64_t limit_ms, int places) {
  auto comm = std::make_unique<Communicator>();
  comm->slot_bytes = (slot_bytes + 4095) / 4096 * 4096;
  comm->limit_ns = static_cast<uint64_t>(limit_ms) * 1'000'000;
  comm->places = places;
  std::lock_guard<std::mutex> lock(g_lock);
  g_communicators.push_back(std::move(comm));
  return static_cast<int64_t>(g_communicators.size()) - 1;
}

// A segment of this process, on a device; `ipc` receives the 64 bytes by which other processes open it, null without any.
int meshbayes_cuda_add_segment(int64_t handle, int device, int place, char* ipc) {
  Communicator* comm = find(handle);
  void* p;
  MB_CUDA(cudaSetDevice(device));
  if (!comm->noticed) {
    MB_CUDA(cudaHostAlloc(&comm->noticed, sizeof(int32_t), cudaHostAllocMapped | cudaHostAllocPortable));
    *comm->noticed = 0;
  }
  MB_CUDA(cudaMalloc(&p, View::segment_bytes(comm->slot_bytes)));
  comm->segments[{device, place}] = static_cast<char*>(p);
  comm->own.emplace_back(device, place);
  MB_CUDA(cudaMemset(p, 0, kHeaderBytes));
  MB_CUDA(cudaDeviceSynchronize());
  if (ipc) MB_CUDA(cudaIpcGetMemHandle(reinterpret_cast<cudaIpcMemHandle_t*>(ipc), p));
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
  cudaError_t enabled = cudaDeviceEnablePeerAccess(owner, 0);
  if (enabled == cudaErrorPeerAccessAlreadyEnabled) {
    cudaGetLastError();  // it is kept, and would be taken for the next launch's
  } else if (enabled != cudaSuccess) {
    std::snprintf(g_error, sizeof g_error, "GPU %d does not reach GPU %d: %s", device, owner, cudaGetErrorString(enabled));
    return -1;
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
  v.rank = -1;
  v.ranks = ranks;
  v.slot_bytes = comm->slot_bytes;
  for (int r = 0; r < ranks; ++r) {
    auto found = comm->segments.find({device, group[r]});
    if (found == comm->segments.end() || ranks > kMaxRanks) {
      std::snprintf(g_error, sizeof g_error, "place %d of %d is not mapped on GPU %d", group[r], ranks, device);
      return -1;
    }
    v.base[r] = found->second;
    if (group[r] == place) v.rank = r;
  }
  MB_CUDA(cudaMemcpy(views + place, &v, sizeof v, cudaMemcpyHostToDevice));
  if (const char* why = load_kernels()) {
    std::snprintf(g_error, sizeof g_error, "kernels for GPU %d: %s", device, why);
    return -1;
  }
  comm->endpoints.push_back({device, place, v.rank, ranks});
  return 0;
}

// A first call of every rank here, all at once: the sum of their numbers, which are known. A Status, or -1.
int meshbayes_cuda_probe(int64_t handle) {
  struct Probe {
    double x, y;
    float token;
    int32_t place;
  };
  Communicator* comm = find(handle);
  Order order{};
  for (int r = 0; r < kMaxRanks; ++r) order.rank[r] = static_cast<uint8_t>(r);
  std::vector<std::pair<Probe*, cudaStream_t>> begun;
  for (const Endpoint& at : comm->endpoints) {
    Probe given{at.rank + 1.0, 0.0, 0.0f, at.place}, *p;
    cudaStream_t stream;
    MB_CUDA(cudaSetDevice(at.device));
    MB_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    MB_CUDA(cudaMalloc(&p, sizeof given));
    MB_CUDA(cudaMemcpy(p, &given, sizeof given, cudaMemcpyHostToDevice));
    begun.emplace_back(p, stream);
  }
  for (size_t i = 0; i < begun.size(); ++i) {  // only now: an allocation would wait for kernels that wait for others
    auto [p, stream] = begun[i];
    MB_CUDA(cudaSetDevice(comm->endpoints[i].device));
    Call c{handle, comm->endpoints[i].device, stream, &p->place, &p->token, &p->x, &p->y, sizeof(double), sizeof(double), 0};
    if (const char* why = launch_all_reduce(c, Type::kF64, 0, order, 1)) {
      std::snprintf(g_error, sizeof g_error, "%s", why);
      return -1;
    }
  }
  bool right = true;
  for (size_t i = 0; i < begun.size(); ++i) {
    auto [p, stream] = begun[i];
    const Endpoint& at = comm->endpoints[i];
    Probe found;
    MB_CUDA(cudaSetDevice(at.device));
    MB_CUDA(cudaStreamSynchronize(stream));
    MB_CUDA(cudaMemcpy(&found, p, sizeof found, cudaMemcpyDeviceToHost));
    MB_CUDA(cudaFree(p));
    MB_CUDA(cudaStreamDestroy(stream));
    right = right && found.y == at.ranks * (at.ranks + 1) / 2.0;
  }
  if (int noticed = *static_cast<volatile int32_t*>(comm->noticed)) return noticed;
  return static_cast<int>(right ? Status::kOk : Status::kMismatch);
}

// Starts anew after an abort; see Communicator::reset of host.h.
int meshbayes_cuda_reset(int64_t handle) {
  Communicator* comm = find(handle);
  for (auto [device, place] : comm->own) {
    MB_CUDA(cudaSetDevice(device));
    MB_CUDA(cudaMemset(comm->segments.at({device, place}), 0, sizeof(Header)));
    MB_CUDA(cudaDeviceSynchronize());
  }
  if (comm->noticed) *comm->noticed = 0;
  return 0;
}
}
