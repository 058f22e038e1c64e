#pragma once
// The coordinator: the driver's service for one fit. It admits workers, gives ranks, sees deaths, collects metrics and
// the result, and decides; it never carries gradients. One I/O thread; all methods may be called from any thread.
// What it decides is membership.h's pure functions; this class is the sockets around them.
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gang/protocol.h"
#include "net/socket.h"

namespace stoker::gang {

struct CoordinatorOptions {
  std::string bind_host = "127.0.0.1";
  net::Ports ports;
  Bytes secret;          // 32 random bytes of this fit
  bool encrypt = false;  // the links, not only authenticate them; workers must want the same
  int workers = 1;
  int most_workers = 0;  // places from `workers` up to this are of late workers: see membership.h
  int shards = 1;
  double start_timeout = 60;  // seconds from the first task that starts until all have; <= 0: no limit
  double heartbeat = 1;       // seconds between pings
  double heartbeat_timeout = 10;
  double worker_timeout = 120;      // seconds a lost worker's place may stay empty before the fit ends; <= 0: no limit
  bool allow_lost_rows = false;     // instead of its end, training goes on without the rows; the history is marked then
  double rescue_after = 0;          // seconds after which "rescue" is told for a place that is still empty; <= 0: never
  bool allow_changed_rows = false;  // a replay may bring other rows; the history is marked then
  bool allow_other_bits = false;    // workers may compute differently; the history is marked then
  int lowest_isa = 0;               // level below which the fit's bits would be others: that of its checkpoint
  bool force_tcp = false;           // tests
  bool distant = false;             // tests: as if no worker were on this host, so no state is kept here
  std::string memory_setting = "the workers' memory";  // what the user raises when a worker runs out of it
  int slots = 0;              // slots of the session for the message at start_timeout; 0: unknown
  Bytes initial;              // weights and buffers as training begins, safetensors; fetched once the gang has formed
  Bytes constants;            // what the program reads and nobody trains, safetensors
  std::string torch_version;  // what the driver compiled with; others are refused by name
};

/// Something that the driver should know, in order of occurrence.
struct Event {
  // "admitted", "ingesting", "ingested", "started", "halted", "metrics", "checkpoint" (a part of one), "result",
  // "finished", "failed" (a worker was lost), "rescue" (its "partitions" need a job), "inexact" (changed rows were let
  // in, or workers that compute differently), "given_up" (training goes on without a worker's rows), "log" (of
  // a thing that a person should know or not, by "warning"). Those that follow a decision carry its reason as "text".
  std::string kind;
  std::string json;  // an object with the particulars; "rank" where it is about one worker
};

class Coordinator {
 public:
  explicit Coordinator(const CoordinatorOptions& options);
  ~Coordinator();
  /// Ends the service, after abort() if the fit has not ended; no thread, socket or descriptor stays. What is known of
  /// the fit can still be asked for. Close it once the tasks have ended: it aborts those that run. Idempotent.
  void close();

  int port() const;
  /// Events since the last call; waits up to `timeout` seconds for the first one, or for the fit's end.
  std::vector<Event> poll(double timeout);
  /// Tells every worker to stop and refuses those that come later. The reason is what they and the driver are told.
  void abort(const std::string& reason);
  /// The Spark job has ended too early and another one is about to begin, with so many workers. Those of the old one
  /// halt; where their memory cannot be held from here one of them sends the newest commit, or the next one where that
  /// one dies or falls silent; then they are ended. Returns, after that, the new job's number; only its attempts are
  /// admitted from now on. `meanwhile` is called every tenth of a second or so; what it throws leaves the old job as it
  /// is.
  int restart(int workers, const std::string& reason, const std::function<void()>& meanwhile = {});
  /// Whether spares (second attempts of living workers) may stay: not where their slots belong to somebody else. They
  /// may until told otherwise.
  void keep_spares(bool may_stay);
  /// Asks the fit for its end (`stop`), and to go on with another learning rate (above 0). It is heard in one step of
  /// those to come, the same for all workers; a later wish takes the place of one that is not heard yet. Nothing is
  /// heard after the last step.
  void wish(bool stop, double rate);
  /// Whether the training's state would outlive all workers that there are now.
  bool holds_state() const;
  bool done() const;  // the result is here and whole, or the fit failed
  /// The failure that ended the fit, if one did: kind and text (worker, host, pid, last step, cause).
  std::optional<Error> failure() const;
  /// Weights and state as safetensors bytes, given away, and the history's JSON. REQUIRES: done() and no failure.
  std::pair<Bytes, std::string> take_result();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace stoker::gang
