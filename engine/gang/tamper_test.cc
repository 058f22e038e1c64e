// Somebody between a worker and the coordinator, who knows the protocol and not the secret.
#include "gang/test_raw.h"
#include "net/test_relay.h"

namespace stoker::gang {
namespace {

using net::Relay;

net::Cut cut() {
  return {net::kFrameHeader, [](ByteView head) { return Decoder(head.subspan(8, 4)).get<uint32_t>(); }};
}

std::unique_ptr<WorkerLink> through(const Relay& relay, const Fit& fit, bool encrypt = false) {
  const LinkOptions options{"127.0.0.1", relay.port(), fit.options.secret, 10, encrypt};
  return std::make_unique<WorkerLink>(Line(options), fit.hello(0));
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST(Tamper, WhatAWorkerSaysIsTheCoordinatorsLostWorker) {
  for (const auto& [name, change] : net::tamperings(Relay::To::listener, 1, net::kFrameHeader)) {
    if (name == "reflected") continue;  // that is the worker's to see
    Fit fit(1);
    Relay relay(fit.coordinator->port(), cut(), change);
    const auto link = through(relay, fit);
    link->admission();
    link->ingested({{0, 1, {}}});
    const std::string loss = fit.loss(0);
    EXPECT_TRUE(has(loss, "is not what the other side sent") || has(loss, "the connection closed")) << name << loss;
    EXPECT_TRUE(soon([&] { return link->lost(); })) << name;
  }
}

TEST(Tamper, WhatTheCoordinatorSaysEndsTheWorkersLink) {
  for (const auto& [name, change] : net::tamperings(Relay::To::connector, 1, net::kFrameHeader)) {
    if (name == "reflected") continue;
    Fit fit(1);
    Relay relay(fit.coordinator->port(), cut(), change);
    const auto link = through(relay, fit);
    EXPECT_TRUE(soon([&] { return link->lost(); })) << name;
    const std::string reason = link->abort_reason();
    EXPECT_TRUE(has(reason, "is not what the other side sent") || has(reason, "connection closed")) << name << reason;
  }
}

TEST(Tamper, AWorkersWordsSentBackToItEndItsLink) {
  Fit fit(1);
  Relay relay(fit.coordinator->port(), cut(), net::tamperings(Relay::To::listener, 0, net::kFrameHeader).back().change);
  const auto link = through(relay, fit);
  EXPECT_TRUE(soon([&] { return link->lost(); }));
  EXPECT_TRUE(has(link->abort_reason(), "is not what the other side sent next")) << link->abort_reason();
}

TEST(Tamper, BodiesAreReadOnTheWireUnlessTheLinkIsEncrypted) {
  for (const bool encrypt : {false, true}) {
    Fit fit(1, [&](auto& options) { options.encrypt = encrypt; });
    Relay relay(fit.coordinator->port(), cut(), net::unchanged());
    const auto link = through(relay, fit, encrypt);
    link->ingested({{0, 1, {}}});
    const Start start = link->start();
    EXPECT_EQ(start.roster.encrypted, encrypt);
    link->metrics(R"({"step": 1, "note": "in plain letters"})");
    EXPECT_TRUE(fit.hears("metrics", "in plain letters"));
    EXPECT_EQ(relay.saw(as_bytes("in plain letters")), !encrypt);
  }
}

TEST(Tamper, OneEndThatEncryptsAloneIsToldSo) {
  Fit fit(1);
  const LinkOptions options{"127.0.0.1", fit.coordinator->port(), fit.options.secret, 5, true};
  EXPECT_TRUE(has(failure_of([&] { Line{options}; }), "one side wants to encrypt and the other does not"));
}

TEST(Tamper, APeersProofOpensNoControlLink) {
  Fit fit(1);
  const net::Fd fd = net::connect_tcp("127.0.0.1", fit.coordinator->port(), in(5));
  const net::Purpose peer{.kind = net::Purpose::Kind::peer};
  EXPECT_TRUE(
      has(failure_of([&] { net::handshake_blocking(fd.get(), net::Role::connector, fit.options.secret, peer, in(5)); }),
          "the other side means a link for something else"));
}

}  // namespace stoker::gang
