// The host's side of the core: communicators whose ranks are threads of this process or of several, waits that sleep.
//
// No word here of XLA: cpu.cc binds it, and the tests run it under ThreadSanitizer with ranks as threads.
#pragma once
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <climits>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core.h"

namespace meshbayes {

using Clock = std::chrono::steady_clock;

// One rank that this process runs.
struct Endpoint {
  View view{};
  std::mutex busy;  // executions may overlap: a rank's calls still come one after another
};

// --- waiting: a few yields, then sleep until a peer rings the doorbell ---

inline void ring(const View& v, int peer) {
  Header* h = v.header(peer);
  __atomic_fetch_add(&h->doorbell, 1u, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&h->sleeping, __ATOMIC_SEQ_CST))
    syscall(SYS_futex, &h->doorbell, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

inline void give_up(const View& v, Status why) {
  abort_all(v, why);
  for (int p = 0; p < v.ranks; ++p) ring(v, p);
}

inline Arrival all_arrived(const View& v, uint32_t epoch, uint32_t call, int& first) {
  for (; first < v.ranks; ++first)
    if (Arrival a = arrival(v, first, epoch, call); a != Arrival::kHere) return a;
  return Arrival::kHere;
}

// Waits until every peer has staged call `epoch`. Never hangs: past the limit it gives up for all ranks.
inline Status wait_for_all(const View& v, uint32_t epoch, uint32_t call, std::chrono::milliseconds limit) {
  constexpr int kYields = 4;
  constexpr long kNapNanoseconds = 20'000'000;  // the longest sleep between looks at the clock
  Header* own = v.header(v.rank);
  Clock::time_point deadline = Clock::now() + limit;
  int first = 0;
  for (int tries = 0;; ++tries) {
    uint32_t seen = __atomic_load_n(&own->doorbell, __ATOMIC_SEQ_CST);
    if (tries >= kYields) __atomic_store_n(&own->sleeping, 1u, __ATOMIC_SEQ_CST);
    Arrival found = all_arrived(v, epoch, call, first);
    Status status = found == Arrival::kHere ? Status::kOk : aborted(v);
    if (found == Arrival::kMismatch && status == Status::kOk) give_up(v, status = Status::kMismatch);
    if (found == Arrival::kNotYet && status == Status::kOk && Clock::now() > deadline)
      give_up(v, status = Status::kTimeout);
    if (found == Arrival::kHere || status != Status::kOk) {
      __atomic_store_n(&own->sleeping, 0u, __ATOMIC_SEQ_CST);
      return status;
    }
    if (tries < kYields) {
      sched_yield();
    } else {
      timespec nap{0, kNapNanoseconds};
      syscall(SYS_futex, &own->doorbell, FUTEX_WAIT, seen, &nap, nullptr, 0);
    }
  }
}

// --- the calls ---

// Stage, signal, wait, finish: what every collective of a rank is, or a round of one. `meanwhile` needs nobody.
template <class Stage, class Meanwhile, class Finish>
Status run_call(Endpoint& at, uint32_t call, std::chrono::milliseconds limit, Stage stage, Meanwhile meanwhile, Finish finish) {
  const View& v = at.view;
  if (Status s = aborted(v); s != Status::kOk) return s;
  uint32_t epoch = ++v.header(v.rank)->epoch;
  stage(epoch);
  for (int p = 0; p < v.ranks; ++p) {
    signal(v, p, epoch, call);
    if (p != v.rank) ring(v, p);
  }
  meanwhile(epoch);
  if (Status s = wait_for_all(v, epoch, call, limit); s != Status::kOk) return s;
  finish(epoch);
  return Status::kOk;
}

// What `Program::stage` does, beside what `stream` copies until it is finished. Runs too short for that are packed now.
template <class T>
void stage_beside(const Program& program, const View& v, uint32_t epoch, const T* x, Stream& stream) {
  const int64_t* w = program.words + 4;
  T* slot = reinterpret_cast<T*>(v.slot(v.rank, epoch));
  for (int64_t b = 0; b < program.words[0]; ++b) {
    Box box(w);
    const int64_t *to = w + 1 + box.dims, *from = to + 1 + box.dims, *block = from + 1;
    int64_t bytes = box.inner() * static_cast<int64_t>(sizeof(T));
    bool runs = bytes >= kStreamRun && box.stride(to) == 1 && box.stride(block) == 1;
    if (!runs) pull_box(box, slot, to, Sources<T>{from, 1, box.dims, x, &v, epoch, nullptr}, 0, 1);
    for (uint32_t r = 0; runs && r < box.size() / box.inner(); ++r)
      stream.beside({reinterpret_cast<char*>(slot + box.row(to, r)), reinterpret_cast<const char*>(x + box.row(block, r)), bytes});
    w = from + 2 + box.dims;
  }
}

// In rounds, each with `round_words` words of its own, so that what is staged stays in the cache. `y_bytes`: of the
// result; large ones go past the caches, and the next round is staged beside that: it takes the other slot.
template <class T>
Status exchange(Endpoint& at, uint32_t call, std::chrono::milliseconds limit, const int64_t* words, const T* x, T* y,
                int64_t y_bytes, int64_t rounds = 1, int64_t round_words = 0) {
  Stream past_caches;
  Stream* stream = y_bytes >= kStreamBytes ? &past_caches : nullptr;
  const View& v = at.view;
  std::lock_guard<std::mutex> lock(at.busy);
  auto program = [&](int64_t r) { return Program{words + r * round_words}; };
  for (int64_t r = 0; r < rounds; ++r)
    if (program(r).words[3] > v.slot_bytes) return Status::kTooLarge;
  for (int64_t r = 0; r < rounds; ++r) {
    auto stage = [&](uint32_t e) {
      if (r == 0 || !stream) program(r).stage(v, e, x, 0, 1);
    };
    auto own = [&](uint32_t e) { program(r).pull(v, e, x, y, false, 0, 1, stream); };
    auto pull = [&](uint32_t e) {
      if (stream && r + 1 < rounds) stage_beside(program(r + 1), v, e + 1, x, *stream);
      program(r).pull(v, e, x, y, true, 0, 1, stream);
      if (stream) stream->finish();
    };
    if (Status s = run_call(at, call, limit, stage, own, pull); s != Status::kOk) return s;
  }
  if (stream) end_stream();
  return Status::kOk;
}

template <class T, template <class> class Op>
Status all_reduce(Endpoint& at, uint32_t call, std::chrono::milliseconds limit, const Order& order, const T* x, T* y, int64_t n) {
  const View& v = at.view;
  if (n * static_cast<int64_t>(sizeof(T)) > v.slot_bytes) return Status::kTooLarge;
  std::lock_guard<std::mutex> lock(at.busy);
  return run_call(
      at, call, limit, [&](uint32_t e) { copy_run(reinterpret_cast<T*>(v.slot(v.rank, e)), 1, x, 1, n); },
      [](uint32_t) {},
      [&](uint32_t e) {
        copy_run(y, 1, reinterpret_cast<const T*>(v.slot(order.rank[0], e)), 1, n);
        for (int r = 1; r < v.ranks; ++r) {
          const T* s = reinterpret_cast<const T*>(v.slot(order.rank[r], e));
          for (int64_t i = 0; i < n; ++i) y[i] = Op<T>::of(y[i], s[i]);
        }
      });
}

// --- communicators ---

// The groups of one set of mesh axes: an endpoint for every place of the mesh that this process runs.
class Communicator {
 public:
  Communicator(int64_t slot_bytes, int64_t limit_ms)
      : slot_bytes_((slot_bytes + 4095) / 4096 * 4096), limit(limit_ms) {}
  Communicator(const Communicator&) = delete;
  ~Communicator() {
    for (auto& [place, base] : segments_) munmap(base, bytes());
  }

  // A segment for a place: anonymous memory without a name, else POSIX shared memory that is created or opened.
  // Returns 0 or an errno.
  int add_segment(int place, const char* name, bool create) {
    void* p = MAP_FAILED;
    if (!name) {
      p = mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    } else {
      int fd = shm_open(name, create ? O_CREAT | O_EXCL | O_RDWR : O_RDWR, 0600);
      if (fd < 0) return errno;
      // Reserved now: where the memory is short, this fails; a page that is missing later would kill the process.
      int failed = create ? posix_fallocate(fd, 0, bytes()) : 0;
      if (!failed) p = mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
      int why = failed ? failed : errno;
      close(fd);
      if (failed || p == MAP_FAILED) {
        if (create) shm_unlink(name);
        return why;
      }
    }
    if (p == MAP_FAILED) return errno;
    segments_[place] = static_cast<char*>(p);
    return 0;
  }

  // The endpoint of a place as one rank of a group of places, all of whose segments are mapped. Returns 0 or an errno.
  int add_endpoint(int place, const int32_t* group, int ranks) {
    auto at = std::make_unique<Endpoint>();
    at->view.ranks = ranks;
    at->view.rank = -1;
    at->view.slot_bytes = slot_bytes_;
    for (int r = 0; r < ranks; ++r) {
      auto found = segments_.find(group[r]);
      if (found == segments_.end()) return ENOENT;
      at->view.base[r] = found->second;
      if (group[r] == place) at->view.rank = r;
    }
    if (at->view.rank < 0) return EINVAL;
    endpoints_[place] = std::move(at);
    return 0;
  }

  Endpoint* endpoint(int place) const {
    auto found = endpoints_.find(place);
    return found == endpoints_.end() ? nullptr : found->second.get();
  }

  // A first call of every rank here, all at once: the sum of their numbers, which are known.
  Status probe() {
    std::vector<std::thread> ranks;
    std::vector<Status> found(endpoints_.size(), Status::kOk);
    size_t i = 0;
    for (auto& [place, at] : endpoints_) {
      ranks.emplace_back([this, end = at.get(), out = &found[i++]] {
        double x = end->view.rank + 1, y = 0;
        Order order{};
        for (int r = 0; r < end->view.ranks; ++r) order.rank[r] = static_cast<uint8_t>(r);
        *out = all_reduce<double, Sum>(*end, 0, limit, order, &x, &y, 1);
        if (*out == Status::kOk && y != end->view.ranks * (end->view.ranks + 1) / 2.0) give_up(end->view, *out = Status::kMismatch);
      });
    }
    for (auto& r : ranks) r.join();
    for (Status s : found)
      if (s != Status::kOk) return s;
    return Status::kOk;
  }

  // Starts anew after an abort. Every rank's process calls it, between two barriers of theirs, with no call under way.
  void reset() {
    for (auto& [place, at] : endpoints_) {
      std::lock_guard<std::mutex> lock(at->busy);
      *at->view.header(at->view.rank) = Header{};
    }
  }

 private:
  int64_t bytes() const { return View::segment_bytes(slot_bytes_); }
  int64_t slot_bytes_;
  std::map<int, char*> segments_;
  std::map<int, std::unique_ptr<Endpoint>> endpoints_;

 public:
  std::chrono::milliseconds limit;
};

}  // namespace meshbayes
