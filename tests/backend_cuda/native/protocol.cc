// The protocol with ranks as threads, for ThreadSanitizer: gathers and all-reduces one behind the other, ranks at
// speeds of their own. With -DMESHBAYES_SLOTS=1 a rank overwrites what a slower one still reads.
#include <cstdio>
#include <vector>

#include "host.h"

using namespace meshbayes;

constexpr int kRanks = 4, kNumbers = 96, kRounds = 200;

// The table of rank `rank` for an all-gather of kNumbers numbers, as schedule.py writes it.
static std::vector<int64_t> gather_words(int rank) {
  std::vector<int64_t> w{1, 1, kRanks - 1, kNumbers * 8, 1, kNumbers, 0, 1, -1, 0, 1};
  for (int own = 1; own >= 0; --own)
    for (int p = 0; p < kRanks; ++p)
      if ((p == rank) == (own == 1)) w.insert(w.end(), {1, 1, kNumbers, p * kNumbers, 1, own ? -1 : p, 0, 1});
  return w;
}

static int run_rank(Communicator& comm, int rank) {
  Endpoint& at = *comm.endpoint(rank);
  std::vector<int64_t> words = gather_words(rank);
  std::vector<double> x(kNumbers), y(kNumbers * kRanks);
  Order order{};
  for (int r = 0; r < kRanks; ++r) order.rank[r] = static_cast<uint8_t>(r);
  int wrong = 0;
  for (int round = 0; round < kRounds; ++round) {
    for (int i = 0; i < kNumbers; ++i) x[i] = 1000 * rank + round + i;
    if (round % 3 == rank % 3) sched_yield();
    if (exchange(at, 7, comm.limit, words.data(), x.data(), y.data(), sizeof(double) * y.size()) != Status::kOk) return -1;
    for (int p = 0; p < kRanks; ++p)
      for (int i = 0; i < kNumbers; ++i) wrong += y[p * kNumbers + i] != 1000 * p + round + i;
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
