// Virtual ranks: all ranks of a communicator on one GPU, in one launch, for tests of the core on a machine that has no
// more. Blocks along y are ranks. They wait for each other, so the grid is no larger than what runs at once.
#include <algorithm>

#include "communicators.h"
#include "cuda.h"
#include "device.h"

namespace meshbayes {
namespace {

template <class T>
__global__ void __launch_bounds__(kThreads) virtual_exchange_kernel(const View* views, const Table table, const T* x, int64_t x_count,
                                                                    T* y, int64_t y_count, const Wait wait) {
  __shared__ View v;
  load_view(&v, views, blockIdx.y);
  Program program = table.program(v.rank, 0);
  const T* from = x + v.rank * x_count;
  uint32_t epoch = stage_and_signal(v, program, from, wait.call);
  wait_and_pull(v, epoch, program, from, y + v.rank * y_count, y_count * static_cast<int64_t>(sizeof(T)), wait);
}

template <class T, template <class> class Op>
__global__ void __launch_bounds__(kThreads) virtual_all_reduce_kernel(const View* views, const T* x, T* y, int64_t count,
                                                                      const __grid_constant__ Order order, const Wait wait) {
  __shared__ View v;
  load_view(&v, views, blockIdx.y);
  all_reduce_block<T, Op>(v, x + v.rank * count, y + v.rank * count, count, order, wait);
}

// How many blocks of a kernel run at once on the current device; 0 with an error.
template <class Kernel>
int at_once(Kernel* kernel, int device) {
  int blocks = 0, processors = 0;
  if (cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, kThreads, 0) != cudaSuccess) return 0;
  if (cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device) != cudaSuccess) return 0;
  return blocks * processors;
}

const char* too_many() {
  const char* why = launched();
  return why ? why : "more virtual ranks than blocks that this GPU runs at once";
}

template <class T>
const char* exchange(const Call& c, int ranks, const Table& table) {
  Communicator* comm;
  const View* views;
  if (const char* why = find_views(c.handle, c.device, &comm, &views)) return why;
  int64_t x_count = c.x_bytes / ranks / static_cast<int64_t>(sizeof(T)), y_count = c.y_bytes / ranks / static_cast<int64_t>(sizeof(T));
  int64_t most = at_once(virtual_exchange_kernel<T>, c.device) / ranks;
  if (most < 1) return too_many();
  int64_t wanted = (std::max(x_count, y_count) + kThreads - 1) / kThreads;
  dim3 grid(static_cast<unsigned>(std::clamp<int64_t>(wanted, 1, most)), ranks);
  virtual_exchange_kernel<T><<<grid, kThreads, 0, static_cast<cudaStream_t>(c.stream)>>>(
      views, table, static_cast<const T*>(c.x), x_count, static_cast<T*>(c.y), y_count, Wait{c.call, comm->limit_ns, comm->noticed});
  return launched();
}

template <class T, template <class> class Op>
const char* reduce(const Call& c, int ranks, const Order& order, int64_t count) {
  Communicator* comm;
  const View* views;
  if (const char* why = find_views(c.handle, c.device, &comm, &views)) return why;
  if (at_once(virtual_all_reduce_kernel<T, Op>, c.device) < ranks) return too_many();
  virtual_all_reduce_kernel<T, Op><<<dim3(1, ranks), kThreads, 0, static_cast<cudaStream_t>(c.stream)>>>(
      views, static_cast<const T*>(c.x), static_cast<T*>(c.y), count, order, Wait{c.call, comm->limit_ns, comm->noticed});
  return launched();
}

template <class T>
const char* reduce(const Call& c, int ranks, int kind, const Order& order, int64_t count) {
  if (kind == 1) return reduce<T, Max>(c, ranks, order, count);
  if (kind == 2) return reduce<T, Min>(c, ranks, order, count);
  return reduce<T, Sum>(c, ranks, order, count);
}

}  // namespace

const char* launch_virtual_exchange(const Call& c, int ranks, Type type, const Table& table) {
  switch (type) {
    case Type::kUnit1: return exchange<Unit<1>>(c, ranks, table);
    case Type::kUnit2: return exchange<Unit<2>>(c, ranks, table);
    case Type::kUnit4: return exchange<Unit<4>>(c, ranks, table);
    case Type::kUnit8: return exchange<Unit<8>>(c, ranks, table);
    case Type::kUnit16: return exchange<Unit<16>>(c, ranks, table);
    case Type::kF32: return exchange<float>(c, ranks, table);
    case Type::kF64: return exchange<double>(c, ranks, table);
    case Type::kS32: return exchange<int32_t>(c, ranks, table);
    case Type::kS64: return exchange<int64_t>(c, ranks, table);
    case Type::kC64: return exchange<Complex<float>>(c, ranks, table);
    default: return exchange<Complex<double>>(c, ranks, table);
  }
}

const char* launch_virtual_all_reduce(const Call& c, int ranks, Type type, int kind, const Order& order, int64_t count) {
  switch (type) {
    case Type::kF32: return reduce<float>(c, ranks, kind, order, count);
    case Type::kF64: return reduce<double>(c, ranks, kind, order, count);
    case Type::kS32: return reduce<int32_t>(c, ranks, kind, order, count);
    default: return reduce<int64_t>(c, ranks, kind, order, count);
  }
}

}  // namespace meshbayes
