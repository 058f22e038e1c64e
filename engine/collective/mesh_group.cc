#include "collective/mesh_group.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "base/pieces.h"
#include "base/pulse.h"
#include "shm/descriptor.h"

namespace stoker::collective {
namespace {

constexpr size_t kPage = 4096;

const char* name(Phase phase) {
  switch (phase) {
    case Phase::partials:
      return "partials";
    case Phase::sums:
      return "sums";
    case Phase::norms:
      return "norms";
    case Phase::slices:
      return "slices";
    case Phase::kept:
      return "kept";
    case Phase::measures:
      return "measures";
    case Phase::round:
      return "round";
    case Phase::replicas:
      return "replicas";
    case Phase::moments:
      return "moments";
    case Phase::changes:
      return "changes";
    case Phase::thin_partials:
      return "thin partials";
    case Phase::thin_sums:
      return "thin sums";
    case Phase::thin_slices:
      return "thin slices";
    case Phase::steps:
      return "steps";
    case Phase::begun:
      return "the beginning";
    case Phase::count:
      break;
  }
  return "?";
}

std::vector<int> ranks_that_share(Peers& peers) {
  std::vector<int> ranks;
  for (int r = 0; r < peers.size(); ++r)
    if (peers[r].shares) ranks.push_back(r);
  return ranks;
}

using Tick = std::function<void()>;

void send_ranks(Peer& peer, Stamp stamp, const std::vector<int>& ranks, const Tick& tick) {
  const ByteView payload = std::as_bytes(std::span(ranks));
  Bytes frame = encode(FrameHeader{FrameKind::topology, stamp, 0, payload.size()}, peer.seals.out);
  frame.insert(frame.end(), payload.begin(), payload.end());
  peer.seals.out.begin();
  peer.seals.out.pass(std::span(frame).subspan(kHeaderBytes));
  const net::Tag tag = peer.seals.out.tag();
  frame.insert(frame.end(), tag.begin(), tag.end());
  write_ticking(peer.fd.get(), frame, tick);
}

FrameHeader receive_header(Peers& peers, Peer& peer, FrameKind kind, const Tick& tick) {
  Bytes head(kHeaderBytes);
  read_ticking(peer.fd.get(), head, tick);
  const FrameHeader header = decode_header(head, peer.seals.in);
  if (header.kind == FrameKind::leave) peers.left(peer, header);
  if (header.kind != kind) fail_world("it sent a frame of kind ", static_cast<int>(header.kind));
  return header;
}

std::vector<int> receive_ranks(Peers& peers, Peer& peer, const Tick& tick) {
  const FrameHeader header = receive_header(peers, peer, FrameKind::topology, tick);
  if (header.bytes > static_cast<size_t>(peers.size()) * sizeof(int)) fail_world("it sent too many ranks");
  std::vector<int> ranks(header.bytes / sizeof(int));
  const auto payload = std::as_writable_bytes(std::span(ranks));
  net::Tag tag;
  read_ticking(peer.fd.get(), payload, tick);
  read_ticking(peer.fd.get(), tag, tick);
  peer.seals.in.begin();
  peer.seals.in.pass(payload);
  if (!peer.seals.in.fits(tag)) fail_world("its topology is not what was sent: it was spoilt or forged");
  return ranks;
}

/// Everybody tells everybody who shares its host. Also the proof that every rank has met all others.
Topology tell_topology(const Roster& roster, Peers& peers, const std::stop_token& stop) {
  pulse::Wait wait;
  int other = 0;
  const auto tick = [&] {
    if (stop.stop_requested()) throw Error(ErrorKind::aborted, "stopped while the group formed");
    wait.says([&] { return describe(peers[other].member) + " to meet all others"; });
    peers.check({});
  };
  std::vector<std::vector<int>> locals(peers.size());
  locals[roster.rank] = ranks_that_share(peers);
  for (other = 0; other < peers.size(); ++other)
    if (other != roster.rank) send_ranks(peers[other], stamp(roster.generation, 0), locals[roster.rank], tick);
  for (other = 0; other < peers.size(); ++other) try {
      if (other != roster.rank) locals[other] = receive_ranks(peers, peers[other], tick);
    } catch (const Error& error) {
      throw error.within(cat("forming generation ", roster.generation, ", hearing ", describe(peers[other].member)));
    }
  return Topology(roster.rank, locals);
}

/// For what need not be waited for any more.
TimePoint at_once() { return Clock::now() + std::chrono::seconds(1); }

net::Fd make_event() {
  net::Fd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd) fail_errno("eventfd");
  return fd;
}

}  // namespace

MeshGroup::MeshGroup(const Roster& roster, Peers peers, const std::stop_token& stop)
    : roster_(roster),
      peers_(std::move(peers)),
      topology_(tell_topology(roster_, peers_, stop)),
      transfers_(peers_),
      spins_(kPhases + 1, shm::Spin(static_cast<int>(topology_.local_ranks().size()))),
      wake_fd_(make_event()),
      exceptions_(std::uncaught_exceptions()) {
  if (!shares_memory()) return;
  const size_t bytes = sizeof(Control) + local_ranks().size() * sizeof(Flags);
  control_ = reinterpret_cast<Control*>(host_region(bytes).data());
}

MeshGroup::~MeshGroup() {
  for (int r = 0; r < size(); ++r)
    if (transfers_.is_cut(r)) peers_.broken_off(r);
  peers_.leave(newest_, failed_ || std::uncaught_exceptions() > exceptions_);
}

template <typename Work>
auto MeshGroup::watch(const Work& work) {
  try {
    return work();
  } catch (...) {
    failed_ = true;
    throw;
  }
}

std::span<std::byte> MeshGroup::host_region(size_t bytes) {
  if (shares_memory())
    regions_.push_back(host_segment(bytes, 0, {}));
  else
    regions_.push_back(shm::Segment::unshared(bytes));
  regions_.back().close_fd();
  return regions_.back().bytes().first(bytes);
}

shm::Segment MeshGroup::host_segment(size_t bytes, int holder, shm::Segment mine) {
  return watch([&] {
    const int from = local_ranks()[holder];
    if (from != rank()) return receive_from(peers_[from], bytes);
    if (mine.bytes().empty()) mine = shm::Segment(segment_name(), std::max(bytes, kPage));
    hand_out(mine, bytes);
    return std::move(mine);
  });
}

/// What is looked at while this rank waits for something of another one.
Tick MeshGroup::tick_while(pulse::Wait& wait, const std::string& what, int rank) {
  return [this, &wait, what, rank] {
    aborted_.check();
    wait.says([&] { return cat(what, " ", describe(peers_[rank].member)); });
    peers_.check({rank});
  };
}

void MeshGroup::hand_out(const shm::Segment& segment, size_t bytes) {
  pulse::Wait wait;
  const FrameHeader header{FrameKind::region, stamp_of(0), shared_++, bytes};
  for (const int r : local_ranks()) try {
      if (r == rank()) continue;
      const int fd = peers_[r].fd.get();
      const Tick tick = tick_while(wait, "room for a segment at", r);
      write_ticking(fd, encode(header, peers_[r].seals.out), tick);
      await_writable(fd, tick);
      shm::send_descriptor(fd, segment.fd(), at_once());
    } catch (const Error& error) {
      fail_sharing(r, error);
    }
}

shm::Segment MeshGroup::receive_from(Peer& holder, size_t bytes) {
  try {
    pulse::Wait wait;
    const Tick tick = tick_while(wait, "shared memory of", holder.member.rank);
    const FrameHeader header = receive_header(peers_, holder, FrameKind::region, tick);
    await_readable(holder.fd.get(), tick);
    net::Fd fd(shm::receive_descriptor(holder.fd.get(), at_once()));
    if (header.index != shared_ || header.bytes != bytes)
      fail_bug("ranks of one host ask for different regions: number ", header.index, " of ", header.bytes,
               " bytes there, number ", shared_, " of ", bytes, " bytes here");
    ++shared_;
    return shm::Segment::adopt(fd.release(), std::max(bytes, kPage));
  } catch (const Error& error) {
    fail_sharing(holder.member.rank, error);
  }
}

void MeshGroup::fail_sharing(int rank, const Error& error) {
  if (error.kind() == ErrorKind::world) peers_.check({rank});  // knows better what became of the peer
  throw error.within("sharing memory with " + describe(peers_[rank].member));
}

std::vector<std::span<std::byte>> MeshGroup::rank_regions(size_t bytes) {
  const size_t stride = round_up(bytes, kPage);  // no two ranks in one page
  const auto whole = host_region(stride * local_ranks().size());
  std::vector<std::span<std::byte>> regions;
  for (size_t i = 0; i < local_ranks().size(); ++i) regions.push_back(whole.subspan(i * stride, bytes));
  return regions;
}

void MeshGroup::arrive(Phase phase, uint64_t step) {
  newest_ = stamp_of(step);
  if (!shares_memory()) return;
  control_->ranks[local_rank()].phase[static_cast<int>(phase)].store(newest_);
  shm::wake(control_->word);
}

bool MeshGroup::has_reached(int local, Phase phase, Stamp stamp) const {
  const Stamp flag = control_->ranks[local].phase[static_cast<int>(phase)].load();
  return generation_of(flag) == roster_.generation && flag >= stamp;
}

bool MeshGroup::reached(Phase phase, uint64_t step) const {
  if (!shares_memory()) return true;
  const Stamp wanted = stamp_of(step);
  for (int i = 0; i < static_cast<int>(local_ranks().size()); ++i)
    if (!has_reached(i, phase, wanted)) return false;
  return true;
}

void MeshGroup::await(Phase phase, uint64_t step) {
  watch([&] {
    aborted_.check();
    if (!shares_memory()) return;
    std::optional<pulse::Wait> wait;  // most waits are over before the first look
    const auto look = [&] {
      if (!wait) wait.emplace();
      tick(phase, step, *wait);
    };
    auto& spin = spins_[static_cast<size_t>(phase)];
    shm::wait(
        control_->word, spin, [&] { return reached(phase, step); }, look);
  });
}

void MeshGroup::await(const std::function<bool()>& holds, const char* what) {
  watch([&] {
    aborted_.check();
    if (!shares_memory() && !holds()) fail_bug("a rank alone on its host waits for ", what);
    if (!shares_memory()) return;
    std::optional<pulse::Wait> wait;
    const auto look = [&] {
      if (!wait) wait.emplace();
      pulse::beat();
      aborted_.check();
      wait->says([&] { return std::string(what); });
      peers_.check({});
    };
    shm::wait(control_->word, spins_.back(), holds, look);
  });
}

void MeshGroup::wake() {
  if (control_) shm::wake(control_->word);
}

/// Ranks of this host that have not reached it.
std::vector<int> MeshGroup::behind(Phase phase, uint64_t step) const {
  std::vector<int> ranks;
  for (size_t i = 0; i < local_ranks().size(); ++i)
    if (!has_reached(static_cast<int>(i), phase, stamp_of(step))) ranks.push_back(local_ranks()[i]);
  return ranks;
}

/// Between two looks at the flags.
void MeshGroup::tick(Phase phase, uint64_t step, pulse::Wait& wait) {
  pulse::beat();
  aborted_.check();
  const std::vector<int> awaited = behind(phase, step);
  wait.says([&] { return cat(name(phase), " of step ", step, " from ", describe_all(peers_, awaited)); });
  try {
    peers_.check(awaited);
  } catch (const Error& error) {
    // A rank may have arrived and left between the two looks.
    if (!reached(phase, step)) throw error.within(cat("step ", step, ", waiting for ", name(phase)));
  }
}

void MeshGroup::run_transfers(const std::function<bool()>& done) {
  watch([&] { transfers_.run(done, wake_fd_.get(), [this] { aborted_.check(); }); });
}

void MeshGroup::abort(const std::string& reason) {
  aborted_.raise(reason);
  const uint64_t one = 1;
  (void)!::write(wake_fd_.get(), &one, sizeof(one));
  if (control_) shm::wake(control_->word);
}

}  // namespace stoker::collective
