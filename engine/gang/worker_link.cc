#include "gang/worker_link.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "base/fault.h"
#include "net/handshake.h"
#include "net/io_loop.h"
#include "net/unix.h"

namespace stoker::gang {
namespace {

using net::ConnectionId;
using net::Frame;

constexpr uint64_t kFramesAhead = 4;
constexpr uint64_t kPiecesAhead = 4;
constexpr auto kFarewellTime = std::chrono::seconds(5);
constexpr auto kRetry = std::chrono::milliseconds(200);
constexpr auto kOwnAbsence = std::chrono::milliseconds(500);
constexpr size_t kMaxText = 64 << 10;

struct Connected {
  net::Fd fd;
  net::Seals seals;
};

/// Sets `answered` once the other end has said something, which another try would not make better.
Connected connect_and_prove(const LinkOptions& options, TimePoint deadline, bool& answered) {
  net::Fd fd = net::connect_tcp(options.host, options.port, deadline);
  net::Handshake handshake(net::Role::connector, options.secret, control_purpose(options.encrypt));
  net::write_all(fd.get(), handshake.opening(), deadline);
  Bytes answer(handshake.wants());
  net::read_exact(fd.get(), answer, deadline);
  answered = true;
  net::write_all(fd.get(), handshake.receive(answer), deadline);
  return {std::move(fd), handshake.seals()};
}

/// A driver that is restarting its network, a name that is not known yet, a full lobby: they pass.
Connected dial(const LinkOptions& options) {
  const auto deadline = Clock::now() + from_seconds(options.timeout);
  for (bool answered = false;;) {
    try {
      return connect_and_prove(options, deadline, answered);
    } catch (const Error& error) {
      if (answered || Clock::now() + kRetry >= deadline)
        throw error.within(cat("reach the coordinator at ", options.host, " port ", options.port));
    }
    std::this_thread::sleep_for(kRetry);
  }
}

const Announced& announced(const Start& start, Wanted wanted) {
  return wanted == Wanted::constants ? start.constants : start.initial;
}

}  // namespace

// One mutex guards everything that is no atomic. The loop's handler calls take it too, and sending only leaves work
// with the loop, so neither waits for the other while it is held. The callback is called without it.
struct WorkerLink::Impl : net::LoopHandler {
  Impl(Line line, const Hello& hello);
  void close();

  void received(ConnectionId, Frame frame) override;
  void closed(ConnectionId, const std::string& reason) override;
  void sent(ConnectionId, uint64_t frames) override;
  void tick(TimePoint now) override;

  void answer(const Ping& ping);
  void end_process(const std::string& unix_name) const;
  void take(const Frame& frame);
  void take_start(const Frame& frame);
  void abort(const std::string& reason, bool told);
  void call_back();
  std::optional<std::string> stopped() const;
  void leave(Kind kind, const Bytes& body);
  void send_chunks(Kind kind, ByteView bytes, bool of_generation);
  template <typename Take>
  void fetch(Wanted wanted, uint64_t from, uint64_t end, Take take);
  Bytes take_piece();
  void send(Kind kind, ByteView body);
  void post(Kind kind, uint64_t of, ByteView body);
  template <typename Message>
  void send(const Message& message) {
    send(Message::kKind, message.encode());
  }
  /// Waits until `ready()`; throws Error(aborted) when the fit ends first, or, told so, the generation.
  template <typename Ready>
  void wait(Ready ready, bool of_generation = false);

  const Bytes secret;
  const bool encrypts;
  const Hello hello;
  pulse::Pulse pulse;
  std::atomic<int64_t> step{-1};
  std::atomic<uint64_t> generation{0};  // of the newest start
  std::atomic<uint64_t> pause{0};       // the newest generation that was asked to pause
  std::atomic<uint64_t> agreed{0};      // the newest generation whose members compute alike
  ConnectionId connection = 0;

  std::mutex mutex;
  std::condition_variable changed;
  std::optional<Admission> admission;
  std::optional<Start> start;              // not taken yet
  std::optional<std::string> halt_reason;  // of the newest generation
  bool home = false;
  bool state_wanted = false;
  Wish wish;
  std::optional<Hash128> stored;
  std::deque<Bytes> pieces;  // asked for and not yet taken
  std::optional<std::string> abort_reason;
  bool lost = false;  // it is the link's end that aborted, or this process is of no use
  std::function<void(const std::string&)> callback;
  bool leaving = false;  // finished or failed has been said
  bool gone = false;     // the connection has ended, or the farewell is here
  uint64_t posted = 0;   // frames, all that the loop was ever given
  uint64_t sent_on = 0;  // of them to the kernel
  TimePoint last_heard = Clock::now();
  TimePoint last_tick = Clock::now();
  pulse::Watch watch;  // the I/O thread's

  std::unique_ptr<net::IoLoop> loop;  // empty: closed
};

WorkerLink::Impl::Impl(Line line, const Hello& hello)
    : secret(std::move(line.secret_)), encrypts(line.encrypts_), hello(hello) {
  const std::lock_guard lock(mutex);  // the handler waits until `loop` stands
  loop = std::make_unique<net::IoLoop>(net::LoopOptions{.secret = {}, .max_body = kMaxBody}, *this);
  connection = loop->adopt(std::move(line.fd_), std::move(line.seals_));
  post(Kind::hello, 0, hello.encode());
}

void WorkerLink::Impl::close() {
  std::unique_ptr<net::IoLoop> ending;
  {
    const std::lock_guard lock(mutex);
    if (loop && abort_reason && !leaving) {  // it obeys: else its end would look like a death of its own
      const Failed obeyed{ErrorKind::aborted, *abort_reason};
      post(Kind::failed, generation, obeyed.encode());
    }
    ending = std::move(loop);
    if (!abort_reason) abort_reason = "the link was closed";
    gone = true;
    changed.notify_all();
  }
}

void WorkerLink::Impl::received(ConnectionId, Frame frame) {
  {
    const std::lock_guard lock(mutex);
    last_heard = Clock::now();
    if (frame.generation >= generation) take(frame);
    changed.notify_all();
  }
  if (static_cast<Kind>(frame.kind) == Kind::halt) call_back();
  if (static_cast<Kind>(frame.kind) == Kind::kill) end_process(Kill::decode(frame.body).unix_name);
  if (static_cast<Kind>(frame.kind) == Kind::abort) abort(Abort::decode(frame.body).reason, true);
  if (static_cast<Kind>(frame.kind) == Kind::refused) abort(Refused::decode(frame.body).reason, false);
  if (static_cast<Kind>(frame.kind) == Kind::ping) answer(Ping::decode(frame.body));
}

/// With what is true at this moment: whatever the thread waited for in an older generation it has left.
void WorkerLink::Impl::answer(const Ping& ping) {
  const pulse::Still still = watch.look(Clock::now(), pulse.read(), kOwnAbsence);
  send(Pong{ping.number, step, seconds(still.idle), seconds(still.waiting), pulse.awaits().substr(0, kMaxText)});
}

/// That of a neighbour, or this one itself, when its training thread does not come back.
void WorkerLink::Impl::end_process(const std::string& unix_name) const {
  if (unix_name == hello.unix_name) ::kill(::getpid(), SIGKILL);
  const net::ProcessEnd killed(unix_name);
}

void WorkerLink::Impl::take(const Frame& frame) {
  switch (static_cast<Kind>(frame.kind)) {
    case Kind::admission:
      admission = Admission::decode(frame.body);
      return;
    case Kind::start:
      return take_start(frame);
    case Kind::result_stored:
      stored = ResultStored::decode(frame.body).digest;
      return;
    case Kind::piece:
      pieces.push_back(frame.body);
      return;
    case Kind::farewell:
      gone = true;
      return;
    case Kind::halt:
      if (frame.generation == generation) halt_reason = Halt::decode(frame.body).reason;
      return;
    case Kind::pause:
      pause = frame.generation;
      return;
    case Kind::agreed:
      agreed = frame.generation;
      return;
    case Kind::wish:
      wish = Wish::decode(frame.body);
      return;
    case Kind::hand_in:
      state_wanted = true;
      return;
    case Kind::home:
      home = true;
      return;
    case Kind::kill:
    case Kind::ping:
    case Kind::abort:
    case Kind::refused:
      return;
    default:
      fail_world("the coordinator sent a message of the unknown kind ", frame.kind);
  }
}

void WorkerLink::Impl::take_start(const Frame& frame) {
  start = Start::decode(frame.body);
  const auto& members = start->roster.members;
  const auto me = std::ranges::find(members, hello.attempt, &RosterEntry::attempt);
  if (me == members.end()) fail_world("the coordinator started a generation without this worker");
  start->roster.rank = me->rank;
  start->roster.secret = secret;
  start->roster.encrypted = encrypts;
  generation = frame.generation;
  halt_reason.reset();
  state_wanted = false;
  stored.reset();
  pieces.clear();
}

void WorkerLink::Impl::closed(ConnectionId, const std::string& reason) {
  abort("the connection to the coordinator was lost: " + reason, false);
  const std::lock_guard lock(mutex);
  gone = true;
  changed.notify_all();
}

void WorkerLink::Impl::sent(ConnectionId, uint64_t frames) {
  const std::lock_guard lock(mutex);
  sent_on = frames;
  changed.notify_all();
}

void WorkerLink::Impl::tick(TimePoint now) {
  {
    const std::lock_guard lock(mutex);
    const Duration gap = now - std::exchange(last_tick, now);
    watch.look(now, pulse.read(), kOwnAbsence);
    if (gap > kOwnAbsence) last_heard += gap;  // this process stood still, and what was said meanwhile is not read yet
    const double limit = admission && admission->verdict == Admission::Verdict::go ? admission->silence_limit : 0;
    if (limit <= 0 || leaving || now - last_heard < from_seconds(limit)) return;
  }
  abort("the coordinator has been silent for too long", false);
}

void WorkerLink::Impl::abort(const std::string& reason, bool told) {
  {
    const std::lock_guard lock(mutex);
    if (abort_reason || leaving) return;
    abort_reason = reason;
    lost = !told;
    changed.notify_all();
  }
  call_back();
}

/// Why the newest generation is over, if it is. REQUIRES: the mutex.
std::optional<std::string> WorkerLink::Impl::stopped() const { return abort_reason ? abort_reason : halt_reason; }

/// Runs the callback, once, if there are both a callback and a reason.
void WorkerLink::Impl::call_back() {
  std::function<void(const std::string&)> call;
  std::string reason;
  {
    const std::lock_guard lock(mutex);
    if (!stopped() || leaving) return;
    call = std::exchange(callback, {});
    reason = *stopped();
  }
  if (call) call(reason);
}

void WorkerLink::Impl::send(Kind kind, ByteView body) {
  const std::lock_guard lock(mutex);
  post(kind, generation, body);
}

/// REQUIRES: the mutex.
void WorkerLink::Impl::post(Kind kind, uint64_t of, ByteView body) {
  if (!loop) return;
  loop->send(connection, static_cast<uint16_t>(kind), of, body);
  ++posted;
}

template <typename Ready>
void WorkerLink::Impl::wait(Ready ready, bool of_generation) {
  const pulse::Rest rest;
  std::unique_lock lock(mutex);
  const auto reason = [&] { return of_generation ? stopped() : abort_reason; };
  changed.wait(lock, [&] { return ready() || reason() || gone; });
  if (!ready()) throw Error(ErrorKind::aborted, reason().value_or("this worker has left already"));
}

void WorkerLink::Impl::leave(Kind kind, const Bytes& body) {
  {
    const std::lock_guard lock(mutex);
    if (std::exchange(leaving, true) || gone) return;
  }
  send(kind, body);
  const pulse::Rest rest;
  std::unique_lock lock(mutex);
  changed.wait_for(lock, kFarewellTime, [&] { return gone; });
}

void WorkerLink::Impl::send_chunks(Kind kind, ByteView bytes, bool of_generation) {
  while (!bytes.empty()) {
    wait([&] { return posted - sent_on < kFramesAhead; }, of_generation);
    {
      const std::lock_guard lock(mutex);
      if (const auto reason = of_generation ? stopped() : abort_reason) throw Error(ErrorKind::aborted, *reason);
    }
    const size_t size = std::min(bytes.size(), kChunk);
    send(kind, bytes.first(size));
    fault::point(kind == Kind::result_chunk ? "result-chunk" : "state-chunk");
    bytes = bytes.subspan(size);
  }
}

/// Gives `take` the pieces of these bytes, in order; several are under way.
template <typename Take>
void WorkerLink::Impl::fetch(Wanted wanted, uint64_t from, uint64_t end, Take take) {
  for (uint64_t asked = from; from < end;) {
    for (; asked < end && asked - from < kPiecesAhead * kChunk; asked += kChunk) send(Fetch{wanted, asked});
    fault::point("fetch");
    const Bytes piece = take_piece();
    if (piece.size() != std::min<uint64_t>(kChunk, end - from)) {
      fail_world("weights or a state came cut from the coordinator");
    }
    take(ByteView(piece));
    from += piece.size();
  }
}

Bytes WorkerLink::Impl::take_piece() {
  wait([&] { return !pieces.empty(); }, true);
  const std::lock_guard lock(mutex);
  Bytes piece = std::move(pieces.front());
  pieces.pop_front();
  return piece;
}

Line::Line(const LinkOptions& options) : secret_(options.secret), encrypts_(options.encrypt) {
  auto [fd, seals] = dial(options);
  fd_ = std::move(fd);
  seals_ = std::move(seals);
}

WorkerLink::WorkerLink(Line line, Hello hello) : impl_(std::make_unique<Impl>(std::move(line), hello)) {}
WorkerLink::~WorkerLink() { close(); }

void WorkerLink::close() { impl_->close(); }

Admission WorkerLink::admission() {
  impl_->wait([&] { return impl_->admission.has_value(); });
  const std::lock_guard lock(impl_->mutex);
  return *impl_->admission;
}

void WorkerLink::ingested(const std::vector<ShardCount>& shards) { impl_->send(Ingested{shards}); }

void WorkerLink::ingesting(int64_t rows) { impl_->send(Ingesting{rows}); }

Start WorkerLink::start(const std::function<void()>& hand_in) {
  while (true) {
    impl_->wait([&] { return (impl_->start || (impl_->state_wanted && hand_in)) && !impl_->abort_reason; });
    {
      const std::lock_guard lock(impl_->mutex);
      if (impl_->start) return *std::exchange(impl_->start, {});
      impl_->state_wanted = false;
    }
    hand_in();
  }
}

void WorkerLink::hand_in(const Kept& kept, const std::vector<std::span<std::byte>>& pieces) {
  impl_->send(StateBegin{kept});
  for (const auto piece : pieces) impl_->send_chunks(Kind::state_chunk, piece, false);
}

void WorkerLink::halted(const Start& start, uint64_t commit, const std::string& cause) {
  const std::lock_guard lock(impl_->mutex);
  impl_->post(Kind::halted, start.roster.generation, Halted{commit, cause.substr(0, kMaxText)}.encode());
}

void WorkerLink::holding(const Held& held) { impl_->send(Holding{held}); }

void WorkerLink::lends(bool any) { impl_->send(Lends{any}); }

void WorkerLink::borrowed(const std::vector<int>& shards) { impl_->send(BorrowedRows{shards}); }

void WorkerLink::fingerprint(const Fingerprint& fingerprint) { impl_->send(fingerprint); }

void WorkerLink::await_agreed() {
  const pulse::Wait wait("the others to tell what their arithmetic is");
  impl_->wait([&] { return impl_->agreed == impl_->generation; }, true);
}

void WorkerLink::digest(uint64_t commit, const Hash128& digest) { impl_->send(StateDigest{commit, digest}); }

void WorkerLink::fetch(const Start& start, Wanted wanted, uint64_t from,
                       const std::function<void(ByteView piece)>& take) {
  impl_->fetch(wanted, from, announced(start, wanted).bytes, take);
}

void WorkerLink::fetch(const Start& start, Wanted wanted, Bytes& so_far) {
  const Announced& what = announced(start, wanted);
  so_far.reserve(what.bytes);
  fetch(start, wanted, so_far.size(), [&](ByteView piece) { so_far.insert(so_far.end(), piece.begin(), piece.end()); });
  if (hash128(so_far) == what.digest) return;
  so_far.clear();
  fail_world("weights arrived damaged");
}

void WorkerLink::kept_state(const Start& start, const std::vector<std::span<std::byte>>& into) {
  auto to = into.begin();
  size_t filled = 0;
  impl_->fetch(Wanted::kept, 0, start.kept.bytes, [&](ByteView piece) {
    while (!piece.empty()) {
      for (; to != into.end() && filled == to->size(); ++to) filled = 0;
      if (to == into.end()) fail_world("a state that is larger than this program's");
      const size_t size = std::min(piece.size(), to->size() - filled);
      std::ranges::copy(piece.first(size), to->begin() + filled);
      piece = piece.subspan(size), filled += size;
    }
  });
}

bool WorkerLink::pause_asked() const { return impl_->pause == impl_->generation; }

Wish WorkerLink::wish() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->wish;
}

void WorkerLink::paused() { impl_->send(Kind::paused, {}); }

void WorkerLink::progress(int64_t step) { impl_->step = step; }

pulse::Pulse& WorkerLink::pulse() { return impl_->pulse; }

void WorkerLink::metrics(const std::string& json) {
  const auto parsed = nlohmann::json::parse(json, nullptr, false);
  if (!parsed.is_object()) fail_bug("metrics must be a JSON object: ", json.substr(0, 80));
  if (const auto step = parsed.find("step"); step != parsed.end() && step->is_number_integer()) impl_->step = *step;
  impl_->send(Kind::metrics, as_bytes(json));
}

void WorkerLink::checkpoint(const std::string& json) { impl_->send(Kind::checkpoint, as_bytes(json)); }

void WorkerLink::result(ByteView weights, const std::string& history) {
  const Hash128 digest = result_digest(weights, history);
  impl_->send(ResultBegin{weights.size(), history.size(), digest});
  impl_->send_chunks(Kind::result_chunk, weights, true);
  impl_->send_chunks(Kind::result_chunk, as_bytes(history), true);
  impl_->wait([&] { return impl_->stored == digest || impl_->home; }, true);
}

void WorkerLink::await_home() {
  const pulse::Wait wait("the others to come as far");
  impl_->wait([&] { return impl_->home; }, true);
}

void WorkerLink::finished() {
  fault::point("finished");
  impl_->leave(Kind::finished, {});
}

void WorkerLink::failed(const Error& error) {
  impl_->leave(Kind::failed, Failed{error.kind(), std::string(error.what()).substr(0, kMaxText)}.encode());
}

void WorkerLink::on_stop(const Start& start, std::function<void(const std::string& reason)> callback) {
  const std::lock_guard lock(impl_->mutex);
  STOKER_CHECK(start.roster.generation == impl_->generation);
  impl_->callback = std::move(callback);
  if (impl_->loop) impl_->loop->post([impl = impl_.get()] { impl->call_back(); });
}

bool WorkerLink::aborted() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->abort_reason.has_value();
}

bool WorkerLink::lost() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->lost;
}

std::string WorkerLink::abort_reason() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->abort_reason.value_or("");
}

}  // namespace stoker::gang
