#pragma once
// Runs N ranks as threads of one process, with real sockets and shared memory.
#include <exception>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "collective/group.h"

namespace stoker::collective::testing {

struct World {
  int size = 1;
  bool force_tcp = false;
  std::vector<int> host_groups = {};  // by rank; empty: one host
  int socket_buffer = 0;
  uint64_t generation = 3;
  bool encrypted = false;
};

/// The listeners of a world and the roster that each of its ranks gets.
struct Rosters {
  explicit Rosters(const World& world) {
    for (int r = 0; r < world.size; ++r) {
      listeners.push_back(std::make_unique<Listeners>("127.0.0.1"));
      members.push_back({r, "127.0.0.1", listeners[r]->port(), listeners[r]->unix_name(), 1000 + r, 0,
                         world.host_groups.empty() ? 0 : world.host_groups[r]});
    }
    common = {world.generation, 0, members, to_bytes("secret"), world.encrypted, world.force_tcp, world.socket_buffer};
  }
  static Bytes to_bytes(std::string_view text) { return {as_bytes(text).begin(), as_bytes(text).end()}; }
  Roster of(int rank) const {
    Roster roster = common;
    roster.rank = rank;
    return roster;
  }
  std::unique_ptr<Group> form(int rank) { return Group::form(of(rank), *listeners[rank]); }

  std::vector<std::unique_ptr<Listeners>> listeners;
  std::vector<Member> members;
  Roster common;
};

/// Runs `body(rank)` for every rank at the same time. Rethrows what the lowest rank that failed has thrown.
inline void run_ranks(int size, const std::function<void(int)>& body) {
  std::vector<std::exception_ptr> thrown(size);
  std::vector<std::jthread> threads;
  for (int r = 0; r < size; ++r)
    threads.emplace_back([&, r] {
      try {
        body(r);
      } catch (...) {
        thrown[r] = std::current_exception();
      }
    });
  threads.clear();
  for (const auto& error : thrown)
    if (error) std::rethrow_exception(error);
}

/// Forms the world's group and runs `body(group)` in every rank.
inline void run_groups(const World& world, const std::function<void(Group&)>& body) {
  Rosters rosters(world);
  run_ranks(world.size, [&](int rank) { body(*rosters.form(rank)); });
}

}  // namespace stoker::collective::testing
