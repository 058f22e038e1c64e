#include "gang/protocol.h"

#include <span>

namespace stoker::gang {
namespace {

// The wire's widths are spelled out here: the structs' types may change, the wire may not.
void put(Encoder& out, const Hash128& hash) { out.put(hash.high).put(hash.low); }

Hash128 get_hash(Decoder& in) {
  const auto high = in.get<uint64_t>();
  return {high, in.get<uint64_t>()};
}

void put(Encoder& out, const std::vector<ShardCount>& shards) {
  out.put(static_cast<uint32_t>(shards.size()));
  for (const ShardCount& shard : shards) {
    out.put(int32_t{shard.shard}).put(int64_t{shard.rows});
    put(out, shard.digest);
    out.put(int64_t{shard.held});
  }
}

std::vector<ShardCount> get_shards(Decoder& in) {
  std::vector<ShardCount> shards;
  for (auto left = in.get<uint32_t>(); left > 0; --left) {
    ShardCount& shard = shards.emplace_back();
    shard.shard = in.get<int32_t>();
    shard.rows = in.get<int64_t>();
    shard.digest = get_hash(in);
    shard.held = in.get<int64_t>();
  }
  return shards;
}

void put(Encoder& out, const RosterEntry& member) {
  out.put(int32_t{member.rank}).put(member.host).put(int32_t{member.port}).put(member.unix_name);
  out.put(int64_t{member.pid}).put(uint64_t{member.attempt});
}

RosterEntry get_member(Decoder& in) {
  RosterEntry member;
  member.rank = in.get<int32_t>();
  member.host = in.text();
  member.port = in.get<int32_t>();
  member.unix_name = in.text();
  member.pid = in.get<int64_t>();
  member.attempt = in.get<uint64_t>();
  return member;
}

void put(Encoder& out, const Held& held) {
  out.put(int64_t{held.pid}).put(int32_t{held.fd}).put(held.bytes);
  put(out, held.nonce);
}

Held get_held(Decoder& in) {
  Held held;
  held.pid = in.get<int64_t>();
  held.fd = in.get<int32_t>();
  held.bytes = in.get<uint64_t>();
  held.nonce = get_hash(in);
  return held;
}

void put(Encoder& out, const Kept& kept) {
  out.put(kept.commit).put(kept.runs).put(kept.bytes);
  put(out, kept.digest);
}

Kept get_kept(Decoder& in) {
  Kept kept;
  kept.commit = in.get<uint64_t>();
  kept.runs = in.get<uint64_t>();
  kept.bytes = in.get<uint64_t>();
  kept.digest = get_hash(in);
  return kept;
}

/// An enum that is a uint8_t on the wire.
template <typename E>
E get_enum(Decoder& in, E last) {
  const auto value = in.get<uint8_t>();
  if (value > static_cast<uint8_t>(last)) fail_world("message has the unknown code ", int{value});
  return static_cast<E>(value);
}

bool get_flag(Decoder& in) {
  const auto value = in.get<uint8_t>();
  if (value > 1) fail_world("message has the flag ", int{value});
  return value == 1;
}

/// Decodes a whole message by `read`.
template <typename Read>
auto whole(ByteView bytes, Read read) {
  Decoder in(bytes);
  auto message = read(in);
  in.done();
  return message;
}

}  // namespace

Bytes Hello::encode() const {
  Encoder out;
  out.put(int32_t{partition})
      .put(attempt)
      .put(int32_t{attempt_number})
      .put(int32_t{job})
      .put(host)
      .put(pid)
      .put(int32_t{peer_port});
  out.put(unix_name).put(torch_version).put(int32_t{isa}).put(int32_t{loaded_isa});
  return out.take();
}

Hello Hello::decode(ByteView bytes) {
  return whole(bytes, [](Decoder& in) {
    Hello hello;
    hello.partition = in.get<int32_t>();
    hello.attempt = in.get<uint64_t>();
    hello.attempt_number = in.get<int32_t>();
    hello.job = in.get<int32_t>();
    hello.host = in.text();
    hello.pid = in.get<int64_t>();
    hello.peer_port = in.get<int32_t>();
    hello.unix_name = in.text();
    hello.torch_version = in.text();
    hello.isa = in.get<int32_t>();
    hello.loaded_isa = in.get<int32_t>();
    return hello;
  });
}

Bytes Admission::encode() const {
  return Encoder().put(static_cast<uint8_t>(verdict)).put(reason).put(silence_limit).put(int32_t{isa}).take();
}

Admission Admission::decode(ByteView bytes) {
  return whole(bytes, [](Decoder& in) {
    Admission admission;
    admission.verdict = get_enum(in, Verdict::refused);
    admission.reason = in.text();
    admission.silence_limit = in.get<double>();
    admission.isa = in.get<int32_t>();
    return admission;
  });
}

const char* name(Admission::Verdict verdict) {
  switch (verdict) {
    case Admission::Verdict::go:
      return "go";
    case Admission::Verdict::duplicate:
      return "duplicate";
    case Admission::Verdict::finished:
      return "finished";
    case Admission::Verdict::refused:
      return "refused";
  }
  return "refused";
}

Bytes Ingesting::encode() const { return Encoder().put(rows).take(); }

Ingesting Ingesting::decode(ByteView bytes) {
  return whole(bytes, [](Decoder& in) { return Ingesting{in.get<int64_t>()}; });
}

void ShardCount::count(int64_t more, const Hash128& content, bool held_out) {
  (held_out ? held : rows) += more;
  if (!held_out) digest += content;
  if (held_out && more > 0) digest += hash128(std::as_bytes(std::span(&content, 1)), 1);
}

bool ShardCount::same_rows(const ShardCount& other) const {
  return rows == other.rows && held == other.held && digest == other.digest;
}

Bytes Ingested::encode() const {
  Encoder out;
  put(out, shards);
  return out.take();
}

Ingested Ingested::decode(ByteView bytes) {
  return whole(bytes, [](Decoder& in) { return Ingested{get_shards(in)}; });
}

Bytes Start::encode() const {
  Encoder out;
  out.put(roster.generation).put(static_cast<uint32_t>(roster.members.size()));
  for (const RosterEntry& member : roster.members) put(out, member);
  out.put(static_cast<uint8_t>(roster.force_tcp));
  out.put(commit);
  put(out, held);
  put(out, kept);
  put(out, shards);
  for (const int owner : owners) out.put(int32_t{owner});
  out.put(int32_t{isa});
  for (const Announced& it : {initial, constants}) {
    out.put(it.bytes);
    put(out, it.digest);
  }
  return out.take();
}

Start Start::decode(ByteView bytes) {
  return whole(bytes, [](Decoder& in) {
    Start start;
    start.roster.generation = in.get<uint64_t>();
    for (auto left = in.get<uint32_t>(); left > 0; --left) start.roster.members.push_back(get_member(in));
    start.roster.force_tcp = get_flag(in);
    start.commit = in.get<uint64_t>();
    start.held = get_held(in);
    start.kept = get_kept(in);
    start.shards = get_shards(in);
    for (size_t s = 0; s < start.shards.size(); ++s) start.owners.push_back(in.get<int32_t>());
    start.isa = in.get<int32_t>();
    for (Announced* it : {&start.initial, &start.constants}) {
      it->bytes = in.get<uint64_t>();
      it->digest = get_hash(in);
    }
    return start;
  });
}

Bytes Fetch::encode() const { return Encoder().put(static_cast<uint8_t>(wanted)).put(offset).take(); }

Fetch Fetch::decode(ByteView bytes) {
  return whole(bytes, [](Decoder& in) {
    const auto wanted = in.get<uint8_t>();
    if (wanted > static_cast<uint8_t>(Wanted::kept)) fail_world("asked for something unknown, ", int{wanted});
    return Fetch{static_cast<Wanted>(wanted), in.get<uint64_t>()};
  });
}

Bytes Halt::encode() const { return Encoder().put(reason).take(); }

Halt Halt::decode(ByteView bytes) {
  return whole(bytes, [](Decoder& in) { return Halt{in.text()}; });
}

Bytes Halted::encode() const { return Encoder().put(commit).put(cause).take(); }

Halted Halted::decode(ByteView bytes) {
  return whole(bytes, [](Decoder& in) {
    const auto commit = in.get<uint64_t>();
    return Halted{commit, in.text()};
  });
}

Bytes Holding::encode() const {
  Encoder out;
  put(out, held);
  return out.take();
}

Holding Holding::decode(ByteView bytes) {
  return whole(bytes, [](Decoder& in) { return Holding{get_held(in)}; });
}

Bytes Lends::encode() const { return Encoder().put(static_cast<uint8_t>(any)).take(); }

Lends Lends::decode(ByteView bytes) {
  return whole(bytes, [](Decoder& in) { return Lends{get_flag(in)}; });
}

Bytes Wish::encode() const { return Encoder().put(number).put(rate).put(static_cast<uint8_t>(stop)).take(); }

Wish Wish::decode(ByteView bytes) {
  return whole(bytes, [](Decoder& in) {
    Wish wish;
    wish.number = in.get<uint64_t>();
    wish.rate = in.get<double>();
    wish.stop = get_flag(in);
    return wish;
  });
}

Bytes BorrowedRows::encode() const {
  Encoder out;
  out.put(static_cast<uint32_t>(shards.size()));
  for (const int shard : shards) out.put(int32_t{shard});
  return out.take();
}

BorrowedRows BorrowedRows::decode(ByteView bytes) {
  return whole(bytes, [](Decoder& in) {
    BorrowedRows rows;
    for (auto left = in.get<uint32_t>(); left > 0; --left) rows.shards.push_back(in.get<int32_t>());
    return rows;
  });
}

Bytes StateBegin::encode() const {
  Encoder out;
  put(out, kept);
  return out.take();
}

StateBegin StateBegin::decode(ByteView bytes) {
  return whole(bytes, [](Decoder& in) { return StateBegin{get_kept(in)}; });
}

Bytes Kill::encode() const { return Encoder().put(unix_name).take(); }

Kill Kill::decode(ByteView bytes) {
  return whole(bytes, [](Decoder& in) { return Kill{in.text()}; });
}

Bytes StateDigest::encode() const {
  Encoder out;
  out.put(commit);
  put(out, digest);
  return out.take();
}

StateDigest StateDigest::decode(ByteView bytes) {
  return whole(bytes, [](Decoder& in) {
    const auto commit = in.get<uint64_t>();
    return StateDigest{commit, get_hash(in)};
  });
}

Bytes Fingerprint::encode() const {
  Encoder out;
  put(out, digest);
  return out.put(cpu).put(error).take();
}

Fingerprint Fingerprint::decode(ByteView bytes) {
  return whole(bytes, [](Decoder& in) {
    const Hash128 digest = get_hash(in);
    std::string cpu = in.text();
    return Fingerprint{digest, std::move(cpu), in.text()};
  });
}

Bytes Refused::encode() const { return Encoder().put(reason).take(); }

Refused Refused::decode(ByteView bytes) {
  return whole(bytes, [](Decoder& in) { return Refused{in.text()}; });
}

Bytes Ping::encode() const { return Encoder().put(number).take(); }

Ping Ping::decode(ByteView bytes) {
  return whole(bytes, [](Decoder& in) { return Ping{in.get<uint64_t>()}; });
}

Bytes Pong::encode() const { return Encoder().put(number).put(step).put(idle).put(waiting).put(awaits).take(); }

Pong Pong::decode(ByteView bytes) {
  return whole(bytes, [](Decoder& in) {
    Pong pong;
    pong.number = in.get<uint64_t>();
    pong.step = in.get<int64_t>();
    pong.idle = in.get<double>();
    pong.waiting = in.get<double>();
    pong.awaits = in.text();
    return pong;
  });
}

Bytes ResultBegin::encode() const {
  Encoder out;
  out.put(weights).put(history);
  put(out, digest);
  return out.take();
}

ResultBegin ResultBegin::decode(ByteView bytes) {
  return whole(bytes, [](Decoder& in) {
    ResultBegin begin;
    begin.weights = in.get<uint64_t>();
    begin.history = in.get<uint64_t>();
    begin.digest = get_hash(in);
    return begin;
  });
}

Hash128 result_digest(ByteView weights, std::string_view history) {
  Hash128 digest = hash128(weights);
  return digest += hash128(as_bytes(history), 1);
}

Bytes ResultStored::encode() const {
  Encoder out;
  put(out, digest);
  return out.take();
}

ResultStored ResultStored::decode(ByteView bytes) {
  return whole(bytes, [](Decoder& in) { return ResultStored{get_hash(in)}; });
}

Bytes Failed::encode() const { return Encoder().put(static_cast<uint8_t>(kind)).put(text).take(); }

Failed Failed::decode(ByteView bytes) {
  return whole(bytes, [](Decoder& in) {
    const auto kind = get_enum(in, ErrorKind::bug);
    return Failed{kind, in.text()};
  });
}

Bytes Abort::encode() const { return Encoder().put(reason).take(); }

Abort Abort::decode(ByteView bytes) {
  return whole(bytes, [](Decoder& in) { return Abort{in.text()}; });
}

}  // namespace stoker::gang
