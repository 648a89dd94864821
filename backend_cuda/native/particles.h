// Particles that share themselves among the eight cells around them (cloud in cell): what one of them does, the same on
// the host and on a GPU.
//
// `ir.assign.Cells` says where: the number of a particle's first cell in the flat block, margins and tails included, and
// its place t in [0, 1] from there by dim. The other cells follow by adding constants, so nothing goes around here.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "core.h"

namespace meshbayes {

// The operands of a call, in the memory of where it runs.
struct Lattice {
  const void* first;  // by particle, int32 or int64
  const void* t[3];   // by dim, then by particle
  const void* values; // by particle, or one for all
  int64_t particles, cells;
  int64_t strides[2];  // of the first two dims; that of the last one is 1
  bool wide;           // whether `first` has 64 bits
  bool alike;          // whether there is one value for all
};

template <class T, class Index>
struct Cloud {
  const Index* first;
  const T *x, *y, *z, *values;
  int64_t particles, rows, columns;
  bool alike;

  explicit Cloud(const Lattice& l)
      : first(static_cast<const Index*>(l.first)), x(static_cast<const T*>(l.t[0])), y(static_cast<const T*>(l.t[1])),
        z(static_cast<const T*>(l.t[2])), values(static_cast<const T*>(l.values)), particles(l.particles), rows(l.strides[0]),
        columns(l.strides[1]), alike(l.alike) {}

  MB_HD T value(int64_t p) const { return values[alike ? 0 : p]; }

  // each(number of a cell, the part of particle p that it has), in the order of `Cells.over`.
  template <class Each>
  MB_HD void over(int64_t p, Each each) const {
    int64_t at = first[p];
    T in[3][2] = {{1 - x[p], x[p]}, {1 - y[p], y[p]}, {1 - z[p], z[p]}};
#if defined(__CUDA_ARCH__)
#pragma unroll
#endif
    for (int corner = 0; corner < 8; ++corner) {
      int i = corner >> 2, j = corner >> 1 & 1, k = corner & 1;
      each(at + i * rows + j * columns + k, in[0][i] * in[1][j] * in[2][k]);
    }
  }
  // Rounded once, as XLA has it where the processor multiplies and adds in one.
  MB_HD T read(int64_t p, const T* field) const {
    T sum = 0;
    over(p, [&](int64_t cell, T part) { sum = std::fma(part, field[cell], sum); });
    return sum;
  }

  // --- sums in whole numbers, which have no order ---

  // The bits of |value|, which order as the numbers do, with NaN above all; those of NaN for a particle that is nowhere.
  MB_HD uint64_t weight_bits(int64_t p) const {
    bool inside = x[p] >= 0 && x[p] <= 1 && y[p] >= 0 && y[p] <= 1 && z[p] >= 0 && z[p] <= 1;
    double v = inside ? std::fabs(static_cast<double>(value(p))) : static_cast<double>(NAN);
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

// Of `paint`: `sums` has cells + 1 words where sums are made in whole numbers, the last one for the largest value, and is
// null where they are made in the order in which particles come. Errors as text, null where all is well.
const char* launch_paint(void* stream, const Lattice& l, bool is_double, void* mesh, int64_t* sums);
const char* launch_read(void* stream, const Lattice& l, bool is_double, const void* field, void* values);

}  // namespace meshbayes
