// A stream on the control link. Bytes: how it is cut, whether the checks are put right (no fuzzer guesses a hash), then
// the stream. What is taken is what would have been sent.
#include "net/frame.h"

#include <algorithm>

#include "base/hash.h"
#include "fuzz.h"

namespace stoker::fuzz {
namespace {

constexpr size_t kMaxBody = 1 << 16;

/// Gives each whole frame of the stream the check that it should have.
Bytes with_checks(ByteView stream) {
  Bytes out(stream.begin(), stream.end());
  for (size_t at = 0; at + net::kFrameHeader <= out.size();) {
    const size_t length = Decoder(ByteView(out).subspan(at + 8, 4)).get<uint32_t>();
    if (length > out.size() - at - net::kFrameHeader) break;
    const ByteView header = ByteView(out).subspan(at, net::kFrameHeader - 8);
    const uint64_t check = checksum(header, checksum(ByteView(out).subspan(at + net::kFrameHeader, length)));
    std::ranges::copy(Encoder().put(check).take(), out.begin() + static_cast<ptrdiff_t>(at + net::kFrameHeader - 8));
    at += net::kFrameHeader + length;
  }
  return out;
}

Bytes taken_of(ByteView stream, size_t step) {
  net::FrameReader reader(kMaxBody);
  Bytes again;
  world_errors_only([&] {
    for (size_t at = 0; at < stream.size(); at += step) {
      reader.feed(stream.subspan(at, std::min(step, stream.size() - at)), [&](const net::Frame& frame) {
        const Bytes bytes = net::encode_frame(frame.kind, frame.generation, frame.body, kMaxBody);
        again.insert(again.end(), bytes.begin(), bytes.end());
      });
    }
  });
  return again;
}

}  // namespace
}  // namespace stoker::fuzz

FUZZ_TARGET(input) {
  using namespace stoker;
  using namespace stoker::fuzz;
  if (input.size() < 2) return;
  const size_t step = 1 + std::to_integer<size_t>(input[0]);
  const ByteView raw = input.subspan(2);
  const Bytes stream = input[1] == std::byte{0} ? Bytes(raw.begin(), raw.end()) : with_checks(raw);
  const Bytes again = taken_of(stream, step);
  require(again.size() <= stream.size() && std::equal(again.begin(), again.end(), stream.begin()));
  require(again == taken_of(stream, stream.size() + 1));
}
