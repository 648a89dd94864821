// Painting and reading as kernels: a thread takes particles one grid apart, so that neighbours read neighbours' operands.
#include <cuda_runtime.h>

#include "particles.h"

namespace meshbayes {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocks = 2112;  // eight blocks for each of the 132 multiprocessors of an H200

// Pointers of a call, by value.
struct Pointers {
  void* of[kMaxFields];
  explicit Pointers(void* const* given) {
    for (int f = 0; f < kMaxFields; ++f) of[f] = given[f];
  }
};
struct Fields {
  const void* of[kMaxFields];
  explicit Fields(const void* const* given) {
    for (int f = 0; f < kMaxFields; ++f) of[f] = given[f];
  }
};

__device__ int64_t thread() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ int64_t threads() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }
__device__ void add_whole(int64_t* to, int64_t n) {
  atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(n));
}

template <class C, class T = typename C::Number>
__global__ void __launch_bounds__(kThreads) paint_kernel(const __grid_constant__ C cloud, const __grid_constant__ Pointers meshes) {
  for (int64_t p = thread(); p < cloud.count(); p += threads()) {
    auto stand = cloud.stand(p);
    for (int f = 0; f < cloud.s.fields; ++f) {
      T value = cloud.value(f, p), *mesh = static_cast<T*>(meshes.of[f]);
      cloud.over(stand, [&](int64_t cell, T part) { atomicAdd(mesh + cell, part * value); });
    }
  }
}

template <class C>
__global__ void __launch_bounds__(kThreads) largest_kernel(const __grid_constant__ C cloud, int f, int64_t* largest) {
  uint64_t most = 0;
  for (int64_t p = thread(); p < cloud.count(); p += threads()) {
    uint64_t bits = cloud.value_bits(cloud.stand(p), f, p);
    most = bits > most ? bits : most;
  }
  for (int lane = 16; lane; lane /= 2) {
    uint64_t other = __shfl_xor_sync(0xffffffffu, most, lane);
    most = other > most ? other : most;
  }
  if (threadIdx.x % 32 == 0) atomicMax(reinterpret_cast<unsigned long long*>(largest), static_cast<unsigned long long>(most));
}

template <class C, class T = typename C::Number>
__global__ void __launch_bounds__(kThreads) paint_whole_kernel(const __grid_constant__ C cloud, int f, int64_t* sums) {
  FixedPoint fixed(static_cast<uint64_t>(sums[cloud.s.cells]), cloud.count());
  if (!fixed.finite()) return;
  for (int64_t p = thread(); p < cloud.count(); p += threads()) {
    T value = cloud.value(f, p);
    cloud.over(cloud.stand(p), [&](int64_t cell, T part) { add_whole(sums + cell, fixed.whole(static_cast<double>(part) * value)); });
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) numbers_kernel(const int64_t* sums, T* mesh, int64_t cells, int64_t particles) {
  FixedPoint fixed(static_cast<uint64_t>(sums[cells]), particles);
  for (int64_t i = thread(); i < cells; i += threads()) mesh[i] = static_cast<T>(fixed.number(sums[i]));
}

template <class C, class T = typename C::Number>
__global__ void __launch_bounds__(kThreads) read_kernel(const __grid_constant__ C cloud, const __grid_constant__ Fields fields, const __grid_constant__ Pointers found, const __grid_constant__ Pointers guests) {
  for (int64_t p = thread(); p < cloud.count(); p += threads()) {
    auto stand = cloud.stand(p);
    bool own = p < cloud.s.points;
    int64_t q = own ? p : p - cloud.s.points;
    for (int f = 0; f < cloud.s.fields; ++f) static_cast<T*>(own ? found.of[f] : guests.of[f])[q] = cloud.read(stand, static_cast<const T*>(fields.of[f]));
  }
}

template <class C, class T = typename C::Number>
__global__ void __launch_bounds__(kThreads) slopes_kernel(const __grid_constant__ C cloud, const __grid_constant__ Fields fields, const __grid_constant__ Pointers found, const __grid_constant__ Pointers guests) {
  for (int64_t p = thread(); p < cloud.count(); p += threads()) {
    T slopes[C::kDims];
    cloud.slopes(cloud.stand(p), p, fields.of, slopes);
    bool own = p < cloud.s.points;
    int64_t q = own ? p : p - cloud.s.points;
#pragma unroll
    for (int a = 0; a < C::kDims; ++a) static_cast<T*>(own ? found.of[a] : guests.of[a])[q] = slopes[a];
  }
}

int blocks(int64_t n) {
  int64_t wanted = (n + kThreads - 1) / kThreads;
  return static_cast<int>(wanted < 1 ? 1 : wanted < kBlocks ? wanted : kBlocks);
}

const char* outcome(cudaError_t cleared = cudaSuccess) {
  cudaError_t e = cleared == cudaSuccess ? cudaGetLastError() : cleared;
  return e == cudaSuccess ? nullptr : cudaGetErrorString(e);
}

template <class C, class T = typename C::Number>
cudaError_t paint_whole(cudaStream_t stream, const C& cloud, int f, void* mesh, int64_t* sums) {
  int64_t cells = cloud.s.cells;
  int n = blocks(cloud.count());
  cudaError_t cleared = cudaMemsetAsync(sums, 0, (cells + 1) * sizeof(int64_t), stream);
  largest_kernel<<<n, kThreads, 0, stream>>>(cloud, f, sums + cells);
  paint_whole_kernel<<<n, kThreads, 0, stream>>>(cloud, f, sums);
  numbers_kernel<<<blocks(cells), kThreads, 0, stream>>>(sums, static_cast<T*>(mesh), cells, cloud.count());
  return cleared;
}

}  // namespace

const char* launch_paint(void* on, const Swarm& s, const Form& form, void* const* meshes, int64_t* sums) {
  auto stream = static_cast<cudaStream_t>(on);
  cudaError_t cleared = cudaSuccess;
  with_cloud(s, form, [&](const auto& cloud) {
    using T = typename std::decay_t<decltype(cloud)>::Number;
    for (int f = 0; f < s.fields && cleared == cudaSuccess; ++f)
      cleared = sums ? paint_whole(stream, cloud, f, meshes[f], sums) : cudaMemsetAsync(meshes[f], 0, s.cells * sizeof(T), stream);
    if (!sums) paint_kernel<<<blocks(cloud.count()), kThreads, 0, stream>>>(cloud, Pointers(meshes));
  });
  return outcome(cleared);
}

const char* launch_read(void* on, const Swarm& s, const Form& form, const void* const* fields, void* const* found, void* const* guests) {
  with_cloud(s, form, [&](const auto& cloud) {
    int n = blocks(cloud.count());
    read_kernel<<<n, kThreads, 0, static_cast<cudaStream_t>(on)>>>(cloud, Fields(fields), Pointers(found), Pointers(guests));
  });
  return outcome();
}

const char* launch_slopes(void* on, const Swarm& s, const Form& form, const void* const* fields, void* const* found, void* const* guests) {
  with_cloud(s, form, [&](const auto& cloud) {
    int n = blocks(cloud.count());
    slopes_kernel<<<n, kThreads, 0, static_cast<cudaStream_t>(on)>>>(cloud, Fields(fields), Pointers(found), Pointers(guests));
  });
  return outcome();
}

}  // namespace meshbayes
