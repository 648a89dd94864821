// XLA's targets of painting and reading, of both libraries: each defines MB_STREAM_CONTEXT, `bind` with what of a
// call's context gives the stream, and MB_STREAM_ARGUMENT, how that arrives.
#pragma once
#include "particles.h"
#include "xla/ffi/api/ffi.h"

namespace meshbayes {

namespace ffi = xla::ffi;

inline ffi::Error of_particles(const char* why) { return why ? ffi::Error(ffi::ErrorCode::kInternal, why) : ffi::Error::Success(); }

// Python has checked shapes and types (particles.py).
inline Lattice lattice_of(const ffi::AnyBuffer& first, const ffi::AnyBuffer& x, const ffi::AnyBuffer& y, const ffi::AnyBuffer& z,
                          const void* values, int64_t count, int64_t cells, ffi::Span<const int64_t> strides) {
  auto particles = static_cast<int64_t>(first.element_count());
  return {first.untyped_data(), {x.untyped_data(), y.untyped_data(), z.untyped_data()}, values, particles, cells,
          {strides[0], strides[1]}, first.element_type() == ffi::S64, count == 1};
}

inline ffi::Error paint_impl(MB_STREAM_ARGUMENT ffi::AnyBuffer first, ffi::AnyBuffer x, ffi::AnyBuffer y, ffi::AnyBuffer z,
                             ffi::AnyBuffer values, ffi::Result<ffi::AnyBuffer> mesh, ffi::Result<ffi::Buffer<ffi::S32>> sums,
                             ffi::Span<const int64_t> strides) {
  auto cells = static_cast<int64_t>(mesh->element_count());
  Lattice l = lattice_of(first, x, y, z, values.untyped_data(), values.element_count(), cells, strides);
  auto words = sums->element_count() ? reinterpret_cast<int64_t*>(sums->typed_data()) : nullptr;
  return of_particles(launch_paint(MB_STREAM, l, x.element_type() == ffi::F64, mesh->untyped_data(), words));
}

inline ffi::Error read_impl(MB_STREAM_ARGUMENT ffi::AnyBuffer first, ffi::AnyBuffer x, ffi::AnyBuffer y, ffi::AnyBuffer z,
                            ffi::AnyBuffer field, ffi::Result<ffi::AnyBuffer> values, ffi::Span<const int64_t> strides) {
  Lattice l = lattice_of(first, x, y, z, nullptr, 0, field.element_count(), strides);
  return of_particles(launch_read(MB_STREAM, l, x.element_type() == ffi::F64, field.untyped_data(), values->untyped_data()));
}

}  // namespace meshbayes

XLA_FFI_DEFINE_HANDLER_SYMBOL(meshbayes_paint, meshbayes::paint_impl,
                              MB_STREAM_CONTEXT.Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::Buffer<xla::ffi::S32>>()
                                  .Attr<xla::ffi::Span<const int64_t>>("strides"),
                              {MB_TRAITS});
XLA_FFI_DEFINE_HANDLER_SYMBOL(meshbayes_read, meshbayes::read_impl,
                              MB_STREAM_CONTEXT.Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Attr<xla::ffi::Span<const int64_t>>("strides"),
                              {MB_TRAITS});
