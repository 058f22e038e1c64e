// What a peer of the collective says: an introduction, or the head of a frame.
#include "collective/wire.h"
#include "fuzz.h"

FUZZ_TARGET(input) {
  using namespace stoker;
  using namespace stoker::collective;
  if (input.size() == kIntroductionBytes) {
    fuzz::require(std::ranges::equal(encode(decode_introduction(input)), input));
  } else if (input.size() == kHeaderBytes) {
    fuzz::world_errors_only([&] {
      const FrameHeader header = decode_header(input);
      const bool whole = arrived_whole(input);
      fuzz::require(whole == std::ranges::equal(encode(header), input));
      if (header.kind != FrameKind::leave) step_of(header.stamp);
    });
  }
}
