// The core of the hand-written collectives: what a rank does with memory, the same on the host and on a GPU.
//
// Every rank owns one segment: a header, which its peers write flags into, and two staging slots. It packs what others
// need of its block into a slot, tells them with a flag, waits for their flags in its own memory, and pulls from their
// slots into its result. README.md has the protocol and why two slots suffice; schedule.py writes the tables read here.
#pragma once
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define MB_HD __host__ __device__ __forceinline__
namespace meshbayes { class Stream; }  // the host's
#else
#define MB_HD inline
#include "stream.h"
#endif

#ifndef MESHBAYES_SLOTS
#define MESHBAYES_SLOTS 2  // The sanitizer's test builds a broken variant with one.
#endif

namespace meshbayes {

constexpr int kMaxRanks = 64;
constexpr int kMaxDims = 6;

// --- memory order: system scope, as the peer may be another GPU or another process ---

MB_HD void store_release_system(uint64_t* p, uint64_t v) {
#if defined(__CUDA_ARCH__)
  asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(p), "l"(v) : "memory");
#else
  __atomic_store_n(p, v, __ATOMIC_RELEASE);
#endif
}
MB_HD uint64_t load_acquire_system(const uint64_t* p) {
#if defined(__CUDA_ARCH__)
  uint64_t v;
  asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(v) : "l"(p) : "memory");
  return v;
#else
  return __atomic_load_n(p, __ATOMIC_ACQUIRE);
#endif
}

// --- a rank's segment ---

enum class Status : int32_t { kOk = 0, kTimeout = 1, kAborted = 2, kMismatch = 3, kTooLarge = 4 };

struct Header {
  uint64_t abort;     // not 0: a rank gave up and everybody leaves; a Status in the low word, 1 + its rank in the high
  uint32_t epoch;     // calls so far; written by its owner only
  uint32_t doorbell;  // counts the flags that arrived: what the host's waits sleep on
  uint32_t sleeping;  // whether the owner sleeps on it
  uint32_t ticket;    // blocks of a kernel that have staged their part
  alignas(64) uint64_t flag[2][kMaxRanks];  // by parity of the epoch and by peer: epoch << 32 | call
};
constexpr int64_t kHeaderBytes = 4096;
static_assert(sizeof(Header) <= kHeaderBytes, "the slots begin behind the header");

// A rank's sight of its group. Passed by value to kernels; constant for life, so that CUDA graphs may hold it.
struct View {
  int32_t rank, ranks;
  int64_t slot_bytes;
  char* base[kMaxRanks];  // the segment of every rank, as mapped here

  MB_HD Header* header(int r) const { return reinterpret_cast<Header*>(base[r]); }
  MB_HD char* slot(int r, uint32_t epoch) const {
    return base[r] + kHeaderBytes + static_cast<int64_t>(epoch % MESHBAYES_SLOTS) * slot_bytes;
  }
  static int64_t segment_bytes(int64_t slot_bytes) { return kHeaderBytes + 2 * slot_bytes; }
};

MB_HD uint64_t flag_of(uint32_t epoch, uint32_t call) { return static_cast<uint64_t>(epoch) << 32 | call; }

// Tells one peer that this rank has staged its part of a call.
MB_HD void signal(const View& v, int peer, uint32_t epoch, uint32_t call) {
  store_release_system(&v.header(peer)->flag[epoch & 1][v.rank], flag_of(epoch, call));
}

enum class Arrival { kNotYet, kHere, kMismatch };

// Whether a peer has staged its part. `call` is a digest of what is called: a peer that is at the same epoch in another
// call has taken another order of calls or another program, which would otherwise give wrong numbers.
MB_HD Arrival arrival(const View& v, int peer, uint32_t epoch, uint32_t call) {
  uint64_t found = load_acquire_system(&v.header(v.rank)->flag[epoch & 1][peer]);
  if (static_cast<uint32_t>(found >> 32) != epoch) return Arrival::kNotYet;
  return static_cast<uint32_t>(found) == call ? Arrival::kHere : Arrival::kMismatch;
}

MB_HD uint64_t abort_word(Status why, int rank) {
  return static_cast<uint64_t>(rank + 1) << 32 | static_cast<uint32_t>(why);
}
MB_HD void abort_all(const View& v, Status why) {
  for (int p = 0; p < v.ranks; ++p) store_release_system(&v.header(p)->abort, abort_word(why, v.rank));
}
MB_HD Status aborted(const View& v) { return static_cast<Status>(load_acquire_system(&v.header(v.rank)->abort) & 0xffffffffu); }

// --- numbers ---

template <int kBytes>
struct Unit;  // what is only copied
template <> struct Unit<1> { uint8_t v; };
template <> struct Unit<2> { uint16_t v; };
template <> struct Unit<4> { uint32_t v; };
template <> struct Unit<8> { uint64_t v; };
template <> struct alignas(16) Unit<16> { uint64_t v[2]; };

template <class T>
struct Complex {
  T re, im;
  MB_HD Complex operator+(const Complex& o) const { return {re + o.re, im + o.im}; }
};

template <class T> struct Sum { static MB_HD T of(T a, T b) { return a + b; } };
template <class T> struct Max { static MB_HD T of(T a, T b) { return a != a || a > b ? a : b; } };  // NaN wins
template <class T> struct Min { static MB_HD T of(T a, T b) { return a != a || a < b ? a : b; } };

// --- strided boxes ---

// Extents and the strides of several operands, in elements, the last dim the quickest. A table has them as
// `dims, extents[dims]`, then per operand `offset, strides[dims]`. A box has fewer than 2^31 elements, so that GPUs are
// spared 64-bit divisions.
struct Box {
  int32_t dims;
  const int64_t* extents;
  MB_HD explicit Box(const int64_t* words) : dims(static_cast<int32_t>(words[0])), extents(words + 1) {}
  MB_HD uint32_t extent(int d) const { return static_cast<uint32_t>(extents[d]); }
  MB_HD uint32_t size() const {
    uint32_t n = 1;
    for (int d = 0; d < dims; ++d) n *= extent(d);
    return n;
  }
  MB_HD uint32_t inner() const { return dims ? extent(dims - 1) : 1; }
  // Where element (row, 0) of an operand lies, rows counting the dims before the last one.
  MB_HD int64_t row(const int64_t* operand, uint32_t row) const {
    int64_t at = operand[0];
    for (int d = dims - 2; d >= 0; --d) {
      uint32_t outer = row / extent(d);
      at += (row - outer * extent(d)) * operand[1 + d];
      row = outer;
    }
    return at;
  }
  MB_HD int64_t stride(const int64_t* operand) const { return dims ? operand[dims] : 1; }
};

// `stream`: past the host's caches, which copies what is to be copied beside it.
template <class T>
MB_HD void copy_run(T* d, int64_t ds, const T* s, int64_t ss, int64_t n, [[maybe_unused]] Stream* stream = nullptr) {
#if !defined(__CUDACC__)
  if (ds == 1 && ss == 1) {
    auto to = reinterpret_cast<char*>(d);
    auto from = reinterpret_cast<const char*>(s);
    int64_t bytes = n * static_cast<int64_t>(sizeof(T));
    return stream ? stream->copy(to, from, bytes) : copy_bytes(to, from, bytes);
  }
#endif
  for (int64_t i = 0; i < n; ++i) d[i * ds] = s[i * ss];
}

// The sources of a box: where each lies and its operand's words.
template <class T>
struct Sources {
  const int64_t* words;  // per source `peer, offset, strides[dims]`; peer -1 is the rank's own block
  int32_t count, dims;
  const T* own;
  const View* view;
  uint32_t epoch;
  Stream* stream;  // on the host: by which results of one source go past the caches
  MB_HD const int64_t* operand(int k) const { return words + k * (dims + 2) + 1; }
  MB_HD const T* base(int k) const {
    int64_t peer = words[k * (dims + 2)];
    return peer < 0 ? own : reinterpret_cast<const T*>(view->slot(static_cast<int>(peer), epoch));
  }
};

// Types that are only copied have no sum; schedule.py gives their boxes one source.
template <class T> MB_HD T add(T a, T b) { return a + b; }
template <int n> MB_HD Unit<n> add(Unit<n> a, Unit<n>) { return a; }

// One run along the last dim: zero without a source, a copy with one, else the sum in the order of the sources.
template <class T>
MB_HD void pull_run(const Box& box, T* y, const int64_t* to, const Sources<T>& from, uint32_t row, uint32_t first, uint32_t n) {
  int64_t ds = box.stride(to);
  T* d = y + box.row(to, row) + first * ds;
  if (from.count == 0) {
    for (uint32_t i = 0; i < n; ++i) d[i * ds] = T{};
    return;
  }
#if defined(__CUDA_ARCH__)
  for (uint32_t i = 0; i < n; ++i) {
    T sum{};
    for (int k = 0; k < from.count; ++k) {
      const int64_t* at = from.operand(k);
      T value = from.base(k)[box.row(at, row) + (first + i) * box.stride(at)];
      sum = k == 0 ? value : add(sum, value);
    }
    d[i * ds] = sum;
  }
#else
  constexpr uint32_t kPiece = 2048;  // stays in the first cache while the sources are added
  for (uint32_t begin = 0; begin < n; begin += kPiece) {
    uint32_t m = n - begin < kPiece ? n - begin : kPiece;
    if (from.count == 1) m = n;
    T* e = d + begin * ds;
    for (int k = 0; k < from.count; ++k) {
      const int64_t* at = from.operand(k);
      int64_t ss = box.stride(at);
      const T* s = from.base(k) + box.row(at, row) + (first + begin) * ss;
      if (k == 0) {
        copy_run(e, ds, s, ss, m, from.count == 1 ? from.stream : nullptr);
      } else if (ds == 1 && ss == 1) {
        for (uint32_t i = 0; i < m; ++i) e[i] = add(e[i], s[i]);
      } else {
        for (uint32_t i = 0; i < m; ++i) e[i * ds] = add(e[i * ds], s[i * ss]);
      }
    }
    if (from.count == 1) return;
  }
#endif
}

// A box, partitioned over workers: whole rows for the host's, single elements for the threads of a GPU.
template <class T>
MB_HD void pull_box(const Box& box, T* y, const int64_t* to, const Sources<T>& from, uint32_t worker, uint32_t workers) {
  uint32_t inner = box.inner(), size = box.size();
  if (size == 0) return;
#if defined(__CUDA_ARCH__)
  for (uint32_t i = worker; i < size; i += workers) pull_run(box, y, to, from, i / inner, i % inner, 1);
#else
  for (uint32_t r = worker; r < size / inner; r += workers) pull_run(box, y, to, from, r, 0, inner);
#endif
}

// --- a rank's program: boxes to stage, then boxes to pull; see schedule.py ---

struct Program {
  const int64_t* words;  // stage boxes, pull boxes that need the own block only, pull boxes that need peers; bytes staged

  // Packs what peers will pull into the rank's slot: one stage box is `box, slot operand, block operand`.
  template <class T>
  MB_HD void stage(const View& v, uint32_t epoch, const T* x, uint32_t worker, uint32_t workers) const {
    const int64_t* w = words + 4;
    T* slot = reinterpret_cast<T*>(v.slot(v.rank, epoch));
    for (int64_t b = 0; b < words[0]; ++b) {
      Box box(w);
      const int64_t *to = w + 1 + box.dims, *from = to + 1 + box.dims;  // `from` begins with the peer, -1
      pull_box(box, slot, to, Sources<T>{from, 1, box.dims, x, &v, epoch, nullptr}, worker, workers);
      w = from + 2 + box.dims;
    }
  }
  // Fills the result, every element once. One pull box is `sources, box, result operand, peer and operand per source`.
  // The part that needs no peer can be done before they have arrived.
  template <class T>
  MB_HD void pull(const View& v, uint32_t epoch, const T* x, T* y, bool from_peers, uint32_t worker, uint32_t workers,
                  Stream* stream = nullptr) const {
    const int64_t* w = words + 4;
    for (int64_t b = 0; b < words[0]; ++b) w += 4 + 3 * w[0];
    for (int64_t b = 0; b < words[1] + words[2]; ++b) {
      int32_t count = static_cast<int32_t>(w[0]);
      Box box(w + 1);
      const int64_t *to = w + 2 + box.dims, *from = to + 1 + box.dims;
      if ((b >= words[1]) == from_peers)
        pull_box(box, y, to, Sources<T>{from, count, box.dims, x, &v, epoch, stream}, worker, workers);
      w = from + count * (2 + box.dims);
    }
  }
};

// --- one-shot all-reduce: every rank reads every slot, all in one order of the ranks, so all get the same bits ---

struct Order {
  uint8_t rank[kMaxRanks];
};

template <class T, template <class> class Op>
MB_HD T reduce_element(const View& v, uint32_t epoch, const Order& order, int64_t i) {
  T total = reinterpret_cast<const T*>(v.slot(order.rank[0], epoch))[i];
  for (int r = 1; r < v.ranks; ++r)
    total = Op<T>::of(total, reinterpret_cast<const T*>(v.slot(order.rank[r], epoch))[i]);
  return total;
}

}  // namespace meshbayes
