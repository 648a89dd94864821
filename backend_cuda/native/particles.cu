// Painting and reading as kernels: a thread takes particles one grid apart, so that neighbours read neighbours' operands.
#include <cuda_runtime.h>

#include "particles.h"

namespace meshbayes {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocks = 2112;  // eight blocks for each of the 132 multiprocessors of an H200

__device__ int64_t thread() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ int64_t threads() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }
__device__ void add_whole(int64_t* to, int64_t n) {
  atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(n));
}

template <class T, class Index>
__global__ void __launch_bounds__(kThreads) paint_kernel(const Cloud<T, Index> cloud, T* mesh) {
  for (int64_t p = thread(); p < cloud.particles; p += threads()) {
    T value = cloud.value(p);
    cloud.over(p, [&](int64_t cell, T part) { atomicAdd(mesh + cell, part * value); });
  }
}

template <class T, class Index>
__global__ void __launch_bounds__(kThreads) largest_kernel(const Cloud<T, Index> cloud, int64_t* largest) {
  uint64_t most = 0;
  for (int64_t p = thread(); p < cloud.particles; p += threads()) {
    uint64_t bits = cloud.weight_bits(p);
    most = bits > most ? bits : most;
  }
  for (int lane = 16; lane; lane /= 2) {
    uint64_t other = __shfl_xor_sync(0xffffffffu, most, lane);
    most = other > most ? other : most;
  }
  if (threadIdx.x % 32 == 0) atomicMax(reinterpret_cast<unsigned long long*>(largest), static_cast<unsigned long long>(most));
}

template <class T, class Index>
__global__ void __launch_bounds__(kThreads) paint_whole_kernel(const Cloud<T, Index> cloud, int64_t* sums, int64_t cells) {
  FixedPoint fixed(static_cast<uint64_t>(sums[cells]), cloud.particles);
  if (!fixed.finite()) return;
  for (int64_t p = thread(); p < cloud.particles; p += threads()) {
    T value = cloud.value(p);
    cloud.over(p, [&](int64_t cell, T part) { add_whole(sums + cell, fixed.whole(static_cast<double>(part) * value)); });
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) numbers_kernel(const int64_t* sums, T* mesh, int64_t cells, int64_t particles) {
  FixedPoint fixed(static_cast<uint64_t>(sums[cells]), particles);
  for (int64_t i = thread(); i < cells; i += threads()) mesh[i] = static_cast<T>(fixed.number(sums[i]));
}

template <class T, class Index>
__global__ void __launch_bounds__(kThreads) read_kernel(const Cloud<T, Index> cloud, const T* field, T* values) {
  for (int64_t p = thread(); p < cloud.particles; p += threads()) values[p] = cloud.read(p, field);
}

int blocks(int64_t n) {
  int64_t wanted = (n + kThreads - 1) / kThreads;
  return static_cast<int>(wanted < 1 ? 1 : wanted < kBlocks ? wanted : kBlocks);
}

const char* outcome(cudaError_t cleared) {
  cudaError_t e = cleared == cudaSuccess ? cudaGetLastError() : cleared;
  return e == cudaSuccess ? nullptr : cudaGetErrorString(e);
}

template <class T, class Index>
const char* paint(cudaStream_t stream, const Lattice& l, T* mesh, int64_t* sums) {
  Cloud<T, Index> cloud(l);
  int n = blocks(l.particles);
  if (!sums) {
    cudaError_t cleared = cudaMemsetAsync(mesh, 0, l.cells * sizeof(T), stream);
    paint_kernel<<<n, kThreads, 0, stream>>>(cloud, mesh);
    return outcome(cleared);
  }
  cudaError_t cleared = cudaMemsetAsync(sums, 0, (l.cells + 1) * sizeof(int64_t), stream);
  largest_kernel<<<n, kThreads, 0, stream>>>(cloud, sums + l.cells);
  paint_whole_kernel<<<n, kThreads, 0, stream>>>(cloud, sums, l.cells);
  numbers_kernel<<<blocks(l.cells), kThreads, 0, stream>>>(sums, mesh, l.cells, l.particles);
  return outcome(cleared);
}

template <class T, class Index>
const char* read(cudaStream_t stream, const Lattice& l, const T* field, T* values) {
  read_kernel<<<blocks(l.particles), kThreads, 0, stream>>>(Cloud<T, Index>(l), field, values);
  return outcome(cudaSuccess);
}

}  // namespace

const char* launch_paint(void* stream, const Lattice& l, bool is_double, void* mesh, int64_t* sums) {
  auto s = static_cast<cudaStream_t>(stream);
  if (is_double)
    return l.wide ? paint<double, int64_t>(s, l, static_cast<double*>(mesh), sums) : paint<double, int32_t>(s, l, static_cast<double*>(mesh), sums);
  return l.wide ? paint<float, int64_t>(s, l, static_cast<float*>(mesh), sums) : paint<float, int32_t>(s, l, static_cast<float*>(mesh), sums);
}

const char* launch_read(void* stream, const Lattice& l, bool is_double, const void* field, void* values) {
  auto s = static_cast<cudaStream_t>(stream);
  if (is_double) {
    auto from = static_cast<const double*>(field);
    auto to = static_cast<double*>(values);
    return l.wide ? read<double, int64_t>(s, l, from, to) : read<double, int32_t>(s, l, from, to);
  }
  auto from = static_cast<const float*>(field);
  auto to = static_cast<float*>(values);
  return l.wide ? read<float, int64_t>(s, l, from, to) : read<float, int32_t>(s, l, from, to);
}

}  // namespace meshbayes
