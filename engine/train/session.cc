#include "train/session.h"

#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stop_token>
#include <system_error>

#include "base/fault.h"
#include "base/freed_memory.h"
#include "base/pulse.h"
#include "collective/tree.h"
#include "gang/keeper.h"
#include "net/unix.h"
#include "shm/memory.h"

namespace stoker::train {

namespace {

constexpr int64_t kMostCannedRows = 256;
constexpr size_t kMostKept = 32;  // a part of the memory that is left
constexpr size_t kPast = 8;       // epochs: none passes while a generation forms

std::vector<int64_t> counts_of(const gang::Start& start) {
  std::vector<int64_t> counts;
  for (const auto& shard : start.shards) counts.push_back(shard.rows);
  return counts;
}

std::vector<int64_t> held_of_shards(const gang::Start& start) {
  std::vector<int64_t> counts;
  for (const auto& shard : start.shards) counts.push_back(shard.held);
  return counts;
}

/// Of the store's shards: those to train on, which give none here, and the rows that each of them holds out.
std::vector<int64_t> held_counts(const gang::Start& start) {
  std::vector<int64_t> counts(start.shards.size());
  std::ranges::copy(held_of_shards(start), std::back_inserter(counts));
  return counts;
}

std::vector<bool> present_held(const gang::Start& start) {
  std::vector<bool> present;
  for (const auto& shard : start.shards) present.push_back(shard.held > 0 && start.owners[shard.shard] >= 0);
  if (std::ranges::none_of(present, std::identity()))
    fail_user("no row is held out for validation: look at validationIndicatorCol, or raise validationFraction");
  return present;
}

}  // namespace

bool Session::live(const gang::Start& start) try {
  work(start);
  return true;
} catch (const Error& seen) {
  if (link_.aborted()) throw Error(ErrorKind::aborted, link_.abort_reason());
  if (seen.kind() == ErrorKind::user || seen.kind() == ErrorKind::bug) throw;
  if (fault::skips("recovery")) forget();
  const bool has_state = trainer_ && trainer_->has_state();
  link_.halted(start, has_state ? trainer_->state().committed() : 0,
               seen.kind() == ErrorKind::world ? seen.what() : "");
  return false;
}

/// Everything of the generation ends with this function, however it ends.
void Session::work(const gang::Start& start) {
  std::stop_source stop;
  link_.on_stop(start, [stop](const std::string&) mutable { stop.request_stop(); });
  fault::point("meet");
  const auto group = collective::Group::form(start.roster, listeners_, stop.get_token());
  const std::stop_callback wake(stop.get_token(), [&] { group->abort("this generation is over"); });
  struct Leave {
    Session& session;
    ~Leave() {
      if (session.trainer_) session.trainer_->leave();
      if (session.checkpoints_) session.checkpoints_->leave();
    }
  } leave{*this};
  constants_.share(*group, start.constants.bytes, start.constants.digest,
                   [&](uint64_t from, const auto& take) { link_.fetch(start, gang::Wanted::constants, from, take); });
  if (!trainer_) prepare(start);
  link_.await_agreed();
  join(*group, start);
  borrow(*group, start);
  run(*group, start, stop.get_token());
  give_back_freed_memory();
  fault::point("result");
  if (group->rank() == 0) link_.result(trainer_->weights(updates(start)), history_json(start));
  link_.await_home();
}

Recorded Session::recorded(const Windows& windows, const data::Plan& plan, const std::vector<int>& owners) const {
  std::vector<bool> present;
  for (int shard = 0; shard < plan.shards(); ++shard)
    present.push_back(owners[shard] >= 0 && windows.of_pass(shard) > 0);
  const auto& rules = spec_.evaluation ? spec_.evaluation->rules : StopRules();
  Timetable table = timetable(plan);
  table.stop = 0;
  return {windows, table, std::move(present), spec_.strategy.arrival->bound, rules.patience >= 0 || rules.goal};
}

/// Room for those of all shards. Throws Error(user) where the record is another fit's.
int64_t Session::pushes(const gang::Start& start) const {
  if (!spec_.strategy.arrival) return 0;
  const data::Plan plan = plan_of(start);
  const Windows windows(plan, spec_.strategy.window);
  const Recorded fit = recorded(windows, plan, std::vector<int>(spec_.shards));
  if (const auto& record = spec_.strategy.arrival->record)
    if (const std::string why = refusal(*record, fit); !why.empty()) fail_user("strategy: ", why);
  return pushes_of_fit(fit);
}

void Session::prepare(const gang::Start& start) {
  const Timetable table = timetable(plan_of(start));
  const auto evaluations = static_cast<int64_t>(table.legs() * table.epochs);
  auto trainer = std::make_unique<Trainer>(spec_, constants_.bytes(), evaluations, pushes(start));
  if (spec_.frozen && !frozen_)
    frozen_ = std::make_unique<const Frozen>(*spec_.frozen, constants_.bytes(),
                                             (spec_.batch_size + spec_.shards - 1) / spec_.shards);
  if (!told_fingerprint_) {
    auto fingerprint = trainer->fingerprint(canned_rows(start));
    if (frozen_) frozen_->add_to(fingerprint, canned_rows(start));
    link_.fingerprint(fingerprint);
  }
  told_fingerprint_ = true;
  trainer_ = std::move(trainer);
  history_ = std::make_unique<History>(trainer_->mean_loss());
  if (!spec_.checkpoint) return;
  checkpoints_ = std::make_unique<Checkpoints>(*spec_.checkpoint, trainer_->optimizer_names(), storage_,
                                               [this](const std::string& json) { link_.checkpoint(json); });
}

/// As a micro-batch of this fit has, within bounds; the same for all workers, whenever they come.
int64_t Session::canned_rows(const gang::Start& start) const {
  int64_t rows = 0;
  for (const auto& shard : start.shards) rows += shard.rows;
  return std::clamp<int64_t>(std::min(rows, spec_.batch_size) / spec_.shards, 2, kMostCannedRows);
}

void Session::join(collective::Group& group, const gang::Start& start) {
  if (!trainer_->has_state() || trainer_->state().committed() == 0) find_state(start);
  const bool undisturbed = nobody_disturbs(start.roster);  // they all count until the state has moved
  std::vector<collective::Member> now;
  for (const int rank : group.local_ranks()) now.push_back(start.roster.members[rank]);
  neighbours_.insert(neighbours_.end(), now.begin(), now.end());
  trainer_->join(group, start.owners, undisturbed, [&](const sync::HostState& state) {
    if (checkpoints_ && checkpoints_->resumes())
      return checkpoints_->load(group, start, state, timetable(plan_of(start)));
    return trainer_->begin_with([&] { return initial(start); });
  });
  initial_ = Bytes();
  neighbours_ = std::move(now);
  if (group.local_rank() == 0) offer_state();
}

Bytes Session::initial(const gang::Start& start) {
  link_.fetch(start, gang::Wanted::initial, initial_);
  return std::exchange(initial_, Bytes());
}

/// Whether those who shared memory with this worker are in the new gang, or dead for certain.
bool Session::nobody_disturbs(const gang::Roster& roster) const {
  std::vector<net::ProcessEnd> ends;
  for (const collective::Member& old : neighbours_) {
    const auto is_it = [&](const collective::Member& member) { return member.attempt == old.attempt; };
    if (std::ranges::none_of(roster.members, is_it)) ends.emplace_back(old.unix_name);
  }
  return std::ranges::all_of(ends, [](const net::ProcessEnd& end) {
    pulse::beat();  // each may take its time
    return end.is_proven(net::kKillTime);
  });
}

/// Where no member has a state any more the coordinator may still hold one, or have been given one.
void Session::find_state(const gang::Start& start) {
  if (start.commit > 0 || fault::skips("recovery")) return;
  if (start.held.pid != 0 && start.held.bytes == trainer_->state_bytes()) {
    if (net::Fd fd = gang::open_held(start.held); fd)
      trainer_->adopt(shm::Segment::adopt(fd.release(), start.held.bytes), false);
  } else if (start.roster.rank == 0 && wants(start.kept)) {
    const auto& [commit, runs, bytes, digest] = start.kept;
    const auto fill = [&](const auto& pieces) { link_.kept_state(start, pieces); };
    trainer_->adopt(sync::HostState::come(trainer_->layout(), commit, runs, digest, fill), true);
  }
}

/// The newest checkpoint may be newer than what was handed in before an earlier restart.
bool Session::wants(const gang::Kept& kept) const {
  const bool resumes = spec_.checkpoint && spec_.checkpoint->resume;
  return kept.commit > 0 && (!resumes || spec_.checkpoint->resume->commit <= kept.commit);
}

void Session::hand_in() {
  if (!trainer_ || !trainer_->has_state()) return;
  const sync::HostState& state = trainer_->state();
  const uint64_t commit = state.committed();
  const auto pieces = state.pieces(sync::HostState::set_of(commit));
  uint64_t bytes = 0;
  for (const auto piece : pieces) bytes += piece.size();
  link_.hand_in({commit, state.runs(), bytes, state.digest(sync::HostState::set_of(commit))}, pieces);
}

/// Instead of recovery the fit would start from its beginning.
void Session::forget() {
  if (trainer_) forgotten_runs_ += trainer_->runs();
  checkpoints_.reset();
  trainer_.reset();
}

void Session::offer_state() {
  const sync::HostState& state = trainer_->state();
  link_.holding({::getpid(), state.memory().fd(), state.memory().bytes().size(), state.nonce()});
}

/// Where it does not come off training goes on all the same.
void Session::begin_lending(size_t workers) try {
  if (lender_) return;
  if (workers < 2) return link_.lends(false);
  lender_ =
      std::make_unique<data::RowLender>(store_, workers, spec_.lend_after, [this](bool any) { link_.lends(any); });
} catch (const std::system_error&) {  // no thread
  link_.lends(false);
}

shm::Segment Session::lent() const try { return lender_ ? lender_->lend() : shm::Segment(); } catch (const Error&) {
  return {};
}

void Session::borrow(collective::Group& group, const gang::Start& start) {
  begin_lending(group.local_ranks().size());
  lend_rows(group, lent(), store_, borrowed_);
  auto shards = borrowed_shards(start, store_, borrowed_);
  const size_t room =
      shm::available_memory() / 2 / std::max<size_t>(trainer_->shard_bytes(), 1);  // others may take shards over too
  if (shards.size() > room) shards.clear();
  if (!shards.empty()) link_.borrowed(shards);
}

void Session::run(collective::Group& group, const gang::Start& start, const std::stop_token& stop) {
  const data::Plan plan = plan_of(start);
  const auto owned = collective::shards_of(start.owners, group.rank());
  if (spec_.frozen && comes_again(plan)) prepare_rows(start, owned, stop);
  const auto supply = supply_of(group, plan, owned);
  const std::stop_callback interrupt(stop, [&] { supply->interrupt(); });
  Timetable table = timetable(plan);
  if (table.evaluates) {
    present_held(start);
    trainer_->expect_evaluations(held_of_shards(start));
  }
  const sync::HostState& state = trainer_->state();
  if (checkpoints_) checkpoints_->enter(group, start, state, table);
  bool begun = false;  // an epoch, in this generation
  bool told = false;   // anything
  while (!is_over(table, state.committed() - 1)) {
    const uint64_t done = state.committed() - 1;
    if (!begun || table.step(done) == 0) {
      catch_up(table, table.epoch(done));
      const auto& running = state.running(state.current());
      history_->begin_epoch(table.step(done) == 0 ? sync::EpochTotals() : running, group.bytes_sent());
      recall_evaluation(table, done);
      supply->begin_epoch(spec_.draws(table.epoch(done)));
      ++passes_;
      begun = true;
    }
    if (checkpoints_) checkpoints_->before_step(done + 2, may_end(table, done));
    const bool evaluates = table.at_evaluation(done);
    const bool pause =
        evaluates ? run_evaluation(start, group.rank(), table, stop) : run_step(plan, *supply, start.owners, done);
    fault::point("flipped", static_cast<int64_t>(done) + 1);
    const bool told_more = state.told(state.current()).number > state.told(1 - state.current()).number;
    table = timetable(plan);
    link_.progress(static_cast<int64_t>(table.steps_done(done + 1)));
    if (checkpoints_) checkpoints_->after_step(state);
    const bool epoch_ends = table.step(done + 1) == 0 || is_over(table, done + 1);
    const bool first = !std::exchange(told, true);
    report(table, group, epoch_ends, first, epoch_ends || told_more || first);
    if (epoch_ends) end_epoch(group);
    if (pause && !is_over(table, done + 1)) {  // all of them do, so none waits for a rank that has left
      link_.paused();
      link_.await_home();  // in vain: the generation ends
    }
  }
  catch_up(table, table.epoch(state.committed() - 1));
  end_cut_epoch(table, group);
  if (checkpoints_) checkpoints_->finish();
}

std::unique_ptr<Supply> Session::supply_of(const collective::Group& group, const data::Plan& plan,
                                           const std::vector<int>& owned) const {
  const auto feed = [&](const std::vector<int>& shards, bool keeps) {
    return std::make_unique<Feed>(rows(true), plan, shards, spec_.seed, spec_.shuffle, true, spec_.accumulate, keeps);
  };
  if (!spec_.strategy.arrival) return std::make_unique<InStep>(feed(owned, keeps_batches(group, owned)), plan);
  return std::make_unique<PassByPass>(spec_, plan, owned, [&](int shard) { return feed({shard}, false); });
}

/// Whether all batches stay in memory as tensors: where each epoch is the same, and they take little of the memory of
/// the host, which its other ranks fill too, and no more of that for rows than these leave.
bool Session::keeps_batches(const collective::Group& group, const std::vector<int>& owned) const {
  if (!spec_.optimizer.full_batch() || !trainer_->spares_inputs() || spec_.frozen || store_.on_disk()) return false;
  size_t row = 0, bytes = 0;
  for (const auto& column : store_.columns()) row += column.row_bytes();
  for (const int shard : owned) bytes += row * rows(true).order(shard).size();
  return bytes <= store_.memory_left() && bytes <= shm::available_memory() / kMostKept / group.local_ranks().size();
}

/// Whether rows are read more than once.
bool Session::comes_again(const data::Plan& plan) const {
  return spec_.frozen->cache && not_kept_.empty() && spec_.epochs > 1 &&
         (spec_.max_steps == 0 || spec_.max_steps > plan.steps());
}

/// What the frozen parts give for all rows that this rank reads from now on. Without the room for it each step does.
void Session::prepare_rows(const gang::Start& start, const std::vector<int>& shards, const std::stop_token& stop) try {
  if (!frozen_rows_) {
    const Worth worth{.read_beside = spec_.evaluation && !spec_.frozen->evaluates};
    frozen_rows_ = std::make_unique<FrozenRows>(*frozen_, RowSource{store_, borrowed_}, worth);
  }
  auto wanted = shards;
  const int count = static_cast<int>(start.shards.size());
  for (const int shard : shards)
    if (spec_.frozen->evaluates) wanted.push_back(count + shard);
  frozen_rows_->complete(wanted, stop);
} catch (const Error& error) {
  if (error.kind() != ErrorKind::world) throw;
  frozen_rows_.reset();
  not_kept_ = error.what();
  link_.metrics(nlohmann::json{{"not_kept", not_kept_}}.dump());
}

/// `frozen`: for the rest of a program whose frozen parts are apart.
RowSource Session::rows(bool frozen) const {
  if (!frozen || !frozen_) return {store_, borrowed_};
  return {store_, borrowed_, frozen_.get(), frozen_rows_ ? &frozen_rows_->store() : nullptr};
}

nlohmann::json Session::told_of_frozen() const {
  if (!frozen_rows_) return {{"kept", false}, {"why", not_kept_}};
  return {{"kept", true},
          {"seconds", frozen_rows_->seconds()},
          {"saved_seconds", frozen_rows_->seconds() * static_cast<double>(std::max<int64_t>(passes_ - 1, 0))},
          {"bytes", frozen_rows_->store().bytes()},
          {"disk_bytes", frozen_rows_->store().disk_bytes()}};
}

data::Plan Session::plan_of(const gang::Start& start) const { return data::Plan(counts_of(start), spec_.step_rows()); }

Timetable Session::timetable(const data::Plan& plan) const {
  const int64_t every = spec_.optimizer.full_batch() ? plan.steps() : spec_.strategy.steps();
  const int64_t leg = spec_.evaluation ? spec_.evaluation->every : 0;
  return {.steps = static_cast<uint64_t>(plan.steps()),
          .evaluates = spec_.evaluation.has_value(),
          .every = static_cast<uint64_t>(every),
          .between = static_cast<uint64_t>((leg + every - 1) / every),
          .epochs = static_cast<uint64_t>(spec_.epochs),
          .limit = static_cast<uint64_t>(spec_.max_steps),
          .stop = trainer_ && trainer_->has_state() ? trainer_->state().told(trainer_->state().current()).stop : 0};
}

sync::Wish Session::wish() const {
  const gang::Wish asked = link_.wish();
  sync::Wish wish{asked.number, asked.rate, asked.stop ? sync::Stop::asked : sync::Stop::none};
  if (spec_.max_seconds <= 0 || asked.stop) return wish;
  if (history_->whole_seconds() >= spec_.max_seconds) wish.stop = sync::Stop::time;
  return wish;
}

bool Session::is_over(const Timetable& table, uint64_t done) const {
  if (table.is_over(done)) return true;
  if (!trainer_->ended().empty() && !(table.evaluates && table.at_evaluation(done))) return true;
  return table.has_evaluated(done) && trainer_->verdict(table.evaluations(done)).stop;
}

bool Session::may_end(const Timetable& table, uint64_t done) const {
  if (table.is_over(done + 1) || spec_.optimizer.full_batch()) return true;
  return table.at_evaluation(done) && trainer_->verdict(table.evaluations(done)).close;
}

bool Session::run_step(const data::Plan& plan, Supply& supply, const std::vector<int>& owners, uint64_t done) {
  const Timetable table = timetable(plan);
  const auto first = static_cast<int64_t>(table.step(done)), count = static_cast<int64_t>(table.next_steps(done));
  const auto rows_of = [&](int64_t step, int shard) { return owners[shard] >= 0 ? plan.rows(step, shard).size() : 0; };
  std::vector<bool> present(owners.size());
  int64_t rows = 0;
  for (int shard = 0; shard < static_cast<int>(present.size()); ++shard) {
    int64_t of_shard = 0;
    for (int64_t step = first; step < first + count; ++step) of_shard += rows_of(step, shard);
    present[shard] = of_shard > 0;
    rows += of_shard;
  }
  int64_t windows = 0;
  if (supply.windows()) {  // whoever has rows may run
    const Recorded fit = recorded(*supply.windows(), plan, owners);
    windows = windows_of_round(fit, done);
    present = fit.present;
  }
  const StepSpec what{.epoch = table.epoch(done),
                      .step = table.step(done),
                      .present = std::move(present),
                      .rows = rows,
                      .last = first + count == plan.steps() || is_over(table, done + 1),
                      .steps = plan.steps(),
                      .pause = link_.pause_asked(),
                      .seconds = [&] { return history_->seconds(); },
                      .windows = windows,
                      .evaluations = table.evaluations(done),
                      .follows = table.has_evaluated(done),
                      .count = count,
                      .wish = wish()};
  return trainer_->step(
      what, supply.batches(), [&] { supply.prefetch(first + count); }, history_->phases());
}

bool Session::run_evaluation(const gang::Start& start, int rank, const Timetable& table, const std::stop_token& stop) {
  const uint64_t done = trainer_->state().committed() - 1;
  const int shards = static_cast<int>(start.shards.size());
  const data::Plan plan(held_counts(start), spec_.batch_size);
  std::vector<int> held;
  for (const int shard : collective::shards_of(start.owners, rank)) held.push_back(shards + shard);
  Feed feed(rows(spec_.frozen && spec_.frozen->evaluates), plan, std::move(held), spec_.seed, false, false);
  const std::stop_callback interrupt(stop, [&] { feed.interrupt(); });
  feed.begin_epoch(0);
  const StepSpec what{.epoch = table.epoch(done),
                      .present = present_held(start),
                      .pause = link_.pause_asked(),
                      .seconds = [&] { return history_->seconds(); },
                      .evaluations = table.evaluations(done)};
  const auto rows_of = [&](int64_t step, int shard) { return plan.rows(step, shards + shard).size(); };
  const auto gather = [&](int64_t step, int shard, int64_t) { return feed.micro_batch(step, shards + shard); };
  const bool pause = trainer_->evaluate(what, plan.steps(), {rows_of, gather}, history_->phases());
  recall_evaluation(table, done + 1);
  return pause;
}

void Session::recall_evaluation(const Timetable& table, uint64_t done) {
  if (!table.evaluates || table.evaluations(done) == 0) return;
  const uint64_t last = table.evaluations(done) - 1, epoch = last / table.legs();
  if (epoch == history_->epochs()) history_->evaluate(trainer_->evaluator()->told(trainer_->state().evaluated(last)));
}

nlohmann::json Session::evaluations(const Timetable& table, uint64_t most) const {
  nlohmann::json out = nlohmann::json::array();
  const sync::HostState& state = trainer_->state();
  const uint64_t count = table.evaluations(state.committed() - 1);
  for (uint64_t i = count - std::min(most, count); i < count; ++i) {
    out.push_back(trainer_->evaluator()->told(state.evaluated(i)));
    out.back().update({{"epoch", i / table.legs() + 1}, {"step", table.steps_before_evaluation(i)}});
  }
  return out;
}

/// Since the last report, or the last few; nothing where an epoch has but one, which is told with it.
nlohmann::json Session::untold_evaluations(const Timetable& table) {
  if (!spec_.evaluation || spec_.evaluation->every == 0) return {};
  const uint64_t made = table.evaluations(trainer_->state().committed() - 1);
  const uint64_t most = told_evaluations_ ? made - std::min(*told_evaluations_, made) : kPast;
  told_evaluations_ = made;
  return evaluations(table, most);
}

void Session::catch_up(const Timetable& table, uint64_t epochs) {
  const sync::HostState& state = trainer_->state();
  const auto* evaluator = trainer_->evaluator();
  const auto told = [&](uint64_t epoch) {
    return evaluator ? evaluator->told(state.evaluated((epoch + 1) * table.legs() - 1)) : nlohmann::json();
  };
  history_->catch_up(state.finished().first(epochs), told);
}

void Session::end_epoch(collective::Group& group) {
  const sync::HostState& state = trainer_->state();
  history_->end_epoch(state.running(state.current()), group.bytes_sent());
  if (group.hosts() > 1 && group.local_rank() == 0) link_.digest(state.committed(), state.digest());
}

void Session::end_cut_epoch(const Timetable& table, collective::Group& group) {
  const uint64_t done = trainer_->state().committed() - 1;
  if (table.step(done) == 0 || history_->epochs() > table.epoch(done)) return;
  history_->begin_epoch(trainer_->state().running(trainer_->state().current()), group.bytes_sent());
  recall_evaluation(table, done);
  end_epoch(group);
}

/// At once when told, unless it is one of many.
void Session::report(const Timetable& table, const collective::Group& group, bool ended, bool first, bool now) {
  const double every = report_every(group.rank(), group.size(), spec_.report_every);
  if (!(now && every <= kReportEvery) && since_report_.elapsed() < every) return;
  const sync::HostState& state = trainer_->state();
  const auto& running = state.running(state.current());
  link_.metrics(history_->progress(running, group.rank(), table, forgotten_runs_ + trainer_->runs(),
                                   state.told(state.current()), ended, first ? kPast : 0, untold_evaluations(table)));
  since_report_.restart();
}

int64_t Session::updates(const gang::Start& start) const {
  const Timetable table = timetable(plan_of(start));
  const uint64_t done = trainer_->state().committed() - 1;
  return trainer_->updates_before(table.epoch(done), table.step(done));
}

/// "" where its epochs are over.
std::string Session::why_stopped(const Timetable& table) const {
  const sync::HostState& state = trainer_->state();
  const uint64_t done = state.committed() - 1;
  if (table.evaluates)
    if (const Verdict verdict = trainer_->verdict(table.evaluations(done)); verdict.stop) return verdict.reason;
  if (const std::string why = trainer_->ended(); !why.empty()) return why;
  if (done >= table.commits() * table.epochs) return "";
  const sync::Told& told = state.told(state.current());
  if (told.stop == 0) return cat("maxSteps: ", table.steps_done(done), " steps were done");
  if (told.why == sync::Stop::time) return cat("maxSeconds: ", spec_.max_seconds, " s of training were over");
  return cat("a callback asked for it, heard in step ", table.steps_done(told.stop - 1));
}

std::string Session::history_json(const gang::Start& start) const {
  nlohmann::json out = {{"epochs", history_->to_json()},
                        {"digest", hex(trainer_->state().digest())},
                        {"shards", start.shards.size()},
                        {"workers", start.roster.members.size()},
                        {"threads", spec_.threads},
                        {"isa", start.isa},
                        {"generations", start.roster.generation},
                        {"micro_batches", trainer_->state().runs()}};
  for (const auto& s : start.shards) out["shard_rows"].push_back(s.rows);
  if (spec_.strategy.arrival) out["order"] = sync::to_text(trainer_->record());
  if (frozen_) out["frozen"] = told_of_frozen();
  const Timetable table = timetable(plan_of(start));
  if (const std::string why = why_stopped(table); !why.empty()) out["stopped"] = why;
  if (!trainer_->evaluator()) return out.dump();
  const uint64_t evaluated = table.evaluations(trainer_->state().committed() - 1);
  const auto best = trainer_->verdict(evaluated).best;
  if (best >= 0) out["best_epoch"] = best / table.legs() + 1;
  if (spec_.evaluation->every == 0) return out.dump();
  if (best >= 0) out["best_step"] = table.steps_before_evaluation(best);
  out["evaluations"] = evaluations(table, evaluated);
  return out.dump();
}

}  // namespace stoker::train
