#include "train/checkpoint_spec.h"

#include <nlohmann/json.hpp>

#include "base/level.h"

namespace stoker::train {

namespace {

using nlohmann::json;

Hash128 parse_digest(const std::string& text) {
  if (text.size() != 32) fail_user("a digest has 32 digits, not '", text, "'");
  return {std::stoull(text.substr(0, 16), nullptr, 16), std::stoull(text.substr(16), nullptr, 16)};
}

ResumeSpec parse_resume(const json& in) {
  ResumeSpec resume;
  resume.folder = in.at("folder");
  resume.commit = in.at("commit");
  resume.steps_of_epoch = in.at("steps_of_epoch");
  resume.parts = in.at("parts");
  resume.sections = in.at("sections");
  resume.isa = in.at("isa");
  if (in.contains("bf16")) resume.bf16 = in.at("bf16").get<bool>();
  resume.begins = in.value("begins", false);
  for (const auto& shard : in.at("shards"))
    resume.shards.push_back({static_cast<int>(resume.shards.size()), shard.at(0), parse_digest(shard.at(1))});
  return resume;
}

}  // namespace

CheckpointSpec parse_checkpoint(const json& in, int64_t steps) {
  CheckpointSpec spec;
  spec.folder = in.at("folder");
  spec.interval = {in.at("every"), checkpoint::parse_unit(in.at("unit"))};
  if (spec.interval.unit == checkpoint::Unit::steps) spec.interval.every = (spec.interval.every + steps - 1) / steps;
  if (in.contains("resume")) spec.resume = parse_resume(in.at("resume"));
  return spec;
}

void check_same(const ResumeSpec& resume, const std::vector<gang::ShardCount>& shards, int isa, bool bf16) {
  const auto fail = [&](const auto&... what) {
    fail_user("the checkpoint ", resume.folder, " cannot be gone on with: ", what...,
              ". Give the rows that it was made with, or another checkpointDir");
  };
  for (size_t s = 0; s < shards.size(); ++s) {
    const auto &was = resume.shards.at(s), &is = shards[s];
    if (was.rows != is.rows) fail("shard ", s, " has ", is.rows, " rows and had ", was.rows);
    if (was.digest != is.digest) fail("shard ", s, " has other rows, though as many (", is.rows, ")");
  }
  if (isa != resume.isa)
    fail_user("the checkpoint ", resume.folder, " was made at the instruction-set level ",
              name(static_cast<Level>(resume.isa)), " and these workers run at ", name(static_cast<Level>(isa)),
              ", which gives other bits. Run it where there is that level, or give another checkpointDir");
  if (resume.bf16.value_or(bf16) != bf16)
    fail_user("the checkpoint ", resume.folder, " was made in mixed precision on CPUs that ",
              bf16 ? "do not multiply bfloat16, and these do" : "multiply bfloat16, and these do not",
              ", which gives other bits. Run it on CPUs like those, or give another checkpointDir");
}

}  // namespace stoker::train
