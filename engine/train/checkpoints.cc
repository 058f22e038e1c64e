#include "train/checkpoints.h"

#include <nlohmann/json.hpp>

#include "base/fault.h"
#include "base/pulse.h"
#include "program/autocast.h"

namespace stoker::train {

namespace {

using checkpoint::Image;
using checkpoint::WritableImage;
using nlohmann::json;

template <typename T>
std::span<std::byte> bytes_of(T* values, int64_t count) {
  return std::as_writable_bytes(std::span(values, static_cast<size_t>(count)));
}

template <typename Out>
Out pieces(const std::vector<Section>& sections) {
  Out out;
  for (const auto& section : sections) out.push_back(section.bytes);
  return out;
}

/// What the manifest says of the gang that made the state.
json about(const gang::Start& start) {
  json out = {{"isa", start.isa}, {"bf16", program::has_bf16()}, {"shards", json::array()}};
  for (const auto& shard : start.shards) out["shards"].push_back({shard.rows, hex(shard.digest)});
  return out;
}

/// Who copies them in forgets them after it, so that they are forgotten whoever is first.
void forget_wishes(sync::Told& told) {
  told.number = told.stop = 0;
  told.why = sync::Stop::none;
}

/// Of those for which there is room.
int64_t recorded_pushes(const ResumeSpec& from, int64_t most) {
  for (const auto& [name, bytes] : from.sections)
    if (name == "record") return std::min(static_cast<int64_t>(bytes), most);
  return 0;
}

void check_sections(const ResumeSpec& resume, const std::vector<Section>& mine) {
  std::vector<std::pair<std::string, uint64_t>> names;
  for (const auto& section : mine) names.emplace_back(section.name, section.bytes.size());
  if (names != resume.sections) fail_user("the checkpoint ", resume.folder, " is of another model or optimizer");
}

}  // namespace

std::vector<Section> sections(const sync::HostState& state, const std::vector<std::string>& optimizer, uint64_t commit,
                              uint64_t epochs_over, uint64_t evaluations, int64_t pushes) {
  const int set = sync::HostState::set_of(commit);
  const auto& layout = state.layout();
  std::vector<Section> out = {{"weights", bytes_of(state.weights(set), layout.floats)},
                              {"buffers", bytes_of(state.buffers(set), layout.buffer_floats)}};
  for (size_t k = 0; k < optimizer.size(); ++k)
    out.push_back({"optimizer." + optimizer[k], bytes_of(state.optimizer(set, static_cast<int>(k)), layout.floats)});
  if (layout.replicas > 0) out.push_back({"replicas", std::as_writable_bytes(state.replicas(set))});
  out.push_back({"counts", bytes_of(state.counts(set), layout.counts)});
  if (layout.numbers > 0) out.push_back({"numbers", bytes_of(state.numbers(set), layout.numbers)});
  out.push_back({"running", bytes_of(&state.running(set), 1)});
  out.push_back({"told", bytes_of(&state.told(set), 1)});
  out.push_back({"finished", std::as_writable_bytes(state.finished().first(epochs_over))});
  if (layout.pushes > 0) out.push_back({"record", bytes_of(state.record().data(), pushes)});
  if (layout.evaluation > 0) out.push_back({"evaluated", std::as_writable_bytes(state.evaluations(evaluations))});
  if (!layout.best) return out;
  out.push_back({"aside", bytes_of(&state.aside(set), 1)});
  out.push_back({"best", bytes_of(state.best(), layout.floats + layout.buffer_floats)});
  out.push_back({"best_counts", bytes_of(state.best_counts(), layout.counts)});
  return out;
}

Checkpoints::Checkpoints(CheckpointSpec spec, std::vector<std::string> optimizer,
                         std::shared_ptr<checkpoint::Storage> storage, std::function<void(const std::string&)> tell)
    : spec_(std::move(spec)),
      optimizer_(std::move(optimizer)),
      storage_(storage ? std::move(storage) : checkpoint::make_file_storage(spec_.folder)),
      tell_(std::move(tell)),
      writer_(storage_, [this](const checkpoint::Outcome& outcome) { told(outcome); }) {}

/// Storage has time limits of its own, or none.
Bytes Checkpoints::fetch(const std::string& name) const {
  const pulse::Rest rest;
  return storage_->get(name);
}

std::vector<Section> Checkpoints::sections_at(const sync::HostState& state, uint64_t commit, const Timetable& table,
                                              int64_t pushes) const {
  return sections(state, optimizer_, commit, table.epoch(commit - 1), table.evaluations(commit - 1), pushes);
}

uint64_t Checkpoints::load(const collective::Group& group, const gang::Start& start, const sync::HostState& state,
                           const Timetable& table) const {
  const ResumeSpec& from = *spec_.resume;
  check_same(from, start.shards, start.isa, program::has_bf16());
  const auto mine = sections_at(state, from.commit, table, recorded_pushes(from, state.layout().pushes));
  check_sections(from, mine);
  const auto ranks = group.local_ranks().size();
  for (size_t p = group.local_rank(); p < from.parts.size(); p += ranks) {
    const std::string name = from.folder + "/" + from.parts[p];
    try {
      fault::point("checkpoint-load");
      const Bytes whole = fetch(name);
      const auto head = checkpoint::check_part(whole);
      if (head.commit != from.commit) fail_world("it belongs to another checkpoint");
      copy_in(ByteView(whole).subspan(checkpoint::kPartHead), head.range, pieces<WritableImage>(mine));
    } catch (const Error& error) {
      throw error.within("cannot begin with the checkpoint's part " + name);
    }
  }
  if (from.begins) forget_wishes(state.told(sync::HostState::set_of(from.commit)));
  return from.commit;
}

void Checkpoints::enter(collective::Group& group, const gang::Start& start, const sync::HostState& state,
                        const Timetable& table) {
  const auto regions = group.rank_regions(checkpoint::Board::bytes_of_rank());
  if (group.local_ranks().front() != 0) return;
  part_ = group.local_rank();
  of_ = static_cast<int>(regions.size());
  table_ = table;
  board_.emplace(regions, part_);
  const auto done = static_cast<int64_t>(state.committed()) - 1;
  schedule_.emplace(spec_.interval, static_cast<int64_t>(table.commits()), done, Clock::now());
  gang_ = about(start).dump();
  const auto largest = sections(state, optimizer_, state.committed(), state.layout().epochs,
                                static_cast<uint64_t>(state.layout().evaluations), state.layout().pushes);
  writer_.reserve(checkpoint::part_range(checkpoint::image_bytes(pieces<Image>(largest)), part_, of_).size());
}

void Checkpoints::before_step(uint64_t commit, bool last) {
  if (!board_) return;
  if (!writer_.busy()) board_->done(made_);
  if (part_ != 0) return;
  const auto steps = static_cast<int64_t>(commit) - 1;
  const auto now = Clock::now();
  if (!last && !(schedule_->due(steps, now) && board_->all_done())) return;
  board_->announce(commit);
  schedule_->made(steps, now);
}

void Checkpoints::after_step(const sync::HostState& state) {
  const uint64_t commit = state.committed();
  if (!board_ || !board_->announced(commit)) return;
  const auto all = sections_at(state, commit, table_, state.pushes_made());
  made_ = commit;
  writer_.write(commit, pieces<Image>(all), part_, of_, part_ == 0 ? note(all, commit) : "");
}

/// The part of the manifest that workers know.
std::string Checkpoints::note(const std::vector<Section>& sections, uint64_t commit) const {
  json out = json::parse(gang_);
  out["commit"] = commit;
  out["steps_of_epoch"] = table_.commits();
  for (const auto& s : sections) out["sections"].push_back({s.name, s.bytes.size()});
  return out.dump();
}

void Checkpoints::told(const checkpoint::Outcome& o) const {
  json out = {{"step", o.commit - 1},
              {"part", o.part},
              {"of", o.of},
              {"begin", o.head.range.begin},
              {"bytes", o.head.range.size()},
              {"size", checkpoint::kPartHead + o.head.range.size()},
              {"digest", hex(o.head.digest)},
              {"stall", o.copied},
              {"seconds", o.written}};
  if (!o.note.empty()) out["state"] = json::parse(o.note);
  if (!o.error.empty()) out["error"] = o.error;
  tell_(out.dump(-1, ' ', false, json::error_handler_t::replace));
}

}  // namespace stoker::train
