// The head of a frame of a peer of the collective: one that nobody sealed, or, without its tag, one to be sealed.
#include "collective/wire.h"
#include "fuzz.h"

namespace stoker::fuzz {
namespace {

net::Seal seal(net::Seal::Way way) { return {way, Bytes(32, std::byte{7}), false}; }

/// The tag that it should have.
Bytes sealed(ByteView numbers) {
  net::Seal out = seal(net::Seal::Way::out);
  const bool leaves = Decoder(numbers.subspan(4, 4)).get<collective::FrameKind>() == collective::FrameKind::leave;
  leaves ? out.begin_last() : out.begin();
  out.cover(numbers);
  const net::Tag tag = out.tag();
  Bytes head(numbers.begin(), numbers.end());
  head.insert(head.end(), tag.begin(), tag.end());
  return head;
}

}  // namespace
}  // namespace stoker::fuzz

FUZZ_TARGET(input) {
  using namespace stoker;
  using namespace stoker::collective;
  using net::Seal;
  if (input.size() != kHeaderBytes && input.size() != kNumberBytes) return;
  const bool forged = input.size() == kHeaderBytes;
  const Bytes head = forged ? Bytes(input.begin(), input.end()) : fuzz::sealed(input);
  fuzz::world_errors_only([&] {
    Seal in = fuzz::seal(Seal::Way::in), out = fuzz::seal(Seal::Way::out);
    const FrameHeader header = decode_header(head, in);
    fuzz::require(!forged && encode(header, out) == head);
    if (header.kind != FrameKind::leave) step_of(header.stamp);
  });
}
