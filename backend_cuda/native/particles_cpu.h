// Painting and reading on the host: painting in the particles' order, reading on the threads that XLA has.
#pragma once
#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

#include "particles.h"
#include "xla/ffi/api/ffi.h"

namespace meshbayes {

constexpr int kTogether = 64;  // particles whose places are found together, in vectors

// The places of the lattice's particles from `begin` on, n along dim A; `row` is the first one's number along the others.
template <int A, class C, class T = typename C::Number>
void place(const C& cloud, const typename C::Point& row, int64_t p, int n, const int32_t* cells, const T* parts, int32_t* first, T* t) {
  constexpr bool kLast = A == C::kDims - 1;
  auto moved = static_cast<const T*>(cloud.s.moved[A]) + p;
  cells += row.i[A], parts += row.i[A];
  for (int q = 0; q < n; ++q) first[q] = first_cell(moved[q], parts[kLast ? q : 0], t[q]) + cells[kLast ? q : 0];
}

// each(where a particle stands, its number) over the particles of a cloud from `begin` to `end`.
template <class C, class Each>
void each_particle(const C& cloud, int64_t begin, int64_t end, Each each) {
  using T = typename C::Number;
  constexpr int D = C::kDims;
  std::vector<int32_t> cells[D];
  std::vector<T> parts[D];
  for (int a = 0; a < D; ++a)
    for (int64_t i = 0; i < cloud.s.axes[a].points; ++i) {
      parts[a].emplace_back();
      cells[a].push_back(static_cast<int32_t>(cloud.cell(a, i, parts[a].back())));
    }
  int32_t first[D][kTogether];
  T t[D][kTogether];
  int64_t length = cloud.s.axes[D - 1].points, residents = std::min(end, cloud.s.points);
  for (int64_t p = begin, n; p < residents; p += n) {
    auto point = cloud.point(p);
    n = std::min<int64_t>({kTogether, length - point.i[D - 1], residents - p});
    auto along = [&](auto a) { place<a>(cloud, point, p, n, cells[a].data(), parts[a].data(), first[a], t[a]); };
    along(std::integral_constant<int, 0>{});
    if constexpr (D > 1) along(std::integral_constant<int, 1>{});
    if constexpr (D > 2) along(std::integral_constant<int, 2>{});
    for (int q = 0; q < n; ++q) {
      typename C::Stand stand;
      for (int a = 0; a < D; ++a) cloud.put(stand, a, first[a][q], t[a][q]);
      each(stand, p + q);
    }
  }
  for (int64_t p = std::max(begin, cloud.s.points); p < end; ++p) each(cloud.guest(p - cloud.s.points), p);
}
template <class C, class Each>
void each_particle(const C& cloud, Each each) {
  each_particle(cloud, 0, cloud.count(), each);
}

// The same on the threads of XLA's pool and this one, part by part. Nobody waits for a thread that has not begun: when it
// does, nothing is left for it.
template <class C, class Each>
void each_in_parallel(void* pool, const C& cloud, Each each) {
  constexpr int64_t kPart = 1 << 14;
  auto xla = static_cast<xla::ffi::ThreadPool*>(pool);
  int64_t n = cloud.count(), parts = (n + kPart - 1) / kPart, threads = xla ? std::min(xla->num_threads(), parts) : 1;
  if (threads < 2) return each_particle(cloud, each);
  struct Work {
    std::atomic<int64_t> next{0}, done{0};
  };
  auto work = std::make_shared<Work>();
  auto take = [=, &cloud, &each] {
    for (int64_t i; (i = work->next++) < parts; ++work->done) each_particle(cloud, i * kPart, std::min(n, (i + 1) * kPart), each);
  };
  for (int64_t i = 1; i < threads; ++i) xla->Schedule([take] { take(); });
  take();
  while (work->done < parts) std::this_thread::yield();
}

template <class C, class T = typename C::Number>
void paint_whole_on_host(const C& cloud, int f, T* mesh, int64_t* sums) {
  std::fill(sums, sums + cloud.s.cells, int64_t{0});
  uint64_t most = 0;
  each_particle(cloud, [&](const auto& stand, int64_t p) { most = std::max(most, cloud.value_bits(stand, f, p)); });
  FixedPoint fixed(most, cloud.count());
  if (fixed.finite())
    each_particle(cloud, [&](const auto& stand, int64_t p) {
      T value = cloud.value(f, p);
      cloud.over(stand, [&](int64_t cell, T part) { sums[cell] += fixed.whole(static_cast<double>(part) * value); });
    });
  for (int64_t i = 0; i < cloud.s.cells; ++i) mesh[i] = static_cast<T>(fixed.number(sums[i]));
}

inline const char* launch_paint(void*, const Swarm& s, const Form& form, void* const* meshes, int64_t* sums) {
  with_cloud(s, form, [&](const auto& cloud) {
    using T = typename std::decay_t<decltype(cloud)>::Number;
    T* mesh[kMaxFields];
    for (int f = 0; f < s.fields; ++f) {
      mesh[f] = static_cast<T*>(meshes[f]);
      sums ? paint_whole_on_host(cloud, f, mesh[f], sums) : std::fill(mesh[f], mesh[f] + s.cells, T{0});
    }
    if (sums) return;
    each_particle(cloud, [&](const auto& stand, int64_t p) {
      for (int f = 0; f < s.fields; ++f) {
        T value = cloud.value(f, p);
        cloud.over(stand, [&](int64_t cell, T part) { mesh[f][cell] += part * value; });
      }
    });
  });
  return nullptr;
}

inline const char* launch_read(void* pool, const Swarm& s, const Form& form, const void* const* fields, void* const* found, void* const* guests) {
  with_cloud(s, form, [&](const auto& cloud) {
    using T = typename std::decay_t<decltype(cloud)>::Number;
    each_in_parallel(pool, cloud, [&](const auto& stand, int64_t p) {
      for (int f = 0; f < s.fields; ++f) {
        T value = cloud.read(stand, static_cast<const T*>(fields[f]));
        (p < s.points ? static_cast<T*>(found[f]) + p : static_cast<T*>(guests[f]) + (p - s.points))[0] = value;
      }
    });
  });
  return nullptr;
}

inline const char* launch_slopes(void* pool, const Swarm& s, const Form& form, const void* const* fields, void* const* found, void* const* guests) {
  with_cloud(s, form, [&](const auto& cloud) {
    using T = typename std::decay_t<decltype(cloud)>::Number;
    each_in_parallel(pool, cloud, [&](const auto& stand, int64_t p) {
      T slopes[3] = {};
      cloud.slopes(stand, p, fields, slopes);
      for (int a = 0; a < form.rank; ++a)
        (p < s.points ? static_cast<T*>(found[a]) + p : static_cast<T*>(guests[a]) + (p - s.points))[0] = slopes[a];
    });
  });
  return nullptr;
}

}  // namespace meshbayes
