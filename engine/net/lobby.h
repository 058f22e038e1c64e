#pragma once
// Where those wait who have connected and not proven yet that they know the fit's secret: *strangers*. They get the
// handshake's few bytes, a deadline, and limited room: the oldest is dropped for a new one, so neither idle connections
// nor those that begin to speak can lock a real peer out. Nothing here blocks. Used by one thread.
#include <map>
#include <vector>

#include "net/handshake.h"
#include "net/socket.h"

namespace stoker::net {

struct LobbyOptions {
  Bytes secret;
  Purpose purpose;  // of those who are wanted
  Duration time = std::chrono::seconds(5);
  size_t most = 256;
};

/// Somebody who has proven the secret.
struct Guest {
  Fd fd;
  int listener = 0;  // index of the one that it came by
  Purpose purpose;
  Seals seals;
};

class Lobby {
 public:
  /// The listeners' descriptors stay the caller's and must outlive the lobby.
  Lobby(LobbyOptions options, std::vector<int> listeners);
  /// Readable when there is something for look() to do; deadlines apart.
  int fd() const { return epoll_.get(); }
  /// Lets in who waits at the listeners, hears who speaks, drops who is late, and gives those who are proven.
  std::vector<Guest> look(TimePoint now);

 private:
  struct Stranger {
    Fd fd;
    int listener;
    TimePoint since;
    Handshake handshake;
    Bytes heard;  // of the handshake's next message
  };
  using Strangers = std::map<uint64_t, Stranger>;  // in the order in which they came

  void accept(size_t listener, TimePoint now);
  static bool hear(Stranger& stranger);
  void make_room(TimePoint now);
  void watch(int operation, int fd, uint32_t events, uint64_t id) const;
  void watch_listeners(bool on);

  const LobbyOptions options_;
  const std::vector<int> listeners_;
  Fd epoll_;
  Strangers strangers_;
  uint64_t next_;
  bool accepting_ = false;
  TimePoint resume_;  // when accepting again, if not now
};

}  // namespace stoker::net
