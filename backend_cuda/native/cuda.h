// What the CUDA side offers to XLA's (ffi_cuda.cc): launchers that know no XLA, and errors as text, null where all is well.
#pragma once
#include <cstdint>

#include "core.h"

namespace meshbayes {

// The numbers of a call. Pointers are to device memory; `place` and `table` are operands of the program, so that nothing
// is read on the host and a CUDA graph may hold the launch.
struct Call {
  int64_t handle;
  int32_t device;  // where the kernels run: which copy of the views they read; the rank is that of `place`
  void* stream;
  const int32_t* place;
  float* token;
  const void* x;
  void* y;
  int64_t x_bytes, y_bytes;
  uint32_t call;
};

// An exchange's tables in device memory: for each rank a row of words a round.
struct Table {
  const int32_t* words;  // pairs
  int64_t rounds, row_words;
  MB_HD Program program(int rank, int64_t round) const {
    return {reinterpret_cast<const int64_t*>(words) + (rank * rounds + round) * row_words};
  }
};

enum class Type { kUnit1, kUnit2, kUnit4, kUnit8, kUnit16, kF32, kF64, kS32, kS64, kC64, kC128 };

const char* launch_exchange(const Call& c, Type type, const Table& table);
const char* launch_all_reduce(const Call& c, Type type, int kind, const Order& order, int64_t count);
// All virtual ranks of this device in one launch: x and y are the stacks of their blocks, the rank's place is its number.
// One round.
const char* launch_virtual_exchange(const Call& c, int ranks, Type type, const Table& table);
const char* launch_virtual_all_reduce(const Call& c, int ranks, Type type, int kind, const Order& order, int64_t count);
const char* launch_copy(void* stream, void* to, const void* from, int64_t bytes);

// Loads every kernel on the current device. CUDA would load each at its first launch, which may wait for kernels that
// run, and these for a peer that is to be launched yet.
const char* load_kernels();

}  // namespace meshbayes
