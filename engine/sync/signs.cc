#include "sync/signs.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "optim/finite.h"
#include "sync/chunks.h"

namespace stoker::sync {

namespace {

constexpr int kInWord = 16;  // numbers, of two bits
constexpr uint32_t kPlus = 1, kMinus = 2;

bool reaches(float x, float step) { return !(std::abs(x) < step); }

/// Whether places are the shorter way to tell so many.
bool by_place(uint32_t count, int64_t floats) { return count <= floats / kInWord; }

SignsHead measure(const float* vector, int64_t floats, float step) {
  int64_t count = 0;
  bool finite = true;
  in_chunks({0, floats}, [&](optim::Extent e) {
    for (int64_t i = e.begin; i < e.end; ++i) count += reaches(vector[i], step) ? 1 : 0;
    finite &= optim::all_finite(vector + e.begin, e.size());
  });
  return {finite ? step : std::numeric_limits<float>::quiet_NaN(), static_cast<uint32_t>(count)};
}

/// A number without what is told of it.
float without(float x, float told, float limit) { return std::clamp(x - std::copysign(told, x), -limit, limit); }

struct Taking {
  float step = 0, told = 0, limit = 0;
};

void take_places(float* vector, int64_t floats, const Taking& t, uint32_t* words) {
  in_chunks({0, floats}, [&](optim::Extent e) {
    for (int64_t i = e.begin; i < e.end; ++i) {
      if (!reaches(vector[i], t.step)) continue;
      *words++ = static_cast<uint32_t>(2 * i + (std::signbit(vector[i]) ? 1 : 0));
      vector[i] = without(vector[i], t.told, t.limit);
    }
  });
}

void take_bits(float* vector, int64_t floats, const Taking& t, uint32_t* words) {
  std::fill_n(words, floats / kInWord, 0U);
  in_chunks({0, floats}, [&](optim::Extent e) {
    for (int64_t i = e.begin; i < e.end; ++i) {
      if (!reaches(vector[i], t.step)) continue;
      words[i / kInWord] |= (std::signbit(vector[i]) ? kMinus : kPlus) << (2 * (i % kInWord));
      vector[i] = without(vector[i], t.told, t.limit);
    }
  });
}

void add_places(std::span<const uint32_t> words, float step, optim::Extent part, float* vector) {
  auto word = std::ranges::lower_bound(words, part.begin, {}, [](uint32_t w) { return int64_t{w / 2}; });
  for (; word != words.end() && *word / 2 < part.end; ++word) vector[*word / 2] += *word % 2 == 0 ? step : -step;
}

void add_bits(const uint32_t* words, float step, optim::Extent part, float* vector) {
  for (int64_t i = part.begin; i < part.end; ++i) {
    const uint32_t bits = words[i / kInWord] >> (2 * (i % kInWord)) & 3;
    if (bits != 0) vector[i] += bits == kPlus ? step : -step;
  }
}

}  // namespace

size_t signs_room(int64_t floats) { return signs_bytes({0, static_cast<uint32_t>(floats)}, floats); }

size_t signs_bytes(SignsHead head, int64_t floats) {
  const auto words = std::min<int64_t>(head.count, floats / kInWord);
  return sizeof(SignsHead) + static_cast<size_t>(words) * sizeof(uint32_t);
}

SignsHead take_signs(float* vector, int64_t floats, float step, float limit, std::span<std::byte> message) {
  const SignsHead head = step > 0 ? measure(vector, floats, step) : SignsHead{};
  std::memcpy(message.data(), &head, sizeof(head));
  if (head.count == 0) return head;
  auto* words = reinterpret_cast<uint32_t*>(message.data() + sizeof(head));
  const auto take = by_place(head.count, floats) ? take_places : take_bits;
  take(vector, floats, {step, head.step, limit}, words);
  return head;
}

void add_signs(ByteView message, int64_t floats, optim::Extent part, float* vector) {
  SignsHead head;
  if (message.size() >= sizeof(head)) std::memcpy(&head, message.data(), sizeof(head));
  if (message.size() < signs_bytes(head, floats))
    fail_world("a message of ", message.size(), " bytes tells of ", head.count, " numbers");
  const auto* words = reinterpret_cast<const uint32_t*>(message.data() + sizeof(head));
  if (by_place(head.count, floats))
    add_places({words, head.count}, head.step, part, vector);
  else
    add_bits(words, head.step, part, vector);
}

}  // namespace stoker::sync
