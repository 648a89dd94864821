// The protocol with ranks as threads, for ThreadSanitizer: gathers, in one round and in three that are streamed and
// staged beside each other, and all-reduces, ranks at speeds of their own. With -DMESHBAYES_SLOTS=1 a rank overwrites
// what a slower one still reads.
#include <cstdio>
#include <vector>

#include "host.h"

using namespace meshbayes;

constexpr int kRanks = 4, kNumbers = 192, kRounds = 200;

// The table of rank `rank` for an all-gather of kNumbers numbers, of which a round has its part; as schedule.py writes it.
static std::vector<int64_t> gather_words(int rank, int rounds) {
  std::vector<int64_t> all;
  int n = kNumbers / rounds;
  for (int first = 0; first < kNumbers; first += n) {
    std::vector<int64_t> w{1, 1, kRanks - 1, n * 8, 1, n, 0, 1, -1, first, 1};
    for (int own = 1; own >= 0; --own)
      for (int p = 0; p < kRanks; ++p)
        if ((p == rank) == (own == 1)) w.insert(w.end(), {1, 1, n, p * kNumbers + first, 1, own ? -1 : p, own ? first : 0, 1});
    all.insert(all.end(), w.begin(), w.end());
  }
  return all;
}

static int run_rank(Communicator& comm, int rank) {
  Endpoint& at = *comm.endpoint(rank);
  std::vector<int64_t> at_once = gather_words(rank, 1), in_three = gather_words(rank, 3);
  std::vector<double> x(kNumbers), y(kNumbers * kRanks);
  Order order{};
  for (int r = 0; r < kRanks; ++r) order.rank[r] = static_cast<uint8_t>(r);
  int wrong = 0;
  for (int round = 0; round < kRounds; ++round) {
    for (int i = 0; i < kNumbers; ++i) x[i] = 1000 * rank + round + i;
    if (round % 3 == rank % 3) sched_yield();
    for (bool streamed : {false, true}) {
      std::fill(y.begin(), y.end(), -1);
      int64_t bytes = streamed ? kStreamBytes : sizeof(double) * y.size(), rounds = streamed ? 3 : 1;
      const std::vector<int64_t>& words = streamed ? in_three : at_once;
      if (exchange(at, 7, comm.limit, words.data(), x.data(), y.data(), bytes, rounds, words.size() / rounds) != Status::kOk) return -1;
      for (int p = 0; p < kRanks; ++p)
        for (int i = 0; i < kNumbers; ++i) wrong += y[p * kNumbers + i] != 1000 * p + round + i;
    }
    double total = 0;
    if (all_reduce<double, Sum>(at, 8, comm.limit, order, x.data(), &total, 1) != Status::kOk) return -1;
    wrong += total != kRanks * (1000 * (kRanks - 1) / 2.0 + round);
  }
  return wrong;
}

int main() {
  Communicator comm(4096, 60'000);
  int32_t group[kRanks];
  for (int r = 0; r < kRanks; ++r) {
    group[r] = r;
    if (comm.add_segment(r, nullptr, true)) return 2;
  }
  for (int r = 0; r < kRanks; ++r)
    if (comm.add_endpoint(r, group, kRanks)) return 2;
  if (comm.probe() != Status::kOk) return 3;
  std::vector<int> wrong(kRanks);
  std::vector<std::thread> ranks;
  for (int r = 0; r < kRanks; ++r) ranks.emplace_back([&, r] { wrong[r] = run_rank(comm, r); });
  for (auto& t : ranks) t.join();
  int total = 0;
  for (int w : wrong) total += w;
  std::printf("wrong: %d\n", total);
  return total ? 1 : 0;
}
