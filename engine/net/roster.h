#pragma once
// The members of one generation, as the coordinator announces them and as a group meets by them. Plain data.
#include <cstdint>
#include <string>
#include <vector>

#include "base/codec.h"

namespace stoker::net {

/// One member as the coordinator announces it.
struct RosterEntry {
  int rank = 0;
  std::string host;       // address that other hosts reach it by
  int port = 0;           // its TCP listener for peers
  std::string unix_name;  // its abstract Unix socket for peers on its host
  int64_t pid = 0;        // in its own pid namespace
  uint64_t attempt = 0;   // Spark's taskAttemptId
  int host_group = 0;     // tests: ranks of different groups are taken for ranks of different hosts
};

struct Roster {
  uint64_t generation = 0;
  int rank = 0;  // mine
  std::vector<RosterEntry> members;
  Bytes secret;            // of the fit; authenticates every peer connection
  bool encrypted = false;  // what goes between hosts
  bool force_tcp = false;  // tests: treat every rank as a host of its own
  int socket_buffer = 0;   // tests: bytes of each TCP connection's kernel buffers
};

}  // namespace stoker::net
