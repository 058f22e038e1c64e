#include "collective/mesh_group.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "base/hash.h"
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

void send_ranks(Peer& peer, Stamp stamp, const std::vector<int>& ranks, TimePoint deadline) {
  const ByteView payload = std::as_bytes(std::span(ranks));
  net::write_all(peer.fd.get(), encode(FrameHeader{FrameKind::topology, stamp, 0, payload.size()}, checksum(payload)),
                 deadline);
  net::write_all(peer.fd.get(), payload, deadline);
}

FrameHeader receive_header(Peers& peers, Peer& peer, FrameKind kind, Bytes& head, TimePoint deadline,
                           const std::function<void()>& tick) {
  head.resize(kHeaderBytes);
  read_ticking(peer.fd.get(), head, deadline, tick);
  const FrameHeader header = decode_header(head);
  if (header.kind == FrameKind::leave) peers.left(peer, header);
  if (header.kind != kind) fail_world("it sent a frame of kind ", static_cast<int>(header.kind));
  return header;
}

std::vector<int> receive_ranks(Peers& peers, Peer& peer, TimePoint deadline, const std::function<void()>& tick) {
  Bytes head;
  const FrameHeader header = receive_header(peers, peer, FrameKind::topology, head, deadline, tick);
  if (header.bytes > static_cast<size_t>(peers.size()) * sizeof(int)) fail_world("it sent too many ranks");
  std::vector<int> ranks(header.bytes / sizeof(int));
  net::read_exact(peer.fd.get(), std::as_writable_bytes(std::span(ranks)), deadline);
  if (!arrived_whole(head, checksum(std::as_bytes(std::span(ranks))))) fail_world("its topology arrived damaged");
  return ranks;
}

/// Everybody tells everybody who shares its host. Also the proof that every rank has met all others.
Topology tell_topology(const Roster& roster, Peers& peers, TimePoint deadline, const std::stop_token& stop) {
  const auto tick = [&] {
    if (stop.stop_requested()) throw Error(ErrorKind::aborted, "stopped while the group formed");
    peers.check({});
  };
  std::vector<std::vector<int>> locals(peers.size());
  locals[roster.rank] = ranks_that_share(peers);
  for (int r = 0; r < peers.size(); ++r)
    if (r != roster.rank) send_ranks(peers[r], stamp(roster.generation, 0), locals[roster.rank], deadline);
  for (int r = 0; r < peers.size(); ++r) try {
      if (r != roster.rank) locals[r] = receive_ranks(peers, peers[r], deadline, tick);
    } catch (const Error& error) {
      throw error.within(cat("forming generation ", roster.generation, ", hearing ", describe(peers[r].member)));
    }
  return Topology(roster.rank, locals);
}

net::Fd make_event() {
  net::Fd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd) fail_errno("eventfd");
  return fd;
}

}  // namespace

MeshGroup::MeshGroup(const Roster& roster, Peers peers, TimePoint deadline, const std::stop_token& stop)
    : roster_(roster),
      peers_(std::move(peers)),
      topology_(tell_topology(roster_, peers_, deadline, stop)),
      transfers_(peers_, roster.timeout),
      spins_(kPhases, shm::Spin(static_cast<int>(topology_.local_ranks().size()))),
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

void MeshGroup::hand_out(const shm::Segment& segment, size_t bytes) {
  const auto deadline = Clock::now() + from_seconds(roster_.timeout);
  const FrameHeader header{FrameKind::region, stamp_of(0), shared_++, bytes};
  for (const int r : local_ranks()) try {
      if (r == rank()) continue;
      net::write_all(peers_[r].fd.get(), encode(header), deadline);
      shm::send_descriptor(peers_[r].fd.get(), segment.fd(), deadline);
    } catch (const Error& error) {
      fail_sharing(r, error);
    }
}

shm::Segment MeshGroup::receive_from(Peer& holder, size_t bytes) {
  try {
    const auto deadline = Clock::now() + from_seconds(roster_.timeout);
    Bytes head;
    const FrameHeader header =
        receive_header(peers_, holder, FrameKind::region, head, deadline, [this] { aborted_.check(); });
    net::Fd fd(shm::receive_descriptor(holder.fd.get(), deadline));
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
  const size_t stride = (bytes + kPage - 1) / kPage * kPage;  // no two ranks in one page
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
    const auto deadline = Clock::now() + from_seconds(roster_.timeout);
    const auto tick_or_end = [&] {
      tick(phase, step);
      if (Clock::now() < deadline || reached(phase, step)) return;
      for (size_t i = 0; i < local_ranks().size(); ++i)
        if (!has_reached(static_cast<int>(i), phase, stamp_of(step)))
          fail_world("step ", step, ", waiting for ", name(phase), ": ", describe(peers_[local_ranks()[i]].member),
                     " was silent for ", roster_.timeout, " s");
    };
    auto& spin = spins_[static_cast<size_t>(phase)];
    shm::wait(
        control_->word, spin, [&] { return reached(phase, step); }, tick_or_end);
  });
}

/// Between two looks at the flags.
void MeshGroup::tick(Phase phase, uint64_t step) {
  pulse::beat();
  aborted_.check();
  std::vector<int> awaited;
  for (size_t i = 0; i < local_ranks().size(); ++i)
    if (!has_reached(static_cast<int>(i), phase, stamp_of(step))) awaited.push_back(local_ranks()[i]);
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
