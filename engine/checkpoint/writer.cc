#include "checkpoint/writer.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>

#include "base/clock.h"
#include "base/pieces.h"
#include "base/pulse.h"

namespace stoker::checkpoint {

namespace {

constexpr int kNice = 10;  // training goes first where cores are few

}  // namespace

std::string folder_name(uint64_t commit) {
  char text[32];
  std::snprintf(text, sizeof text, "step-%012llu", static_cast<unsigned long long>(commit - 1));
  return text;
}

std::string part_name(uint64_t commit, int part, int of) {
  return cat(folder_name(commit), "/part-", part, "-of-", of);
}

Writer::Writer(std::shared_ptr<Storage> storage, std::function<void(const Outcome&)> told)
    : storage_(std::move(storage)), told_(std::move(told)) {}

Writer::~Writer() { wait(); }

void Writer::wait() {
  const pulse::Rest rest;
  if (thread_.joinable()) thread_.join();
}

void Writer::reserve(uint64_t bytes) {
  if (!busy()) resize_in_pieces(copy_, bytes);
}

void Writer::write(uint64_t commit, const Image& image, int part, int of, std::string note) {
  const Stopwatch watch;
  wait();
  Outcome outcome{.commit = commit, .part = part, .of = of, .note = std::move(note)};
  outcome.head.range = part_range(image_bytes(image), part, of);
  resize_in_pieces(copy_, outcome.head.range.size());
  copy_out(image, outcome.head.range, copy_.data());
  busy_.store(true, std::memory_order_release);
  outcome.copied = watch.elapsed();
  thread_ = std::jthread([this, outcome] {
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kNice);
    put(outcome);
    busy_.store(false, std::memory_order_release);
  });
}

void Writer::put(Outcome outcome) {
  const Stopwatch watch;
  try {
    outcome.head = make_head(outcome.commit, outcome.head.range, copy_);
    const Bytes head = encode(outcome.head);
    const ByteView pieces[] = {head, copy_};
    storage_->put(part_name(outcome.commit, outcome.part, outcome.of), pieces);
  } catch (const std::exception& error) {
    outcome.error = error.what();
  }
  outcome.written = watch.elapsed();
  try {
    told_(outcome);
  } catch (const std::exception&) {  // whoever is not told writes no manifest, so there is no checkpoint
  }
}

}  // namespace stoker::checkpoint
