// Copies on the host that leave the caches alone: for results that are larger than these, so that nobody finds them there.
//
// An ordinary store reads its line first, then writes it back: three passes of memory for a copy, of which streaming
// spares one or two. A line must be streamed whole; one that is streamed in part costs ten times as much. While results
// are streamed the memory can be read as well: other copies go on beside them, a line of each in turn.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)  // the sanitizer sees no streaming stores
#include <emmintrin.h>
#endif

namespace meshbayes {

constexpr int64_t kLine = 64;             // bytes of a cache line
constexpr int64_t kStreamRun = 4 * kLine;  // shorter runs are not worth their two ragged ends
constexpr int64_t kStreamBytes = 4 << 20;  // results of so many bytes are streamed

inline void copy_bytes(char* to, const char* from, int64_t bytes) {
#if defined(__SANITIZE_THREAD__)  // which does not see into memcpy
  for (int64_t i = 0; i < bytes; ++i) to[i] = from[i];
#else
  std::memcpy(to, from, bytes);
#endif
}

// A line through the caches, and one past them to an aligned destination.
#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)
inline void copy_line(char* to, const char* from) { std::memcpy(to, from, kLine); }
inline void stream_line(char* to, const char* from) {
  auto line = reinterpret_cast<__m128i*>(to);
  auto source = reinterpret_cast<const __m128i*>(from);
  __m128i a = _mm_loadu_si128(source), b = _mm_loadu_si128(source + 1);
  __m128i c = _mm_loadu_si128(source + 2), d = _mm_loadu_si128(source + 3);
  _mm_stream_si128(line, a);
  _mm_stream_si128(line + 1, b);
  _mm_stream_si128(line + 2, c);
  _mm_stream_si128(line + 3, d);
}
#else
inline void copy_line(char* to, const char* from) { copy_bytes(to, from, kLine); }
inline void stream_line(char* to, const char* from) { copy_bytes(to, from, kLine); }
#endif

// Bytes to be copied from one place to another.
struct Run {
  char* to;
  const char* from;
  int64_t bytes;
};

class Stream {
 public:
  // Something to copy beside what is streamed next, through the caches.
  void beside(Run run) { beside_.push_back(run); }

  // Whole lines of the destination past the caches, its ends through them. `end_stream` comes before others may read it.
  void copy(char* to, const char* from, int64_t bytes) {
    if (bytes < kStreamRun) return plain({to, from, bytes});
    int64_t i = -reinterpret_cast<intptr_t>(to) & (kLine - 1);
    plain({to, from, i});
    for (int64_t lines; (lines = (bytes - i) / kLine) > 0; i += lines * kLine) {
      if (next_ == beside_.size()) {
        streamed(to + i, from + i, lines);
        continue;
      }
      Run& other = beside_[next_];
      lines = std::min(lines, other.bytes / kLine);
      streamed(to + i, from + i, lines, other.to, other.from);
      other = {other.to + lines * kLine, other.from + lines * kLine, other.bytes - lines * kLine};
      if (other.bytes < kLine) plain(beside_[next_++]);
    }
    plain({to + i, from + i, bytes - i});
  }

  // Copies what nothing was streamed beside.
  void finish() {
    while (next_ < beside_.size()) plain(beside_[next_++]);
    beside_.clear();
    next_ = 0;
  }

 private:
  std::vector<Run> beside_;
  size_t next_ = 0;

  static void plain(const Run& run) { copy_bytes(run.to, run.from, run.bytes); }
  static void streamed(char* to, const char* from, int64_t lines, char* also_to = nullptr, const char* also_from = nullptr) {
    for (int64_t i = 0; i < lines * kLine; i += kLine) {
      if (also_to) copy_line(also_to + i, also_from + i);
      stream_line(to + i, from + i);
    }
  }
};

// Streamed stores are ordered by no release: this orders them before all that follow.
inline void end_stream() {
#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)
  _mm_sfence();
#endif
}

}  // namespace meshbayes
