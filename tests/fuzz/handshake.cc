// A stranger at either end of a handshake, who does not know the secret: it never gets through.
#include "net/handshake.h"

#include "fuzz.h"

FUZZ_TARGET(input) {
  using namespace stoker;
  if (input.empty()) return;
  const bool listens = input[0] == std::byte{0};
  input = input.subspan(1);
  fuzz::world_errors_only([&] {
    net::Handshake handshake(listens ? net::Role::listener : net::Role::connector, Bytes(32, std::byte{7}), {});
    while (handshake.wants() <= input.size()) {
      const ByteView message = input.first(handshake.wants());
      input = input.subspan(message.size());
      handshake.receive(message);
      fuzz::require(!handshake.proven());
    }
  });
}
