// Particles of a lattice that have moved, and a block of a mesh: what one of them does, the same on the host and on a GPU.
//
// As `ir.assign` has it: a particle is a cloud in cell and shares itself among two cells along each dim, of which the first
// one gets 1 - t and the other one t. Where a dim is whole, cells go around; where it is split, the block has margins. After the
// lattice's particles come guests, of whom the first cell and t are given.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "core.h"

#if defined(__CUDA_ARCH__) || defined(__clang__)
#define MB_UNROLL _Pragma("unroll")
#elif defined(__CUDACC__)
#define MB_UNROLL  // nvcc reads the host's side too, and knows neither there
#else
#define MB_UNROLL _Pragma("GCC unroll 4")
#endif

namespace meshbayes {

constexpr int kMaxFields = 8;  // meshes that one call paints or reads

// A dim of the mesh's block, and where the lattice lies on it: point i at cell i * to / from.
struct ParticleAxis {
  int64_t cells, margin, points, to, from;  // margin: -1 where the dim is whole
  MB_HD int64_t extent() const { return margin < 0 ? cells : cells + 2 * margin; }
};

// The particles of a call, in the memory of where it runs. Values: null where each particle counts as one.
struct Swarm {
  ParticleAxis axes[3];
  const void* moved[3];  // by dim, then by particle [cells]
  const void* values[kMaxFields];
  const int32_t* guest_cells[3];
  const void* guest_t[3];
  const void* guest_values[kMaxFields];
  int64_t points, guests, cells;  // cells of the block with its margins
  int fields;                     // how many meshes are painted or read
};

// The first cell of a particle that has moved by u [cells] and stands `part` of one behind a cell, from that cell, and its
// place t behind it. NaN, and what is so far away that T does not know its cell, is at cell 0 with t = NaN.
template <class T>
MB_HD int32_t first_cell(T u, T part, T& t) {
  u = std::fabs(u) < T(4194304) ? u + part : static_cast<T>(NAN);  // `ir.assign.FARTHEST`
  T number = u == u ? u : T(0);
  auto whole = static_cast<int32_t>(number);
  whole -= static_cast<T>(whole) > number;
  t = u - static_cast<T>(whole);
  return whole;
}

// Particles in D dims with numbers of a type.
template <class T, int D>
struct Cloud {
  using Number = T;
  static constexpr int kDims = D;
  Swarm s;
  int64_t strides[D];

  explicit Cloud(const Swarm& swarm) : s(swarm) {
    int64_t stride = 1;
    for (int a = D - 1; a >= 0; --a) strides[a] = stride, stride *= s.axes[a].extent();
  }

  // The place of particle p in the lattice.
  struct Point {
    int64_t i[D];
  };
  MB_HD Point point(int64_t p) const {
    Point found;
    for (int a = D - 1; a >= 0; --a) found.i[a] = p % s.axes[a].points, p /= s.axes[a].points;
    return found;
  }
  // The cell of lattice point i along dim a, and the part of a cell by which it stands behind it.
  MB_HD int64_t cell(int a, int64_t i, T& part) const {
    int64_t to = s.axes[a].to, from = s.axes[a].from, whole = to == from ? i : i * to / from;
    part = to == from ? T(0) : static_cast<T>(static_cast<double>(i * to - whole * from) / from);
    return whole;
  }

  // Where a particle stands: by dim, the offsets of the cells that it touches, and t.
  struct Stand {
    int64_t at[D][2];
    T t[D];
  };
  // A first cell in the block: around where the dim is whole, never outside.
  MB_HD int64_t settled(int a, int64_t first) const {
    const ParticleAxis& axis = s.axes[a];
    if (axis.margin >= 0) {
      int64_t last = axis.extent() - 2;
      first += axis.margin;
      return first < 0 ? 0 : first > last ? last : first;
    }
    if (static_cast<uint64_t>(first) < static_cast<uint64_t>(axis.cells)) return first;
    first %= axis.cells;
    return first < 0 ? first + axis.cells : first;
  }
  MB_HD void put(Stand& stand, int a, int64_t first, T t) const {
    stand.t[a] = t;
    first = settled(a, first);
    MB_UNROLL
    for (int j = 0; j < 2; ++j) {
      stand.at[a][j] = first * strides[a];
      if (++first == s.axes[a].cells && s.axes[a].margin < 0) first = 0;
    }
  }
  // Of particle p of all: the lattice's, then guests.
  MB_HD Stand stand(int64_t p) const {
    if (p >= s.points) return guest(p - s.points);
    Stand found;
    Point at = point(p);
    MB_UNROLL
    for (int a = 0; a < D; ++a) {
      T part, t;
      int64_t from = cell(a, at.i[a], part);
      from += first_cell(static_cast<const T*>(s.moved[a])[p], part, t);
      put(found, a, from, t);
    }
    return found;
  }
  MB_HD Stand guest(int64_t q) const {
    Stand found;
    MB_UNROLL
    for (int a = 0; a < D; ++a) put(found, a, s.guest_cells[a][q], static_cast<const T*>(s.guest_t[a])[q]);
    return found;
  }

  // each(a cell, the part of the particle that it has).
  template <class Each>
  MB_HD void over(const Stand& stand, Each each) const {
    nest<0>(stand, 0, 1, each);
  }
  template <int A, class Each>
  MB_HD void nest(const Stand& stand, int64_t cell, T part, Each& each) const {
    if constexpr (A == D) {
      each(cell, part);
    } else {
      nest<A + 1>(stand, cell + stand.at[A][0], part * (1 - stand.t[A]), each);
      nest<A + 1>(stand, cell + stand.at[A][1], part * stand.t[A], each);
    }
  }

  MB_HD int64_t count() const { return s.points + s.guests; }
  MB_HD T value(int f, int64_t p) const {
    if (p < s.points) return s.values[f] ? static_cast<const T*>(s.values[f])[p] : T(1);
    return s.guest_values[f] ? static_cast<const T*>(s.guest_values[f])[p - s.points] : T(1);
  }

  // What is read from field f.
  MB_HD T read(const Stand& stand, const T* field) const {
    T sum = 0;
    over(stand, [&](int64_t cell, T part) { sum += part * field[cell]; });
    return sum;
  }
  // By dim, what moving particle p would change in the sum of fields times its values.
  MB_HD void slopes(const Stand& stand, int64_t p, const void* const* fields, T* found) const {
    bool weighed = s.values[0];
    auto term = [&](int f, int64_t cell) {
      T there = static_cast<const T*>(fields[f])[cell];
      return weighed ? value(f, p) * there : there;
    };
    steepest<0>(stand, 0, found, [&](int64_t cell) {
      T sum = term(0, cell);
      for (int f = 1; f < s.fields; ++f) sum += term(f, cell);
      return sum;
    });
  }
  // What is interpolated along dims A and later from a cell of those before, returned, and its slopes along them.
  template <int A, class At>
  MB_HD T steepest(const Stand& stand, int64_t cell, T* slopes, const At& at) const {
    if constexpr (A == D) {
      return at(cell);
    } else {
      T low[D], high[D], t = stand.t[A];
      T first = steepest<A + 1>(stand, cell + stand.at[A][0], low, at);
      T second = steepest<A + 1>(stand, cell + stand.at[A][1], high, at);
      slopes[A] = second - first;
      MB_UNROLL
      for (int a = A + 1; a < D; ++a) slopes[a] = (1 - t) * low[a] + t * high[a];
      return (1 - t) * first + t * second;
    }
  }

  // --- sums in whole numbers, which have no order ---

  // The bits of |value|, which order as the numbers do, with NaN above all; those of NaN for a particle that is nowhere.
  MB_HD uint64_t value_bits(const Stand& stand, int f, int64_t p) const {
    double v = std::fabs(static_cast<double>(value(f, p)));
    for (int a = 0; a < D; ++a) v = stand.t[a] == stand.t[a] ? v : static_cast<double>(NAN);
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits & 0x7fffffffffffffffu;
  }
};

// How a value becomes a whole number: times a power of two, as large as lets all particles meet in one cell.
struct FixedPoint {
  double scale;  // NaN where a value is not finite
  MB_HD FixedPoint(uint64_t largest, int64_t particles) {
    double v;
    memcpy(&v, &largest, sizeof v);
    int exponent = 0;
    std::frexp(v * static_cast<double>(particles), &exponent);  // below 2^exponent
    if (exponent < -900) exponent = -900;
    scale = std::isfinite(v * particles) ? std::ldexp(1.0, 61 - exponent) : static_cast<double>(NAN);
  }
  MB_HD bool finite() const { return scale == scale; }
  MB_HD int64_t whole(double part) const { return std::llrint(part * scale); }
  MB_HD double number(int64_t whole) const { return finite() ? static_cast<double>(whole) / scale : scale; }
};

// Which cloud a call wants.
struct Form {
  int rank;
  bool is_double;
};

template <class T, class Run>
void with_rank(const Swarm& s, int rank, Run run) {
  if (rank == 1) return run(Cloud<T, 1>(s));
  if (rank == 2) return run(Cloud<T, 2>(s));
  run(Cloud<T, 3>(s));
}
template <class Run>
void with_cloud(const Swarm& s, const Form& form, Run run) {
  form.is_double ? with_rank<double>(s, form.rank, run) : with_rank<float>(s, form.rank, run);
}

// Errors as text, null where all is well. Meshes, fields and what is read: a pointer for each; of guests apart.
//
// Of painting: `sums` has cells + 1 words where sums are made in whole numbers, the last one for the largest value, and is
// null where they are made in the order in which particles come.
const char* launch_paint(void* stream, const Swarm& s, const Form& form, void* const* meshes, int64_t* sums);
const char* launch_read(void* stream, const Swarm& s, const Form& form, const void* const* fields, void* const* found, void* const* guests);
const char* launch_slopes(void* stream, const Swarm& s, const Form& form, const void* const* fields, void* const* found, void* const* guests);

}  // namespace meshbayes
