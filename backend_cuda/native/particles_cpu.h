// Painting and reading on the host, particle by particle: what the kernels are tested by.
#pragma once
#include <algorithm>
#include <vector>

#include "particles.h"

namespace meshbayes {

template <class T, class Index>
void paint_on_host(const Lattice& l, T* mesh, int64_t* sums) {
  Cloud<T, Index> cloud(l);
  if (!sums) {
    std::fill(mesh, mesh + l.cells, T{0});
    for (int64_t p = 0; p < l.particles; ++p) {
      T value = cloud.value(p);
      cloud.over(p, [&](int64_t cell, T part) { mesh[cell] += part * value; });
    }
    return;
  }
  std::fill(sums, sums + l.cells, int64_t{0});
  uint64_t most = 0;
  for (int64_t p = 0; p < l.particles; ++p) most = std::max(most, cloud.weight_bits(p));
  FixedPoint fixed(most, l.particles);
  for (int64_t p = 0; fixed.finite() && p < l.particles; ++p) {
    T value = cloud.value(p);
    cloud.over(p, [&](int64_t cell, T part) { sums[cell] += fixed.whole(static_cast<double>(part) * value); });
  }
  for (int64_t i = 0; i < l.cells; ++i) mesh[i] = static_cast<T>(fixed.number(sums[i]));
}

template <class T, class Index>
void read_on_host(const Lattice& l, const void* field, void* values) {
  Cloud<T, Index> cloud(l);
  for (int64_t p = 0; p < l.particles; ++p) static_cast<T*>(values)[p] = cloud.read(p, static_cast<const T*>(field));
}

inline const char* launch_paint(void*, const Lattice& l, bool is_double, void* mesh, int64_t* sums) {
  auto as = [&](auto zero) {
    using T = decltype(zero);
    l.wide ? paint_on_host<T, int64_t>(l, static_cast<T*>(mesh), sums) : paint_on_host<T, int32_t>(l, static_cast<T*>(mesh), sums);
  };
  is_double ? as(double{}) : as(float{});
  return nullptr;
}

inline const char* launch_read(void*, const Lattice& l, bool is_double, const void* field, void* values) {
  auto as = [&](auto zero) {
    using T = decltype(zero);
    l.wide ? read_on_host<T, int64_t>(l, field, values) : read_on_host<T, int32_t>(l, field, values);
  };
  is_double ? as(double{}) : as(float{});
  return nullptr;
}

}  // namespace meshbayes
