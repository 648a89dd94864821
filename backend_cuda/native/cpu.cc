// The host build: XLA:CPU targets and the C functions with which Python sets communicators up.
//
// A target blocks its thread while it waits. XLA may run several devices on one thread after another, so nothing here
// belongs to a thread: the rank is that of the mesh place which the program hands in.
#include <shared_mutex>

#include "host.h"
#include "particles_cpu.h"
#include "xla/ffi/api/ffi.h"

#define MB_STREAM_CONTEXT xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>()
#define MB_STREAM_ARGUMENT xla::ffi::ThreadPool pool,
#define MB_STREAM &pool
#define MB_TRAITS
#include "ffi_particles.h"

namespace ffi = xla::ffi;
using namespace meshbayes;

namespace {

std::shared_mutex g_lock;
std::vector<std::unique_ptr<Communicator>> g_communicators;  // by handle, for life: programs hold handles

Communicator* find(int64_t handle) {
  std::shared_lock<std::shared_mutex> lock(g_lock);
  return handle >= 0 && handle < static_cast<int64_t>(g_communicators.size()) ? g_communicators[handle].get() : nullptr;
}

ffi::Error error_of(Status status, const Endpoint& at) {
  uint64_t word = load_acquire_system(&at.view.header(at.view.rank)->abort);
  std::string who = word ? " (noticed by rank " + std::to_string((word >> 32) - 1) + " of " + std::to_string(at.view.ranks) + ")" : "";
  std::string after = "; bind the mesh again before the next run";
  switch (status) {
    case Status::kOk: return ffi::Error::Success();
    case Status::kTimeout:
      return ffi::Error(ffi::ErrorCode::kDeadlineExceeded, "a peer did not arrive at a collective within the limit: it died, or runs another program" + who + after);
    case Status::kMismatch:
      return ffi::Error(ffi::ErrorCode::kInternal, "ranks called different collectives, or in a different order" + who + after);
    case Status::kTooLarge:
      return ffi::Error(ffi::ErrorCode::kResourceExhausted, "the message is larger than the staging slot of the communicator");
    default:
      return ffi::Error(ffi::ErrorCode::kAborted, "the communicator was aborted" + who + after);
  }
}

template <class Run>
ffi::Error at_endpoint(int64_t handle, ffi::Buffer<ffi::S32> place, ffi::Result<ffi::Buffer<ffi::F32>> token, Run run) {
  Communicator* comm = find(handle);
  Endpoint* at = comm ? comm->endpoint(place.typed_data()[0]) : nullptr;
  if (!at) return ffi::Error(ffi::ErrorCode::kFailedPrecondition, "the mesh of this program is not bound to native collectives");
  token->typed_data()[0] = 0.0f;
  return error_of(run(*at, comm->limit), *at);
}

// Whether there is arithmetic for a data type.
bool adds(ffi::DataType type) {
  return type == ffi::F32 || type == ffi::F64 || type == ffi::S32 || type == ffi::S64 || type == ffi::C64 || type == ffi::C128;
}
bool orders(ffi::DataType type) { return adds(type) && type != ffi::C64 && type != ffi::C128; }

ffi::Error no_such(ffi::DataType type) {
  return ffi::Error(ffi::ErrorCode::kUnimplemented, "no native collective for XLA's data type " + std::to_string(static_cast<int>(type)));
}

// A rank's exchange of blocks of a type: `unit` is the number of bytes that are copied at once, 0 where sources are added.
Status exchange_at(Endpoint& at, uint32_t call, std::chrono::milliseconds limit, int64_t unit, ffi::DataType type, const int64_t* words,
                   int64_t rounds, int64_t round_words, const void* x, void* y, int64_t y_bytes) {
  auto run = [&](auto zero) {
    using T = decltype(zero);
    return exchange(at, call, limit, words, static_cast<const T*>(x), static_cast<T*>(y), y_bytes, rounds, round_words);
  };
  switch (unit) {
    case 1: return run(Unit<1>{});
    case 2: return run(Unit<2>{});
    case 4: return run(Unit<4>{});
    case 8: return run(Unit<8>{});
    case 16: return run(Unit<16>{});
  }
  switch (type) {
    case ffi::F32: return run(float{});
    case ffi::F64: return run(double{});
    case ffi::S32: return run(int32_t{});
    case ffi::S64: return run(int64_t{});
    case ffi::C64: return run(Complex<float>{});
    default: return run(Complex<double>{});
  }
}

// The int64 words of a rank, kept as pairs of int32: a row for each round.
const int64_t* rows_of(const ffi::Buffer<ffi::S32>& table, int rank) {
  return reinterpret_cast<const int64_t*>(table.typed_data()) + rank * table.dimensions()[1] * (table.dimensions()[2] / 2);
}

// y = the rank's pulls of everybody's x.
ffi::Error exchange_impl(ffi::Buffer<ffi::S32> place, ffi::Buffer<ffi::S32> table, ffi::Buffer<ffi::F32>, ffi::AnyBuffer x,
                         ffi::Result<ffi::AnyBuffer> y, ffi::Result<ffi::Buffer<ffi::F32>> token, int64_t handle, int64_t call, int64_t unit) {
  if (unit == 0 && !adds(x.element_type())) return no_such(x.element_type());
  return at_endpoint(handle, place, token, [&](Endpoint& at, std::chrono::milliseconds limit) {
    return exchange_at(at, static_cast<uint32_t>(call), limit, unit, x.element_type(), rows_of(table, at.view.rank), table.dimensions()[1],
                       table.dimensions()[2] / 2, x.untyped_data(), y->untyped_data(), y->size_bytes());
  });
}

template <class T>
Status reduce(int64_t kind, Endpoint& at, uint32_t call, std::chrono::milliseconds limit, const Order& order, const void* x, void* y,
              int64_t n) {
  const T* from = static_cast<const T*>(x);
  T* to = static_cast<T*>(y);
  if (kind == 1) return all_reduce<T, Max>(at, call, limit, order, from, to, n);
  if (kind == 2) return all_reduce<T, Min>(at, call, limit, order, from, to, n);
  return all_reduce<T, Sum>(at, call, limit, order, from, to, n);
}

// kind: 0 sum, 1 max, 2 min; order: the ranks one after the other as they are combined.
Status reduce_at(Endpoint& at, uint32_t call, std::chrono::milliseconds limit, int64_t kind, ffi::Span<const int64_t> order,
                 ffi::DataType type, const void* x, void* y, int64_t n) {
  Order sequence{};
  for (size_t r = 0; r < order.size() && r < kMaxRanks; ++r) sequence.rank[r] = static_cast<uint8_t>(order.begin()[r]);
  switch (type) {
    case ffi::F32: return reduce<float>(kind, at, call, limit, sequence, x, y, n);
    case ffi::F64: return reduce<double>(kind, at, call, limit, sequence, x, y, n);
    case ffi::S32: return reduce<int32_t>(kind, at, call, limit, sequence, x, y, n);
    default: return reduce<int64_t>(kind, at, call, limit, sequence, x, y, n);
  }
}

ffi::Error all_reduce_impl(ffi::Buffer<ffi::S32> place, ffi::Buffer<ffi::F32>, ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> y,
                           ffi::Result<ffi::Buffer<ffi::F32>> token, int64_t handle, int64_t call, int64_t kind, ffi::Span<const int64_t> order) {
  if (!orders(x.element_type())) return no_such(x.element_type());
  return at_endpoint(handle, place, token, [&](Endpoint& at, std::chrono::milliseconds limit) {
    return reduce_at(at, static_cast<uint32_t>(call), limit, kind, order, x.element_type(), x.untyped_data(), y->untyped_data(), x.element_count());
  });
}

// Virtual ranks: the stacks of all ranks' blocks [rank, ...], a thread for each rank, one call after the other.
template <class Run>
ffi::Error at_all(int64_t handle, int ranks, ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> y, Run run) {
  static std::mutex one_call;
  std::lock_guard<std::mutex> lock(one_call);
  Communicator* comm = find(handle);
  std::vector<Status> status(ranks, Status::kOk);
  for (int r = 0; r < ranks; ++r)
    if (!comm || !comm->endpoint(r)) return ffi::Error(ffi::ErrorCode::kFailedPrecondition, "these virtual ranks are not bound");
  std::vector<std::thread> threads;
  for (int r = 0; r < ranks; ++r)
    threads.emplace_back([&, r] {
      auto from = static_cast<const char*>(x.untyped_data()) + r * (x.size_bytes() / ranks);
      auto to = static_cast<char*>(y->untyped_data()) + r * (y->size_bytes() / ranks);
      status[r] = run(*comm->endpoint(r), comm->limit, from, to);
    });
  for (auto& t : threads) t.join();
  for (int r = 0; r < ranks; ++r)
    if (status[r] != Status::kOk) return error_of(status[r], *comm->endpoint(r));
  return ffi::Error::Success();
}

ffi::Error virtual_exchange_impl(ffi::Buffer<ffi::S32> table, ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> y, int64_t handle, int64_t call,
                                 int64_t unit) {
  if (unit == 0 && !adds(x.element_type())) return no_such(x.element_type());
  return at_all(handle, static_cast<int>(table.dimensions()[0]), x, y, [&](Endpoint& at, auto limit, const void* from, void* to) {
    return exchange_at(at, static_cast<uint32_t>(call), limit, unit, x.element_type(), rows_of(table, at.view.rank), table.dimensions()[1],
                       table.dimensions()[2] / 2, from, to, y->size_bytes() / table.dimensions()[0]);
  });
}

ffi::Error virtual_all_reduce_impl(ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> y, int64_t handle, int64_t call, int64_t kind,
                                   ffi::Span<const int64_t> order) {
  if (!orders(x.element_type())) return no_such(x.element_type());
  auto ranks = static_cast<int>(order.size());
  return at_all(handle, ranks, x, y, [&](Endpoint& at, auto limit, const void* from, void* to) {
    return reduce_at(at, static_cast<uint32_t>(call), limit, kind, order, x.element_type(), from, to, x.element_count() / ranks);
  });
}

// y = x, but not before `behind` is there: what orders a collective of XLA's among ours. XLA:CPU drops its own barriers.
ffi::Error after_impl(ffi::AnyBuffer x, ffi::AnyBuffer, ffi::Result<ffi::AnyBuffer> y) {
  if (x.untyped_data() != y->untyped_data()) std::memcpy(y->untyped_data(), x.untyped_data(), x.size_bytes());
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(meshbayes_exchange, exchange_impl,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<int64_t>("handle")
                                  .Attr<int64_t>("call")
                                  .Attr<int64_t>("unit"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(meshbayes_all_reduce, all_reduce_impl,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<int64_t>("handle")
                                  .Attr<int64_t>("call")
                                  .Attr<int64_t>("kind")
                                  .Attr<ffi::Span<const int64_t>>("order"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(meshbayes_virtual_exchange, virtual_exchange_impl,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<int64_t>("handle")
                                  .Attr<int64_t>("call")
                                  .Attr<int64_t>("unit"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(meshbayes_virtual_all_reduce, virtual_all_reduce_impl,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<int64_t>("handle")
                                  .Attr<int64_t>("call")
                                  .Attr<int64_t>("kind")
                                  .Attr<ffi::Span<const int64_t>>("order"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(meshbayes_after, after_impl,
                              ffi::Ffi::Bind().Arg<ffi::AnyBuffer>().Arg<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>());

extern "C" {

int meshbayes_api_minor() { return XLA_FFI_API_MINOR; }

int64_t meshbayes_create(int64_t slot_bytes, int64_t limit_ms) {
  std::unique_lock<std::shared_mutex> lock(g_lock);
  g_communicators.push_back(std::make_unique<Communicator>(slot_bytes, limit_ms));
  return static_cast<int64_t>(g_communicators.size()) - 1;
}
int meshbayes_add_segment(int64_t handle, int place, const char* name, int create) {
  return find(handle)->add_segment(place, name, create != 0);
}
int meshbayes_add_endpoint(int64_t handle, int place, const int32_t* group, int ranks) {
  return find(handle)->add_endpoint(place, group, ranks);
}
int meshbayes_probe(int64_t handle) { return static_cast<int>(find(handle)->probe()); }
void meshbayes_reset(int64_t handle) { find(handle)->reset(); }
int meshbayes_unlink(const char* name) { return shm_unlink(name); }
}
