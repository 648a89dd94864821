// The core as kernels.
//
// A round of a call is two kernels: the first stages, and its last block signals, so that its grid may be larger than the
// GPU; the second waits in its own memory and pulls. The epoch lives in device memory: replays of a CUDA graph advance it. A wait
// ends with the limit or an abort; the result is then all ones, NaN in every float, and the host raises at the next call.
#include "cuda.h"

#include "communicators.h"
#include "device.h"

namespace meshbayes {
namespace {

constexpr int kBlocks = 264;       // two for each multiprocessor of an H200
constexpr int kElementsEach = 4;   // of a thread, before more blocks are taken

template <class T>
__global__ void stage_kernel(const View* views, const int32_t* place, const Table table, int round, const T* x, uint32_t call) {
  __shared__ View v;
  load_view(&v, views, *place);
  stage_and_signal(v, table.program(v.rank, round), x, call);
}

template <class T>
__global__ void pull_kernel(const View* views, const int32_t* place, const Table table, int round, const T* x, T* y, int64_t y_bytes,
                            float* token, const Wait wait) {
  __shared__ View v;
  load_view(&v, views, *place);
  if (worker() == 0) *token = 0.0f;
  wait_and_pull(v, v.header(v.rank)->epoch, table.program(v.rank, round), x, y, y_bytes, wait);
}

template <class T, template <class> class Op>
__global__ void all_reduce_kernel(const View* views, const int32_t* place, const T* x, T* y, int64_t count, float* token,
                                  const __grid_constant__ Order order, const Wait wait) {
  __shared__ View v;
  load_view(&v, views, *place);
  if (threadIdx.x == 0) *token = 0.0f;
  all_reduce_block<T, Op>(v, x, y, count, order, wait);
}

int blocks(int64_t elements) {
  int64_t n = (elements + kThreads * kElementsEach - 1) / (kThreads * kElementsEach);
  return static_cast<int>(n < 1 ? 1 : n < kBlocks ? n : kBlocks);
}

template <class T>
const char* exchange(const Call& c, const Table& table) {
  Communicator* comm;
  const View* views;
  if (const char* why = find_views(c.handle, c.device, &comm, &views)) return why;
  auto stream = static_cast<cudaStream_t>(c.stream);
  const T* x = static_cast<const T*>(c.x);
  int64_t each = table.rounds * sizeof(T);
  Wait wait{c.call, comm->limit_ns, comm->noticed};
  for (int round = 0; round < table.rounds; ++round) {
    stage_kernel<T><<<blocks(c.x_bytes / each), kThreads, 0, stream>>>(views, c.place, table, round, x, c.call);
    pull_kernel<T><<<blocks(c.y_bytes / each), kThreads, 0, stream>>>(views, c.place, table, round, x, static_cast<T*>(c.y), c.y_bytes,
                                                                     c.token, wait);
  }
  return launched();
}

template <class T, template <class> class Op>
const char* reduce(const Call& c, const Order& order, int64_t count) {
  Communicator* comm;
  const View* views;
  if (const char* why = find_views(c.handle, c.device, &comm, &views)) return why;
  all_reduce_kernel<T, Op><<<1, kThreads, 0, static_cast<cudaStream_t>(c.stream)>>>(
      views, c.place, static_cast<const T*>(c.x), static_cast<T*>(c.y), count, c.token, order,
      Wait{c.call, comm->limit_ns, comm->noticed});
  return launched();
}

template <class T>
const char* reduce(const Call& c, int kind, const Order& order, int64_t count) {
  if (kind == 1) return reduce<T, Max>(c, order, count);
  if (kind == 2) return reduce<T, Min>(c, order, count);
  return reduce<T, Sum>(c, order, count);
}

template <class Kernel>
bool is_loaded(Kernel* kernel) {
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess;
}
template <class... T>
bool exchanges_loaded() {
  return ((is_loaded(stage_kernel<T>) && is_loaded(pull_kernel<T>)) && ...);
}
template <class... T>
bool reductions_loaded() {
  return ((is_loaded(all_reduce_kernel<T, Sum>) && is_loaded(all_reduce_kernel<T, Max>) && is_loaded(all_reduce_kernel<T, Min>)) && ...);
}

}  // namespace

const char* load_kernels() {
  bool all = exchanges_loaded<Unit<1>, Unit<2>, Unit<4>, Unit<8>, Unit<16>, float, double, int32_t, int64_t, Complex<float>, Complex<double>>() &&
             reductions_loaded<float, double, int32_t, int64_t>();
  return all ? nullptr : cudaGetErrorString(cudaGetLastError());
}

const char* launch_exchange(const Call& c, Type type, const Table& table) {
  switch (type) {
    case Type::kUnit1: return exchange<Unit<1>>(c, table);
    case Type::kUnit2: return exchange<Unit<2>>(c, table);
    case Type::kUnit4: return exchange<Unit<4>>(c, table);
    case Type::kUnit8: return exchange<Unit<8>>(c, table);
    case Type::kUnit16: return exchange<Unit<16>>(c, table);
    case Type::kF32: return exchange<float>(c, table);
    case Type::kF64: return exchange<double>(c, table);
    case Type::kS32: return exchange<int32_t>(c, table);
    case Type::kS64: return exchange<int64_t>(c, table);
    case Type::kC64: return exchange<Complex<float>>(c, table);
    default: return exchange<Complex<double>>(c, table);
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
