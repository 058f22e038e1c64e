#include "gang/coordinator.h"

#include <condition_variable>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>

#include "base/descriptors.h"
#include "base/timetable.h"
#include "gang/alike.h"
#include "gang/hand_in.h"
#include "gang/keeper.h"
#include "gang/result_inbox.h"
#include "gang/transitions.h"
#include "net/io_loop.h"
#include "net/unix.h"

namespace stoker::gang {
namespace {

/// So that the start message, which has each shard's rows, digest and owner, fits a frame.
constexpr int kMostShards = 32'768;
constexpr size_t kSpareDescriptors = 64;  // for strangers, second attempts, and whatever else the process opens
constexpr auto kMeanwhile = std::chrono::milliseconds(100);
constexpr int kLooksAHeartbeat = 4;  // while all is steady
constexpr double kUnwatched = 10;    // seconds of patience where there is no heartbeat's timeout

using Json = nlohmann::json;
using net::ConnectionId;
using net::Frame;

/// One authenticated connection, from its opening to its end.
struct Session {
  std::optional<Hello> hello;
  bool parked = false;
  std::optional<ResultInbox> inbox;
};

Json about(const Hello& hello) {
  return {{"rank", hello.partition}, {"host", hello.host}, {"pid", hello.pid}, {"attempt", hello.attempt}};
}

int most_places(const CoordinatorOptions& options) { return std::max(options.workers, options.most_workers); }

net::LoopOptions loop_options(const CoordinatorOptions& options) {
  net::LoopOptions loop{.secret = options.secret, .purpose = control_purpose(options.encrypt), .max_body = kMaxBody};
  loop.max_strangers = std::max<size_t>(loop.max_strangers, most_places(options));  // they may come all at once
  loop.tick = std::min(loop.tick, from_seconds(options.heartbeat / 2));
  return loop;
}

uint64_t count_in(const Json& json, const char* key, uint64_t least = 1) {
  const auto found = json.find(key);
  return found != json.end() && found->is_number_unsigned() ? std::max(found->get<uint64_t>(), least) : least;
}

/// What makes steps of commits, as a worker's metrics say.
Timetable table_of(const Json& metrics) {
  return {.steps = count_in(metrics, "steps_of_epoch"),
          .evaluates = metrics.value("evaluates", Json()) == true,
          .every = count_in(metrics, "steps_of_commit"),
          .between = count_in(metrics, "commits_of_leg", 0)};
}

Announced announced(const Bytes& bytes) { return {bytes.size(), hash128(bytes)}; }

}  // namespace

// One mutex guards everything. The loop's handler calls take it too, and only leave work with the loop, so neither
// waits for the other while it is held.
struct Coordinator::Impl : net::LoopHandler {
  explicit Impl(const CoordinatorOptions& given);
  void close();

  void opened(ConnectionId id) override;
  void received(ConnectionId id, Frame frame) override;
  void closed(ConnectionId id, const std::string& reason) override;
  void tick(TimePoint now) override;

  void forgive_own_absence(TimePoint now);
  void take(ConnectionId id, Session& session, const Frame& frame);
  void take_hello(ConnectionId id, Session& session, const Hello& hello);
  void take_from_outsider(ConnectionId id, Kind kind);
  void take_from_member(ConnectionId id, Session& session, Member& member, const Frame& frame);
  void take_ingested(Member& member, Ingested message);
  void send_piece(ConnectionId id, const Fetch& fetch);
  void take_metrics(Member& member, const Bytes& body);
  void take_checkpoint(const Member& member, const Bytes& body);
  void take_result(ConnectionId id, Session& session);
  void take_finished(ConnectionId id, Member& member);
  void take_failed(ConnectionId id, Member& member, const Failed& failed);
  void take_holding(Member& member, const Holding& message);
  void take_digest(Member& member, const StateDigest& message);
  void take_state_begin(const Member& member, const Kept& kept);
  void take_state_chunk(const Member& member, ByteView chunk);
  void lose(Member& member, Lost lost);
  void end_process(const Member& member);
  bool may_begin();
  void readmit();

  void act();
  void act_soon();
  void carry_out(const Decision& decision);
  void begin(Start start, bool lending, const std::string& reason);
  uint64_t steps_of(uint64_t commit) const { return commit > 0 ? table.steps_done(commit - 1) : 0; }
  void pause(const std::string& reason);
  void halt(const std::string& reason);
  void rescue(const std::vector<int>& partitions);
  void dismiss(const std::vector<int>& partitions, const std::string& reason);
  void agree(const std::vector<int>& let_in, const std::string& reason);
  void lower(const std::string& reason);
  void refuse(int partition, const std::string& reason);
  void give_up(int partition, const std::string& reason);
  void tell_fenced(const Member& member);
  void begin_hand_in(const std::string& reason);
  void go_on_with_hand_in();
  void end_hand_in();
  void await_hand_in(std::unique_lock<std::mutex>& lock, const std::function<void()>& meanwhile);
  void restart(int workers, const std::string& reason);
  void tell_abort(const std::string& reason);
  void end(const std::optional<Error>& failure);
  void answer(ConnectionId id, Admission::Verdict verdict, const std::string& reason);
  void log(Json json, bool warning = false);
  void event(const std::string& kind, const Json& json);

  Member* member_of(const Session& session) { return session.hello ? gang::member_of(gang, *session.hello) : nullptr; }
  template <typename Message>
  void send(ConnectionId id, const Message& message) {
    loop->send(id, static_cast<uint16_t>(Message::kKind), gang.generation, message.encode());
  }
  /// A message without a body.
  void send(ConnectionId id, Kind kind) { loop->send(id, static_cast<uint16_t>(kind), gang.generation, {}); }
  /// To all members, or to the ranks of the newest generation.
  template <typename Message>
  void send_members(const Message& message) {
    send_members(Message::kKind, message.encode(), false);
  }
  template <typename Message>
  void send_ranks(const Message& message) {
    send_members(Message::kKind, message.encode(), true);
  }
  void send_ranks(Kind kind) { send_members(kind, {}, true); }
  void send_members(Kind kind, const Bytes& body, bool only_ranks) {
    for (const auto& [id, session] : sessions) {
      const Member* member = member_of(session);
      if (member && (member->working || !only_ranks))
        loop->send(id, static_cast<uint16_t>(kind), gang.generation, body);
    }
  }

  CoordinatorOptions options;
  const Announced initial, constants;
  int port = 0;

  std::mutex mutex;
  std::condition_variable changed;
  Gang gang;
  std::map<ConnectionId, Session> sessions;
  std::vector<Event> events;
  bool news = false;  // the fit ended, or the service was closed, since the last poll()
  Bytes weights;
  std::string history;
  Keeper keeper;
  Timetable table;                                              // as far as the workers told of it
  Wish wish;                                                    // of the driver, the newest
  std::optional<HandIn> hand_in;                                // before a restart
  std::map<uint64_t, std::pair<Hash128, std::string>> digests;  // by commit: a host's digest, and who told it
  TimePoint last_tick = Clock::now();
  TimePoint next_ping = Clock::now();
  TimePoint next_look = Clock::now();
  bool steady = false;  // when it was last decided
  uint64_t pings = 0;
  bool acts_soon = false;             // that is posted
  std::unique_ptr<net::IoLoop> loop;  // empty: closed
};

Coordinator::Impl::Impl(const CoordinatorOptions& given)
    : options(given), initial(announced(options.initial)), constants(announced(options.constants)) {
  if (options.workers < 1 || options.shards < 1) fail_user("a fit needs at least one worker and one shard");
  if (options.shards > kMostShards)
    fail_user(options.shards, " shards are more than the ", kMostShards, " that can be");
  STOKER_CHECK(options.heartbeat > 0);
  need_descriptors(static_cast<size_t>(most_places(options)) + kSpareDescriptors,
                   cat("the links to ", most_places(options), " workers"));
  net::Fd listener = net::listen_tcp(options.bind_host, options.ports);
  port = net::local_port(listener.get());
  const std::lock_guard lock(mutex);  // the handler waits until `loop` stands
  loop = std::make_unique<net::IoLoop>(loop_options(options), *this, std::move(listener));
}

void Coordinator::Impl::close() {
  std::unique_ptr<net::IoLoop> ending;
  {
    const std::lock_guard lock(mutex);
    if (loop) end(Error(ErrorKind::aborted, "the coordinator was closed"));
    ending = std::move(loop);
    keeper.release();
    news = true;
    changed.notify_all();
  }
}

void Coordinator::Impl::opened(ConnectionId id) {
  const std::lock_guard lock(mutex);
  sessions[id];
}

void Coordinator::Impl::received(ConnectionId id, Frame frame) {
  const std::lock_guard lock(mutex);
  if (!loop) return;
  const auto kind = static_cast<Kind>(frame.kind);
  take(id, sessions.at(id), frame);
  if (kind == Kind::failed) return act();
  if (changes_decisions(kind)) act_soon();
}

void Coordinator::Impl::closed(ConnectionId id, const std::string& reason) {
  const std::lock_guard lock(mutex);
  const Session session = std::move(sessions.at(id));
  sessions.erase(id);
  if (!loop) return;
  Member* member = member_of(session);
  if (member && member->living()) lose(*member, {.how = Loss::vanished, .cause = reason, .when = Clock::now()});
  act();
}

void Coordinator::Impl::tick(TimePoint now) {
  const std::lock_guard lock(mutex);
  if (!loop) return;
  forgive_own_absence(now);
  if (now >= next_ping) {
    next_ping = now + from_seconds(ping_every(gang, options));
    send_members(Ping{++pings});
  }
  if (steady && !acts_soon && now < next_look) return;
  next_look = now + from_seconds(options.heartbeat / kLooksAHeartbeat);
  for (const Missed& missed : silent(now, gang, options)) {
    lose(gang.members.at(missed.partition), {.how = missed.how, .cause = missed.cause, .when = now});
  }
  act();
}

void Coordinator::Impl::forgive_own_absence(TimePoint now) {
  const Duration gap = now - last_tick;
  last_tick = now;
  if (gap < std::max<Duration>(from_seconds(options.heartbeat), std::chrono::milliseconds(500))) return;
  on_own_absence(gang, gap);
  if (hand_in) hand_in->forgive(gap);
}

void Coordinator::Impl::take(ConnectionId id, Session& session, const Frame& frame) {
  const auto kind = static_cast<Kind>(frame.kind);
  const bool late = is_void(kind, frame.generation, gang);
  if ((kind == Kind::hello) == session.hello.has_value()) fail_world("a message out of turn, kind ", frame.kind);
  if (kind == Kind::hello) return take_hello(id, session, Hello::decode(frame.body));
  Member* member = member_of(session);
  if (!member) return take_from_outsider(id, kind);
  member->last_heard = Clock::now();
  if (!late) take_from_member(id, session, *member, frame);
}

void Coordinator::Impl::take_hello(ConnectionId id, Session& session, const Hello& hello) {
  const Entry entry = admit(hello, gang, options);
  on_hello(gang, hello, entry, Clock::now());
  session.hello = hello;
  session.parked = entry.park;
  if (!entry.park) answer(id, entry.verdict, entry.reason);
  if (entry.verdict != Admission::Verdict::go) {
    Json json = about(hello);
    json["text"] = cat(who(hello), entry.park ? ": parked: " : cat(": ", name(entry.verdict), ": "), entry.reason);
    log(json, entry.error.has_value());
    const bool needed = !is_late_place(hello.partition, gang, options);
    if (needed && entry.error && entry.error->kind() == ErrorKind::user) end(*entry.error);
    return;
  }
  Json json = about(hello);
  json.update({{"attempt_number", hello.attempt_number}, {"torch", hello.torch_version}, {"isa", hello.isa}});
  event("admitted", json);
}

void Coordinator::Impl::take_from_outsider(ConnectionId id, Kind kind) {
  if (kind == Kind::pong) return;
  if (kind != Kind::finished && kind != Kind::failed) fail_world("a message of a worker that was not admitted");
  loop->send(id, static_cast<uint16_t>(Kind::farewell), gang.generation, {});
}

void Coordinator::Impl::take_from_member(ConnectionId id, Session& session, Member& member, const Frame& frame) {
  switch (static_cast<Kind>(frame.kind)) {
    case Kind::ingesting:
      member.rows = Ingesting::decode(frame.body).rows;
      return event("ingesting", {{"rank", member.hello.partition}, {"rows", member.rows}});
    case Kind::ingested:
      return take_ingested(member, Ingested::decode(frame.body));
    case Kind::pong:
      return on_pong(gang, member, Pong::decode(frame.body), frame.generation);
    case Kind::metrics:
      return take_metrics(member, frame.body);
    case Kind::halted:
      return on_halted(member, Halted::decode(frame.body));
    case Kind::paused:
      return on_paused(member);
    case Kind::fingerprint:
      return on_fingerprint(member, Fingerprint::decode(frame.body));
    case Kind::holding:
      return take_holding(member, Holding::decode(frame.body));
    case Kind::lends:
      return on_lends(member, Lends::decode(frame.body));
    case Kind::borrowed:
      return on_borrowed(gang, member, BorrowedRows::decode(frame.body));
    case Kind::digest:
      return take_digest(member, StateDigest::decode(frame.body));
    case Kind::checkpoint:
      return take_checkpoint(member, frame.body);
    case Kind::fetch:
      return send_piece(id, Fetch::decode(frame.body));
    case Kind::state_begin:
      return take_state_begin(member, StateBegin::decode(frame.body).kept);
    case Kind::state_chunk:
      return take_state_chunk(member, frame.body);
    case Kind::result_begin:
      session.inbox.emplace(ResultBegin::decode(frame.body));
      return take_result(id, session);
    case Kind::result_chunk:
      if (!session.inbox) fail_world("a piece of a result that was not announced");
      session.inbox->add(frame.body);
      return take_result(id, session);
    case Kind::finished:
      return take_finished(id, member);
    case Kind::failed:
      return take_failed(id, member, Failed::decode(frame.body));
    default:
      fail_world("a message of the unknown kind ", frame.kind);
  }
}

void Coordinator::Impl::take_ingested(Member& member, Ingested message) {
  if (const auto other = changed_rows(member, message.shards, gang);
      other && !options.allow_changed_rows && can_do_without(member.hello.partition, gang)) {
    return lose(member,
                {.how = Loss::dismissed, .kind = ErrorKind::user, .cause = other->what(), .when = Clock::now()});
  }
  const auto changed = on_ingested(gang, member, std::move(message.shards));
  int64_t rows = 0;
  for (const ShardCount& shard : *member.shards) rows += shard.rows + shard.held;
  event("ingested", {{"rank", member.hello.partition}, {"rows", rows}, {"shards", member.shards->size()}});
  if (changed && !options.allow_changed_rows) end(*changed);
  if (changed) event("inexact", {{"rank", member.hello.partition}, {"text", changed->what()}});
}

void Coordinator::Impl::send_piece(ConnectionId id, const Fetch& fetch) {
  const ByteView known[] = {options.initial, options.constants, keeper.state()};  // by Wanted
  const ByteView whole = known[static_cast<size_t>(fetch.wanted)];
  if (fetch.offset > whole.size()) fail_world("asked for weights or a state beyond their end");
  const auto rest = whole.subspan(fetch.offset);
  loop->send(id, static_cast<uint16_t>(Kind::piece), gang.generation, rest.first(std::min(rest.size(), kChunk)));
}

void Coordinator::Impl::take_metrics(Member& member, const Bytes& body) {
  Json json = Json::parse(to_string(body), nullptr, false);
  if (!json.is_object()) fail_world("metrics that are no JSON object");
  if (const auto step = json.find("step"); step != json.end() && step->is_number_integer()) {
    member.step = std::max(member.step, step->get<int64_t>());
    table = table_of(json);
  }
  json["rank"] = member.hello.partition;
  event("metrics", json);
}

void Coordinator::Impl::take_checkpoint(const Member& member, const Bytes& body) {
  Json json = Json::parse(to_string(body), nullptr, false);
  if (!json.is_object()) fail_world("a checkpoint that is no JSON object");
  json["rank"] = member.hello.partition;
  event("checkpoint", json);
}

void Coordinator::Impl::take_result(ConnectionId id, Session& session) {
  if (!session.inbox->whole()) return;
  ResultInbox inbox = *std::exchange(session.inbox, {});
  if (gang.end && gang.end->failure) return;  // too late, and its sender has been told to stop
  send(id, ResultStored{inbox.digest()});
  if (gang.result_here) return;
  gang.result_here = true;
  weights = inbox.take_weights();
  history = inbox.take_history();
  event("result", {{"rank", session.hello->partition}, {"bytes", weights.size()}, {"digest", hex(inbox.digest())}});
}

/// In a host's first word of a generation. An older segment is of no use any more.
void Coordinator::Impl::take_holding(Member& member, const Holding& message) {
  if (!options.distant) keeper.take(member.hello.unix_name, message.held, gang.generation);
}

void Coordinator::Impl::take_digest(Member& member, const StateDigest& message) {
  const auto [told, fresh] = digests.try_emplace(message.commit, message.digest, who(member.hello));
  if (!fresh && told->second.first != message.digest) {
    end(Error(ErrorKind::bug, cat("the training states of two hosts differ after step ", steps_of(message.commit), ": ",
                                  told->second.second, " and ", who(member.hello))));
  }
  while (digests.size() > 64) digests.erase(digests.begin());
}

void Coordinator::Impl::take_state_begin(const Member& member, const Kept& kept) {
  if (!hand_in) return;
  try {
    hand_in->begin(member, kept, Clock::now());
  } catch (const Error& error) {
    log({{"text", cat("the newest commit cannot be kept over the restart: ", error.what())}}, true);
    end_hand_in();
  }
}

void Coordinator::Impl::take_state_chunk(const Member& member, ByteView chunk) {
  if (!hand_in) return;
  auto whole = hand_in->add(member, chunk, Clock::now());
  if (!whole) return;
  log({{"text", cat(who(member.hello), " has handed in commit ", whole->first.commit, ", ", whole->first.bytes,
                    " bytes, for the restart")}});
  keeper.take(whole->first, std::move(whole->second));
}

void Coordinator::Impl::take_finished(ConnectionId id, Member& member) {
  member.finished = true;
  loop->send(id, static_cast<uint16_t>(Kind::farewell), gang.generation, {});
  event("finished", {{"rank", member.hello.partition}, {"step", member.step}});
}

void Coordinator::Impl::take_failed(ConnectionId id, Member& member, const Failed& failed) {
  loop->send(id, static_cast<uint16_t>(Kind::farewell), gang.generation, {});
  if (member.living()) lose(member, lost_to(failed, Clock::now()));
}

void Coordinator::Impl::lose(Member& member, Lost lost) {
  steady = false;
  lost = out_of_memory_or(std::move(lost), gang, member, options);
  Json json = about(member.hello);
  json.update({{"kind", name(lost.kind)}, {"how", name(lost.how)}, {"text", lost.cause}, {"step", member.step}});
  event("failed", json);
  const bool may_live = lost.how == Loss::vanished || lost.how == Loss::silent || lost.how == Loss::stuck;
  const double patience = gang.patience;
  on_loss(gang, member, std::move(lost));
  if (gang.patience > patience) {
    const char* what = member.lost->how == Loss::silent ? " was silent where one was before, at step "
                                                        : " was stuck where one was before, at step ";
    log({{"text", cat(who(member.hello), what, member.step, ": from now on silence counts after ",
                      options.heartbeat_timeout * gang.patience, " s")}},
        true);
  }
  if (member.lost->how != Loss::failed) tell_fenced(member);
  if (may_live) end_process(member);
}

void Coordinator::Impl::tell_fenced(const Member& member) {
  for (const auto& [id, session] : sessions) {
    if (!session.hello || session.hello->attempt != member.hello.attempt) continue;
    member.lost->how == Loss::refused ? send(id, Refused{member.lost->cause}) : send(id, Abort{member.lost->cause});
  }
}

/// A process that is no member any more must not touch memory that the next generation uses. One on this host is ended
/// here; beside one on another host its neighbours are asked to, and one that hears is asked itself. Those that stand
/// still are thus started again by Spark, too.
void Coordinator::Impl::end_process(const Member& member) {
  const std::string& name = member.hello.unix_name;
  const bool stands_still = member.lost->how == Loss::silent || member.lost->how == Loss::stuck;
  if (name.empty()) return;
  keeper.fence(name);
  if (!stands_still) return;
  const net::ProcessEnd killed(name);
  for (const auto& [id, session] : sessions) {
    if (!session.hello || session.hello->host != member.hello.host) continue;
    if (member_of(session) || session.hello->attempt == member.hello.attempt) send(id, Kill{name});
  }
}

/// A state that is let go is told: the next generation begins from an older one.
bool Coordinator::Impl::may_begin() {
  const bool held = keeper.holds();
  if (!keeper.may_begin(Clock::now())) return false;
  if (held && !keeper.holds())
    log({{"text", "a worker that was killed has not ended: the memory that it trained in is not used again"}}, true);
  return true;
}

/// Attempts that were parked beside a member that is lost now take its place; after that, spares leave that may be in
/// the way.
void Coordinator::Impl::readmit() {
  for (const bool to_work : {true, false}) {
    for (auto& [id, session] : sessions) {
      if (!session.parked) continue;
      const Entry entry = admit(*session.hello, gang, options);
      if (entry.park || (entry.verdict == Admission::Verdict::go) != to_work) continue;
      take_hello(id, session, Hello(*session.hello));
    }
  }
}

/// Once what else has come already is taken in: a thousand that halt together need few looks at all members. Losses do
/// not wait for that: an attempt that takes the place would hide why its member was lost.
void Coordinator::Impl::act_soon() {
  if (std::exchange(acts_soon, true)) return;
  loop->post([this] {
    const std::lock_guard lock(mutex);
    if (loop && acts_soon) act();
  });
}

/// What cannot be carried out could not be the next time either: the fit ends with it, in words.
void Coordinator::Impl::act() try {
  acts_soon = false;
  readmit();
  for (const Decision& decision : decide(Clock::now(), gang, options)) carry_out(decision);
  if (hand_in) go_on_with_hand_in();
  steady = !hand_in && keeper.is_fenced() && is_steady(gang, options);
} catch (const std::exception& error) {
  end(Error(ErrorKind::bug, cat("the coordinator could not go on: ", error.what())));
}

void Coordinator::Impl::carry_out(const Decision& decision) {
  switch (decision.action) {
    case Action::pause:
      return pause(decision.reason);
    case Action::halt:
      return halt(decision.reason);
    case Action::form:  // in memory that is held when nobody else writes into it
      return may_begin() ? begin(*decision.start, decision.lending, decision.reason) : void();
    case Action::rescue:
      return rescue(decision.partitions);
    case Action::dismiss:
      return dismiss(decision.partitions, decision.reason);
    case Action::give_up:
      return give_up(decision.partitions.at(0), decision.reason);
    case Action::agree:
      return agree(decision.partitions, decision.reason);
    case Action::lower:
      return lower(decision.reason);
    case Action::refuse:
      return refuse(decision.partitions.at(0), decision.reason);
    case Action::abort:
      return tell_abort(decision.reason);
    case Action::end:
      return end(decision.failure);
  }
}

void Coordinator::Impl::begin(Start start, bool lending, const std::string& reason) {
  start.initial = initial;
  start.constants = constants;
  start.held = keeper.held();
  start.kept = keeper.kept();
  const uint64_t commit = start.commit > 0 ? start.commit : keeper.commit();
  on_start(gang, start);
  send_ranks(start);
  if (wish.number > 0) send_ranks(wish);
  int64_t rows = 0;
  for (const ShardCount& shard : start.shards) rows += shard.rows;
  event("started", {{"generation", gang.generation},
                    {"workers", start.roster.members.size()},
                    {"late", std::max(0, static_cast<int>(start.roster.members.size()) - options.workers)},
                    {"shards", start.shards.size()},
                    {"rows", rows},
                    {"commit", commit},
                    {"step", steps_of(commit)},
                    {"isa", start.isa},
                    {"lending", lending},
                    {"text", reason}});
}

void Coordinator::Impl::pause(const std::string& reason) {
  on_pause(gang);
  send_ranks(Kind::pause);
  log({{"text", reason}});
}

void Coordinator::Impl::halt(const std::string& reason) {
  on_halt(gang, Clock::now(), standstill(gang, options));
  send_ranks(Halt{reason});
  event("halted", {{"generation", gang.generation}, {"text", reason}});
}

void Coordinator::Impl::rescue(const std::vector<int>& partitions) {
  for (const int partition : partitions) gang.members.at(partition).rescued = true;
  event("rescue", {{"partitions", partitions}});
}

void Coordinator::Impl::dismiss(const std::vector<int>& partitions, const std::string& reason) {
  for (const int partition : partitions) {
    lose(gang.members.at(partition), {.how = Loss::dismissed, .cause = reason, .when = Clock::now()});
  }
}

void Coordinator::Impl::agree(const std::vector<int>& let_in, const std::string& reason) {
  on_agreed(gang, let_in);
  send_ranks(Kind::agreed);
  if (!let_in.empty()) event("inexact", {{"rank", let_in.front()}, {"text", reason}});
}

/// Libraries that are loaded stay as they are, so every process makes room for another one.
void Coordinator::Impl::lower(const std::string& reason) {
  log({{"text", reason}}, true);
  for (auto& [partition, member] : gang.members) {
    if (member.living()) lose(member, {.how = Loss::refused, .cause = reason, .when = Clock::now()});
  }
  on_lowered(gang);
}

void Coordinator::Impl::refuse(int partition, const std::string& reason) {
  lose(gang.members.at(partition), lost_to_refusal(gang, partition, reason, Clock::now(), options));
}

void Coordinator::Impl::give_up(int partition, const std::string& reason) {
  on_given_up(gang, partition);
  event("given_up", {{"rank", partition}, {"text", reason}});
  act();
}

/// Nothing needs to travel where the memory of the newest generation is held from here.
void Coordinator::Impl::begin_hand_in(const std::string& reason) {
  if (!loop || gang.end) return;
  gang.restarting = true;
  if (gang.running) halt(reason);
  if (keeper.holds_that_of(gang.generation) && keeper.is_fenced()) return;
  const double patience = options.heartbeat_timeout > 0 ? options.heartbeat_timeout * gang.patience : kUnwatched;
  hand_in.emplace(keeper.kept().commit, from_seconds(patience));
  act();
}

void Coordinator::Impl::go_on_with_hand_in() {
  const HandIn::Next next = hand_in->next(Clock::now(), gang);
  if (next.over || gang.end) return end_hand_in();
  if (!next.ask) return;
  for (const auto& [id, session] : sessions) {
    const Member* member = member_of(session);
    if (!member || member->hello.partition != *next.ask) continue;
    loop->send(id, static_cast<uint16_t>(Kind::hand_in), gang.generation, {});
  }
}

void Coordinator::Impl::end_hand_in() {
  hand_in.reset();
  changed.notify_all();
}

void Coordinator::Impl::await_hand_in(std::unique_lock<std::mutex>& lock, const std::function<void()>& meanwhile) {
  while (hand_in && loop) {
    changed.wait_for(lock, kMeanwhile);
    if (!meanwhile) continue;
    lock.unlock();
    meanwhile();
    lock.lock();
  }
}

/// All members are lost; their places are free for the next job's attempts.
void Coordinator::Impl::restart(int workers, const std::string& reason) {
  steady = false;
  for (auto& [partition, member] : gang.members) {
    if (!member.lost) lose(member, {.how = Loss::replaced, .cause = reason, .when = Clock::now()});
    end_process(member);
  }
  for (auto& [id, session] : sessions) {
    if (std::exchange(session.parked, false)) answer(id, Admission::Verdict::finished, reason);
  }
  if (gang.running) halt(reason);
  on_restart(gang);
  options.workers = workers;
}

void Coordinator::Impl::tell_abort(const std::string& reason) {
  if (std::exchange(gang.aborted, true)) return;
  send_members(Abort{reason});
}

void Coordinator::Impl::end(const std::optional<Error>& failure) {
  if (gang.end) return;
  gang.end = End{failure};
  news = true;
  if (failure) tell_abort(failure->what());
  for (const auto& [id, session] : sessions) {
    const Member* member = failure ? nullptr : member_of(session);
    if (!member) continue;
    if (member->generation == gang.generation) {
      loop->send(id, static_cast<uint16_t>(Kind::home), gang.generation, {});
    } else {
      send(id, Abort{"the fit has ended"});
    }
  }
  for (auto& [id, session] : sessions) {
    if (std::exchange(session.parked, false)) answer(id, Admission::Verdict::finished, "the fit has ended");
  }
  changed.notify_all();
}

void Coordinator::Impl::answer(ConnectionId id, Admission::Verdict verdict, const std::string& reason) {
  send(id, Admission{verdict, reason, options.heartbeat_timeout * gang.patience / 2, gang.isa});
}

void Coordinator::Impl::log(Json json, bool warning) {
  json["warning"] = warning;
  event("log", json);
}

void Coordinator::Impl::event(const std::string& kind, const Json& json) {
  events.push_back({kind, json.dump(-1, ' ', false, Json::error_handler_t::replace)});
  changed.notify_all();
}

Coordinator::Coordinator(const CoordinatorOptions& options) : impl_(std::make_unique<Impl>(options)) {}
Coordinator::~Coordinator() { close(); }

void Coordinator::close() { impl_->close(); }

int Coordinator::port() const { return impl_->port; }

std::vector<Event> Coordinator::poll(double timeout) {
  std::unique_lock lock(impl_->mutex);
  impl_->changed.wait_for(lock, from_seconds(timeout), [&] { return !impl_->events.empty() || impl_->news; });
  impl_->news = false;
  return std::exchange(impl_->events, {});
}

void Coordinator::abort(const std::string& reason) {
  const std::lock_guard lock(impl_->mutex);
  if (!impl_->loop) return;
  impl_->end(Error(ErrorKind::aborted, reason));
  impl_->tell_abort(reason);
}

int Coordinator::restart(int workers, const std::string& reason, const std::function<void()>& meanwhile) {
  std::unique_lock lock(impl_->mutex);
  impl_->begin_hand_in(reason);
  try {
    impl_->await_hand_in(lock, meanwhile);
  } catch (...) {
    lock.lock();
    impl_->gang.restarting = false;
    impl_->end_hand_in();
    throw;
  }
  if (impl_->loop && !impl_->gang.end) impl_->restart(workers, reason);
  return impl_->gang.job;
}

void Coordinator::keep_spares(bool may_stay) {
  const std::lock_guard lock(impl_->mutex);
  impl_->gang.spares = may_stay;
  if (impl_->loop) impl_->act();
}

void Coordinator::wish(bool stop, double rate) {
  const std::lock_guard lock(impl_->mutex);
  Wish& wish = impl_->wish;
  ++wish.number;
  wish.stop |= stop;
  if (rate > 0) wish.rate = rate;
  if (impl_->loop) impl_->send_ranks(wish);
}

bool Coordinator::holds_state() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->keeper.holds();
}

bool Coordinator::done() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->gang.end.has_value();
}

std::optional<Error> Coordinator::failure() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->gang.end ? impl_->gang.end->failure : std::nullopt;
}

std::pair<Bytes, std::string> Coordinator::take_result() {
  const std::lock_guard lock(impl_->mutex);
  if (!impl_->gang.end || impl_->gang.end->failure) fail_bug("asked for the result of a fit that has none");
  return {std::exchange(impl_->weights, {}), impl_->history};
}

}  // namespace stoker::gang
