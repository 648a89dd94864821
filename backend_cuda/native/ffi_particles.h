// XLA's targets of painting and reading, of both libraries: each defines MB_STREAM_CONTEXT, `bind` with what of a
// call's context gives the stream, and MB_STREAM_ARGUMENT, how that arrives.
//
// Operands: displacements, values, guests' cells, t and values, fields. Results of painting: meshes and the memory of
// whole sums; of reading: what is read for the lattice's particles, then for guests. particles.py has checked them. All
// may have leading dims, a batch, which are 1 where an operand is the same for all of it.
#pragma once
#include "particles.h"
#include "xla/ffi/api/ffi.h"

namespace meshbayes {

namespace ffi = xla::ffi;

// The arrays of a call, and where those of one of its batch begin.
struct ParticleCall {
  ffi::RemainingArgs args;
  ffi::RemainingRets rets;
  ffi::Span<const int64_t> numbers;  // rank, fields, whether there are values; by dim cells, margin, points, to, from

  int rank() const { return static_cast<int>(numbers[0]); }
  int fields() const { return static_cast<int>(numbers[1]); }
  int valued() const { return numbers[2] ? fields() : 0; }
  int outer() const { return static_cast<int>(arg(0).dimensions().size()) - rank(); }

  ffi::AnyBuffer arg(int i) const { return *args.get<ffi::AnyBuffer>(i); }
  ffi::AnyBuffer result(int i) const { return **rets.get<ffi::AnyBuffer>(i); }

  int64_t batches() const {
    int64_t n = 1;
    for (int k = 0; k < outer(); ++k) n *= result(0).dimensions()[k];
    return n;
  }
  // An array's part for batch b.
  void* part(const ffi::AnyBuffer& x, int64_t b) const {
    int64_t at = 0, stride = 1;
    for (int k = outer() - 1; k >= 0; --k) {
      int64_t extent = x.dimensions()[k], all = result(0).dimensions()[k];
      at += extent == 1 ? 0 : b % all * stride;
      b /= all, stride *= extent;
    }
    return static_cast<char*>(x.untyped_data()) + at * static_cast<int64_t>(x.size_bytes()) / stride;
  }

  Form form() const { return {rank(), arg(0).element_type() == ffi::F64}; }

  Swarm swarm(int64_t b) const {
    Swarm s{};
    int d = rank(), v = valued(), at = 0;
    s.points = s.cells = 1, s.fields = fields();
    for (int a = 0; a < d; ++a) {
      const int64_t* n = numbers.begin() + 3 + 5 * a;
      s.axes[a] = {n[0], n[1], n[2], n[3], n[4]};
      s.points *= s.axes[a].points, s.cells *= s.axes[a].extent();
    }
    for (int a = 0; a < d; ++a) s.moved[a] = part(arg(at++), b);
    for (int f = 0; f < v; ++f) s.values[f] = part(arg(at++), b);
    s.guests = arg(at).dimensions()[outer()];
    for (int a = 0; a < d; ++a) s.guest_cells[a] = static_cast<const int32_t*>(part(arg(at++), b));
    for (int a = 0; a < d; ++a) s.guest_t[a] = part(arg(at++), b);
    for (int f = 0; f < v; ++f) s.guest_values[f] = part(arg(at++), b);
    return s;
  }

  template <class Launch>
  ffi::Error read(Launch launch, int found) const {
    for (int64_t b = 0; b < batches(); ++b) {
      const void* fields_of[kMaxFields] = {};
      void *own[kMaxFields] = {}, *guests[kMaxFields] = {};
      for (int f = 0, first = 3 * rank() + 2 * valued(); f < fields(); ++f) fields_of[f] = part(arg(first + f), b);
      for (int f = 0; f < found; ++f) own[f] = part(result(f), b), guests[f] = part(result(found + f), b);
      if (const char* why = launch(swarm(b), form(), fields_of, own, guests)) return ffi::Error(ffi::ErrorCode::kInternal, why);
    }
    return ffi::Error::Success();
  }
};

inline ffi::Error paint_impl(MB_STREAM_ARGUMENT ffi::RemainingArgs args, ffi::RemainingRets rets, ffi::Span<const int64_t> numbers) {
  ParticleCall call{args, rets, numbers};
  ffi::AnyBuffer sums = call.result(call.fields());
  for (int64_t b = 0; b < call.batches(); ++b) {
    void* meshes[kMaxFields] = {};
    for (int f = 0; f < call.fields(); ++f) meshes[f] = call.part(call.result(f), b);
    auto words = sums.element_count() ? static_cast<int64_t*>(call.part(sums, b)) : nullptr;
    if (const char* why = launch_paint(MB_STREAM, call.swarm(b), call.form(), meshes, words)) return ffi::Error(ffi::ErrorCode::kInternal, why);
  }
  return ffi::Error::Success();
}

inline ffi::Error read_impl(MB_STREAM_ARGUMENT ffi::RemainingArgs args, ffi::RemainingRets rets, ffi::Span<const int64_t> numbers) {
  ParticleCall call{args, rets, numbers};
  return call.read([&](auto... given) { return launch_read(MB_STREAM, given...); }, call.fields());
}

inline ffi::Error read_slopes_impl(MB_STREAM_ARGUMENT ffi::RemainingArgs args, ffi::RemainingRets rets, ffi::Span<const int64_t> numbers) {
  ParticleCall call{args, rets, numbers};
  return call.read([&](auto... given) { return launch_slopes(MB_STREAM, given...); }, call.rank());
}

}  // namespace meshbayes

#define MB_PARTICLE_TARGET MB_STREAM_CONTEXT.RemainingArgs().RemainingRets().Attr<xla::ffi::Span<const int64_t>>("numbers")
XLA_FFI_DEFINE_HANDLER_SYMBOL(meshbayes_paint, meshbayes::paint_impl, MB_PARTICLE_TARGET, {MB_TRAITS});
XLA_FFI_DEFINE_HANDLER_SYMBOL(meshbayes_read, meshbayes::read_impl, MB_PARTICLE_TARGET, {MB_TRAITS});
XLA_FFI_DEFINE_HANDLER_SYMBOL(meshbayes_read_slopes, meshbayes::read_slopes_impl, MB_PARTICLE_TARGET, {MB_TRAITS});
