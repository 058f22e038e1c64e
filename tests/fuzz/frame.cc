// A stream on the control link. Bytes: how it is cut, whether the tags are put right (no fuzzer guesses one) and bodies
// are encrypted, then the stream. What is taken is what would have been sent.
#include "net/frame.h"

#include <algorithm>

#include "fuzz.h"

namespace stoker::fuzz {
namespace {

constexpr size_t kMaxBody = 1 << 16;

net::Seal seal(net::Seal::Way way, bool encrypts) { return {way, Bytes(32, std::byte{7}), encrypts}; }

/// Seals each whole frame of the stream.
Bytes sealed(ByteView stream, bool encrypts) {
  Bytes out;
  net::Seal seal = fuzz::seal(net::Seal::Way::out, encrypts);
  while (stream.size() >= net::kFrameHeader) {
    const size_t length = Decoder(stream.subspan(8, 4)).get<uint32_t>();
    const size_t size = net::kFrameHeader + (length == 0 ? 0 : length + net::kTagBytes);
    if (size > stream.size()) break;
    Bytes frame(stream.begin(), stream.begin() + static_cast<ptrdiff_t>(size));
    net::seal_frame(seal, frame);
    out.insert(out.end(), frame.begin(), frame.end());
    stream = stream.subspan(size);
  }
  out.insert(out.end(), stream.begin(), stream.end());
  return out;
}

Bytes taken_of(ByteView stream, size_t step, bool encrypts) {
  net::FrameReader reader(kMaxBody, seal(net::Seal::Way::in, encrypts));
  net::Seal out = seal(net::Seal::Way::out, encrypts);
  Bytes again;
  world_errors_only([&] {
    for (size_t at = 0; at < stream.size(); at += step) {
      reader.feed(stream.subspan(at, std::min(step, stream.size() - at)), [&](const net::Frame& frame) {
        Bytes bytes = net::encode_frame(frame.kind, frame.generation, frame.body, kMaxBody);
        net::seal_frame(out, bytes);
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
  const int how = std::to_integer<int>(input[1]) % 3;
  const bool encrypts = how == 2;
  const ByteView raw = input.subspan(2);
  const Bytes stream = how == 0 ? Bytes(raw.begin(), raw.end()) : sealed(raw, encrypts);
  const Bytes again = taken_of(stream, step, encrypts);
  require(how != 0 || again.empty());
  require(again.size() <= stream.size() && std::equal(again.begin(), again.end(), stream.begin()));
  require(again == taken_of(stream, stream.size() + 1, encrypts));
}
