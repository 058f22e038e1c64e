#include "net/io_loop.h"

#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "net/connection.h"
#include "net/lobby.h"

namespace stoker::net {
namespace {

constexpr ConnectionId kWake = 0;
constexpr ConnectionId kLobby = 1;

/// Signals are for the process's own threads: this one starts with all of them blocked.
std::thread start_thread(std::function<void()> body) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread(std::move(body));
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_setname_np(thread.native_handle(), "stoker-io");
  return thread;
}

uint32_t wanted(const Connection& connection) {
  uint32_t events = 0;
  if (!connection.closing) events |= EPOLLIN;
  if (connection.queued() > 0) events |= EPOLLOUT;
  return events;
}

}  // namespace

// Everything but the fields under `mutex` and `next_id` belongs to the loop's thread. Other threads, and the handler
// too, only leave work in `works`: so no connection goes away under a call that is about it.
struct IoLoop::Impl {
  Impl(LoopOptions options, LoopHandler& handler, Fd listener)
      : options(std::move(options)), handler(handler), listener(std::move(listener)) {
    if (!epoll || !wake) fail_errno("start the I/O loop");
    watch(EPOLL_CTL_ADD, wake.get(), EPOLLIN, kWake);
    if (this->listener) open_lobby();
    thread = start_thread([this] { run(); });
  }
  ~Impl() {
    post([this] { stopping = true; });
    thread.join();
  }

  void post(std::function<void()> work);
  void run();
  void run_works();
  void wait();
  void open_lobby();
  void let_in(TimePoint now);
  void add(ConnectionId id, Connection connection);
  void on_event(ConnectionId id, uint32_t events);
  void read(ConnectionId id, Connection& connection);
  void flush(ConnectionId id, Connection& connection);
  void send(ConnectionId id, Bytes frame);
  void close(ConnectionId id);
  void drop(ConnectionId id, const std::string& reason);
  void tell_closed(ConnectionId id, const std::string& reason);
  void tell_again();
  void guarded(ConnectionId id, const std::function<void(Connection&)>& body);
  void tick(TimePoint now);
  void drop_late(TimePoint now);
  void watch(int operation, int fd, uint32_t events, ConnectionId id);

  const LoopOptions options;
  LoopHandler& handler;
  Fd listener;
  Fd epoll{epoll_create1(EPOLL_CLOEXEC)};
  Fd wake{eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
  std::unique_ptr<Lobby> lobby;  // with a listener
  std::atomic<ConnectionId> next_id{kLobby + 1};

  std::map<ConnectionId, Connection> connections;
  std::set<ConnectionId> closing;  // of them, and some that have gone
  std::map<ConnectionId, std::string>
      untold;  // connections whose end the handler could not take in, and why they ended
  TimePoint next_tick = Clock::now();
  bool stopping = false;

  std::mutex mutex;
  std::vector<std::function<void()>> works;  // guarded by mutex

  std::thread thread;  // last: it uses all of the above
};

void IoLoop::Impl::post(std::function<void()> work) {
  bool first;
  {
    const std::lock_guard lock(mutex);
    first = works.empty();
    works.push_back(std::move(work));
  }
  const uint64_t one = 1;
  if (first && write(wake.get(), &one, sizeof one) < 0 && errno != EAGAIN) fail_errno("wake the I/O loop");
}

void IoLoop::Impl::run() {
  while (!stopping) {
    wait();
    run_works();
    if (const auto now = Clock::now(); now >= next_tick) tick(now);
  }
  run_works();
}

void IoLoop::Impl::run_works() {
  while (true) {
    std::vector<std::function<void()>> batch;
    {
      const std::lock_guard lock(mutex);
      batch.swap(works);
    }
    if (batch.empty()) return;
    for (const auto& work : batch) work();
  }
}

void IoLoop::Impl::wait() {
  std::array<epoll_event, 64> events;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(next_tick - Clock::now()).count();
  const int n = epoll_wait(epoll.get(), events.data(), events.size(), static_cast<int>(std::max<int64_t>(left, 0)));
  for (int i = 0; i < n; ++i) on_event(events[i].data.u64, events[i].events);
}

void IoLoop::Impl::on_event(ConnectionId id, uint32_t events) {
  if (id == kWake) {
    uint64_t count;
    [[maybe_unused]] const auto ignored = ::read(wake.get(), &count, sizeof count);
  } else if (id == kLobby) {
    let_in(Clock::now());
  } else {
    guarded(id, [&](Connection& connection) {
      if (events & EPOLLOUT) flush(id, connection);
      if (!connection.closing && (events & ~EPOLLOUT)) read(id, connection);
    });
  }
}

/// Runs `body` for a connection that is still there; what it throws ends the connection.
void IoLoop::Impl::guarded(ConnectionId id, const std::function<void(Connection&)>& body) {
  const auto found = connections.find(id);
  if (found == connections.end()) return;
  try {
    body(found->second);
    if (found->second.closing && found->second.queued() == 0) connections.erase(found);
  } catch (const std::exception& error) {
    drop(id, error.what());
  }
}

void IoLoop::Impl::open_lobby() {
  const LobbyOptions lobby_options{.secret = options.secret,
                                   .purpose = options.purpose,
                                   .time = options.stranger_time,
                                   .most = options.max_strangers};
  lobby = std::make_unique<Lobby>(lobby_options, std::vector{listener.get()});
  watch(EPOLL_CTL_ADD, lobby->fd(), EPOLLIN, kLobby);
}

void IoLoop::Impl::let_in(TimePoint now) try {
  for (Guest& guest : lobby->look(now)) {
    const ConnectionId id = next_id++;
    add(id, Connection(std::move(guest.fd), std::move(guest.seals), options.max_body));
    guarded(id, [&](Connection&) { handler.opened(id); });
  }
} catch (const std::exception&) {  // such as lack of memory: those guests are gone, the others may come
}

void IoLoop::Impl::add(ConnectionId id, Connection connection) {
  watch(EPOLL_CTL_ADD, connection.fd(), EPOLLIN, id);
  connections.emplace(id, std::move(connection));
}

void IoLoop::Impl::read(ConnectionId id, Connection& connection) {
  connection.read([&](Frame frame) { handler.received(id, std::move(frame)); });
}

void IoLoop::Impl::flush(ConnectionId id, Connection& connection) {
  const uint64_t gone = connection.gone();
  try {
    connection.flush();
  } catch (const Error&) {  // what the other side said before it went still counts
    if (!connection.closing) read(id, connection);
    throw;
  }
  const bool want_out = connection.queued() > 0;
  if (want_out != connection.watching_out) {
    connection.watching_out = want_out;
    watch(EPOLL_CTL_MOD, connection.fd(), wanted(connection), id);
  }
  if (connection.gone() > gone && !connection.closing) handler.sent(id, connection.gone());
}

void IoLoop::Impl::send(ConnectionId id, Bytes frame) {
  guarded(id, [&](Connection& connection) {
    if (connection.closing) return;
    if (connection.queued() + frame.size() > options.max_queue) fail_world("the other side does not read");
    connection.push(std::move(frame));
    if (!connection.watching_out) flush(id, connection);
  });
}

void IoLoop::Impl::close(ConnectionId id) {
  guarded(id, [&](Connection& connection) {
    connection.closing = true;
    closing.insert(id);
    connection.since = Clock::now();
    watch(EPOLL_CTL_MOD, connection.fd(), wanted(connection), id);
  });
}

void IoLoop::Impl::drop(ConnectionId id, const std::string& reason) {
  const auto found = connections.find(id);
  if (found == connections.end()) return;
  const bool tell = !found->second.closing;
  connections.erase(found);
  if (tell) tell_closed(id, reason);
}

/// No connection is at fault for what the handler throws here: it is told again at the next tick.
void IoLoop::Impl::tell_closed(ConnectionId id, const std::string& reason) {
  try {
    handler.closed(id, reason);
    untold.erase(id);
  } catch (const std::exception&) {
    untold.emplace(id, reason);
  }
}

void IoLoop::Impl::tell_again() {
  for (const auto& [id, reason] : std::map(untold)) tell_closed(id, reason);
}

void IoLoop::Impl::tick(TimePoint now) {
  next_tick = now + options.tick;
  drop_late(now);
  if (lobby) let_in(now);
  tell_again();
  try {
    handler.tick(now);
  } catch (const std::exception&) {  // such as lack of memory: the next tick finds all as it is now
  }
}

void IoLoop::Impl::drop_late(TimePoint now) {
  std::erase_if(closing, [&](ConnectionId id) {
    const auto found = connections.find(id);
    if (found != connections.end() && now - found->second.since <= options.stranger_time) return false;
    drop(id, "");
    return true;
  });
}

void IoLoop::Impl::watch(int operation, int fd, uint32_t events, ConnectionId id) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  if (epoll_ctl(epoll.get(), operation, fd, &event) != 0) fail_errno("watch a socket");
}

IoLoop::IoLoop(LoopOptions options, LoopHandler& handler, Fd listener)
    : impl_(std::make_unique<Impl>(std::move(options), handler, std::move(listener))) {}
IoLoop::~IoLoop() = default;

ConnectionId IoLoop::adopt(Fd connection, Seals seals) {
  const ConnectionId id = impl_->next_id++;
  const size_t max_body = impl_->options.max_body;
  auto adopted = std::make_shared<Connection>(std::move(connection), std::move(seals), max_body);
  impl_->post([impl = impl_.get(), id, adopted] {
    try {
      impl->add(id, std::move(*adopted));
    } catch (const std::exception& error) {
      impl->handler.closed(id, error.what());
    }
  });
  return id;
}

void IoLoop::send(ConnectionId id, uint16_t kind, uint64_t generation, ByteView body) {
  auto frame = std::make_shared<Bytes>(encode_frame(kind, generation, body, impl_->options.max_body));
  impl_->post([impl = impl_.get(), id, frame] { impl->send(id, std::move(*frame)); });
}

void IoLoop::close(ConnectionId id) {
  impl_->post([impl = impl_.get(), id] { impl->close(id); });
}

void IoLoop::post(std::function<void()> work) { impl_->post(std::move(work)); }

}  // namespace stoker::net
