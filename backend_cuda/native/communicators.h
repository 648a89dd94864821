// The communicators of the CUDA library, by handle: whose memory is mapped where.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "core.h"

namespace meshbayes {

struct Endpoint {
  int device, place, rank, ranks;
};

struct Communicator {
  int64_t slot_bytes = 0;
  uint64_t limit_ns = 0;
  int32_t places = 0;
  std::map<std::pair<int, int>, char*> segments;  // by device and place, as mapped there
  std::map<int, View*> views;                     // by device, in its memory: one for every place
  std::vector<std::pair<int, int>> own;           // device and place of the segments that were allocated here
  std::vector<Endpoint> endpoints;                // the ranks that this process runs
  int32_t* noticed = nullptr;                     // pinned: what a kernel gave up for
};

// The communicator of a call on a device with its views there, or why there is none.
const char* find_views(int64_t handle, int device, Communicator** comm, const View** views);

// What went wrong at launches, null where nothing did.
const char* launched();

}  // namespace meshbayes
