// Copies on the host that leave the caches alone: for results that are larger than these, so that nobody finds them there.
//
// An ordinary store reads its line first, then writes it back: three passes of memory for a copy, of which streaming
// spares one or two. A line must be streamed whole; one that is streamed in part costs ten times as much.
#pragma once
#include <cstdint>
#include <cstring>

#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)  // the sanitizer sees no streaming stores
#include <emmintrin.h>
#endif

namespace meshbayes {

constexpr int64_t kLine = 64;             // bytes of a cache line
constexpr int64_t kStreamRun = 4 * kLine;  // shorter runs are not worth their two ragged ends
constexpr int64_t kStreamBytes = 4 << 20;  // results of so many bytes are streamed

// Whole lines of the destination past the caches, its ends through them. `end_stream` comes before others may read it.
inline void copy_streaming(void* to, const void* from, int64_t bytes) {
#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)
  if (bytes >= kStreamRun) {
    auto d = static_cast<char*>(to);
    auto s = static_cast<const char*>(from);
    int64_t i = -reinterpret_cast<intptr_t>(d) & (kLine - 1);
    std::memcpy(d, s, i);
    for (; i + kLine <= bytes; i += kLine) {
      auto line = reinterpret_cast<__m128i*>(d + i);
      auto source = reinterpret_cast<const __m128i*>(s + i);
      __m128i a = _mm_loadu_si128(source), b = _mm_loadu_si128(source + 1);
      __m128i c = _mm_loadu_si128(source + 2), e = _mm_loadu_si128(source + 3);
      _mm_stream_si128(line, a);
      _mm_stream_si128(line + 1, b);
      _mm_stream_si128(line + 2, c);
      _mm_stream_si128(line + 3, e);
    }
    std::memcpy(d + i, s + i, bytes - i);
    return;
  }
#endif
  std::memcpy(to, from, bytes);
}

// Streamed stores are ordered by no release: this orders them before all that follow.
inline void end_stream() {
#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)
  _mm_sfence();
#endif
}

}  // namespace meshbayes
