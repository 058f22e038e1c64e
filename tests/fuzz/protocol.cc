// The body of a message: its first byte is the kind. What can be read is written again as it was.
#include "gang/protocol.h"

#include "fuzz.h"

namespace stoker::fuzz {
namespace {

template <typename Message>
void decode(ByteView body) {
  world_errors_only([&] { require(std::ranges::equal(Message::decode(body).encode(), body)); });
}

template <typename... Messages>
void decode_any(uint8_t kind, ByteView body) {
  ((static_cast<uint8_t>(Messages::kKind) == kind ? decode<Messages>(body) : void()), ...);
}

}  // namespace
}  // namespace stoker::fuzz

FUZZ_TARGET(input) {
  using namespace stoker::gang;
  if (input.empty()) return;
  stoker::fuzz::decode_any<Hello, Admission, Ingesting, Ingested, Start, Fetch, Halt, Halted, Holding, Kill, StateBegin,
                           StateDigest, Ping, Pong, ResultBegin, ResultStored, Failed, Abort>(
      std::to_integer<uint8_t>(input[0]), input.subspan(1));
}
