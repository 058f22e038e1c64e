#pragma once
// How the ranks of a roster find each other. The higher rank connects, the lower one listens: first over the lower
// one's Unix socket, where a descriptor passed and a nonce read back prove that they share memory, else over TCP.
// Both ways prove the fit's secret before anything else is said (net/handshake.h). docs/formats/peers.md has the bytes.
#include <stop_token>

#include "collective/peers.h"

namespace stoker::collective {

/// Waits for peers as long as they take. Throws Error(world) naming a peer that came and died, Error(aborted) once
/// `stop` is requested.
Peers meet(const Roster& roster, Listeners& listeners, std::stop_token stop);

}  // namespace stoker::collective
