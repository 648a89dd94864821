// XLA:GPU targets of the CUDA library, under the names of the host's: thin, so that nvcc never sees XLA's headers.
#include <string>

#include "cuda.h"
#include "xla/ffi/api/ffi.h"

#define MB_STREAM_CONTEXT xla::ffi::Ffi::Bind().Ctx<xla::ffi::PlatformStream<void*>>()
#define MB_STREAM_ARGUMENT void *stream,
#define MB_STREAM stream
#define MB_TRAITS xla::ffi::Traits::kCmdBufferCompatible
#include "ffi_particles.h"

namespace ffi = xla::ffi;
using namespace meshbayes;

namespace {

ffi::Error error_of(const char* why) {
  return why ? ffi::Error(ffi::ErrorCode::kAborted, why) : ffi::Error::Success();
}

ffi::Error no_such(ffi::DataType type) {
  return ffi::Error(ffi::ErrorCode::kUnimplemented, "no native collective for XLA's data type " + std::to_string(static_cast<int>(type)));
}

// The type that is added up, or kUnit1 where there is none.
Type added(ffi::DataType type) {
  switch (type) {
    case ffi::F32: return Type::kF32;
    case ffi::F64: return Type::kF64;
    case ffi::S32: return Type::kS32;
    case ffi::S64: return Type::kS64;
    case ffi::C64: return Type::kC64;
    case ffi::C128: return Type::kC128;
    default: return Type::kUnit1;
  }
}

Call call_of(void* stream, int32_t device, ffi::Buffer<ffi::S32> place, ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> y,
             ffi::Result<ffi::Buffer<ffi::F32>> token, int64_t handle, int64_t call) {
  return {handle, device, stream, place.typed_data(), token->typed_data(), x.untyped_data(), y->untyped_data(),
          static_cast<int64_t>(x.size_bytes()), static_cast<int64_t>(y->size_bytes()), static_cast<uint32_t>(call)};
}

Table table_of(const ffi::Buffer<ffi::S32>& table) {
  return {table.typed_data(), table.dimensions()[1], table.dimensions()[2] / 2};
}

// The type of an exchange; kUnit1 with units of 0 where there is no sum.
bool type_of(int64_t unit, ffi::DataType x, Type* type) {
  switch (unit) {
    case 1: *type = Type::kUnit1; return true;
    case 2: *type = Type::kUnit2; return true;
    case 4: *type = Type::kUnit4; return true;
    case 8: *type = Type::kUnit8; return true;
    case 16: *type = Type::kUnit16; return true;
    default: *type = added(x); return *type != Type::kUnit1;
  }
}

Order order_of(ffi::Span<const int64_t> order) {
  Order ranks{};
  for (size_t r = 0; r < order.size() && r < kMaxRanks; ++r) ranks.rank[r] = static_cast<uint8_t>(order.begin()[r]);
  return ranks;
}

bool reduces(ffi::DataType x, Type* type) {
  *type = added(x);
  return *type == Type::kF32 || *type == Type::kF64 || *type == Type::kS32 || *type == Type::kS64;
}

ffi::Error exchange_impl(void* stream, int32_t device, ffi::Buffer<ffi::S32> place, ffi::Buffer<ffi::S32> table, ffi::Buffer<ffi::F32>,
                         ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> y, ffi::Result<ffi::Buffer<ffi::F32>> token, int64_t handle,
                         int64_t call, int64_t unit) {
  Type type;
  if (!type_of(unit, x.element_type(), &type)) return no_such(x.element_type());
  return error_of(launch_exchange(call_of(stream, device, place, x, y, token, handle, call), type, table_of(table)));
}

ffi::Error all_reduce_impl(void* stream, int32_t device, ffi::Buffer<ffi::S32> place, ffi::Buffer<ffi::F32>, ffi::AnyBuffer x,
                           ffi::Result<ffi::AnyBuffer> y, ffi::Result<ffi::Buffer<ffi::F32>> token, int64_t handle, int64_t call,
                           int64_t kind, ffi::Span<const int64_t> order) {
  Type type;
  if (!reduces(x.element_type(), &type)) return no_such(x.element_type());
  return error_of(launch_all_reduce(call_of(stream, device, place, x, y, token, handle, call), type, static_cast<int>(kind),
                                    order_of(order), x.element_count()));
}

// Stacks of blocks [rank, ...]; the virtual ranks need no token, as one launch holds them all.
Call virtual_call(void* stream, int32_t device, ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> y, int64_t handle, int64_t call) {
  return {handle, device, stream, nullptr, nullptr, x.untyped_data(), y->untyped_data(),
          static_cast<int64_t>(x.size_bytes()), static_cast<int64_t>(y->size_bytes()), static_cast<uint32_t>(call)};
}

ffi::Error virtual_exchange_impl(void* stream, int32_t device, ffi::Buffer<ffi::S32> table, ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> y,
                                 int64_t handle, int64_t call, int64_t unit) {
  Type type;
  if (!type_of(unit, x.element_type(), &type)) return no_such(x.element_type());
  return error_of(launch_virtual_exchange(virtual_call(stream, device, x, y, handle, call), static_cast<int>(table.dimensions()[0]), type,
                                          table_of(table)));
}

ffi::Error virtual_all_reduce_impl(void* stream, int32_t device, ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> y, int64_t handle, int64_t call,
                                   int64_t kind, ffi::Span<const int64_t> order) {
  Type type;
  if (!reduces(x.element_type(), &type)) return no_such(x.element_type());
  auto ranks = static_cast<int64_t>(order.size());
  return error_of(launch_virtual_all_reduce(virtual_call(stream, device, x, y, handle, call), static_cast<int>(ranks), type,
                                            static_cast<int>(kind), order_of(order), x.element_count() / ranks));
}

ffi::Error after_impl(void* stream, ffi::AnyBuffer x, ffi::AnyBuffer, ffi::Result<ffi::AnyBuffer> y) {
  if (x.untyped_data() == y->untyped_data()) return ffi::Error::Success();
  return error_of(launch_copy(stream, y->untyped_data(), x.untyped_data(), static_cast<int64_t>(x.size_bytes())));
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(meshbayes_exchange, exchange_impl,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::PlatformStream<void*>>()
                                  .Ctx<ffi::DeviceOrdinal>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<int64_t>("handle")
                                  .Attr<int64_t>("call")
                                  .Attr<int64_t>("unit"),
                              {ffi::Traits::kCmdBufferCompatible});
XLA_FFI_DEFINE_HANDLER_SYMBOL(meshbayes_all_reduce, all_reduce_impl,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::PlatformStream<void*>>()
                                  .Ctx<ffi::DeviceOrdinal>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<int64_t>("handle")
                                  .Attr<int64_t>("call")
                                  .Attr<int64_t>("kind")
                                  .Attr<ffi::Span<const int64_t>>("order"),
                              {ffi::Traits::kCmdBufferCompatible});
XLA_FFI_DEFINE_HANDLER_SYMBOL(meshbayes_after, after_impl,
                              ffi::Ffi::Bind().Ctx<ffi::PlatformStream<void*>>().Arg<ffi::AnyBuffer>().Arg<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>(),
                              {ffi::Traits::kCmdBufferCompatible});
XLA_FFI_DEFINE_HANDLER_SYMBOL(meshbayes_virtual_exchange, virtual_exchange_impl,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::PlatformStream<void*>>()
                                  .Ctx<ffi::DeviceOrdinal>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<int64_t>("handle")
                                  .Attr<int64_t>("call")
                                  .Attr<int64_t>("unit"),
                              {ffi::Traits::kCmdBufferCompatible});
XLA_FFI_DEFINE_HANDLER_SYMBOL(meshbayes_virtual_all_reduce, virtual_all_reduce_impl,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::PlatformStream<void*>>()
                                  .Ctx<ffi::DeviceOrdinal>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<int64_t>("handle")
                                  .Attr<int64_t>("call")
                                  .Attr<int64_t>("kind")
                                  .Attr<ffi::Span<const int64_t>>("order"),
                              {ffi::Traits::kCmdBufferCompatible});
