#pragma once
// A worker's side of the control link: a line to the coordinator, and then the link over it, of which one I/O thread
// reads and answers. All methods of the link may be called from any thread.
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/pulse.h"
#include "gang/protocol.h"
#include "net/handshake.h"
#include "net/socket.h"

namespace stoker::gang {

struct LinkOptions {
  std::string host;  // of the coordinator
  int port = 0;
  Bytes secret;
  double timeout = 20;   // seconds to connect and shake hands
  bool encrypt = false;  // this link and those to peers on other hosts, as the coordinator does
};

/// A connection to the coordinator that is proven, before a word was said on it. One thread.
class Line {
 public:
  /// Tries until the time is over. Throws Error(world) when the coordinator cannot be reached or does not know the
  /// secret.
  explicit Line(const LinkOptions& options);
  /// The number of this machine's address on the way to the coordinator.
  std::string address() const { return net::local_address(fd_.get()); }

 private:
  friend class WorkerLink;
  net::Fd fd_;
  net::Seals seals_;
  Bytes secret_;
  bool encrypts_;
};

class WorkerLink {
 public:
  WorkerLink(Line line, Hello hello);
  ~WorkerLink();
  /// Ends the link; a worker that has told neither finished() nor failed(), and was not told to stop, counts as dead.
  /// Wakes whoever waits, with Error(aborted). Idempotent; not from the callback of on_stop().
  void close();

  /// Waits for the coordinator's verdict; a speculative attempt may wait for the fit's end. A duplicate or finished
  /// worker should return at once, empty-handed. Throws Error(aborted) when the connection is lost.
  Admission admission();
  /// My rows are in.
  void ingested(const std::vector<ShardCount>& shards);
  /// Rows so far, for the progress line while ingest runs.
  void ingesting(int64_t rows);
  /// Waits until the gang has formed, anew after halted(). `hand_in` is called, by this thread, when the coordinator
  /// wants the state meanwhile. Throws Error(aborted) when the fit ended instead.
  Start start(const std::function<void()>& hand_in = {});
  /// The state that the coordinator wanted. Returns once it is on its way. Throws Error(aborted) when the fit ended.
  void hand_in(const Kept& kept, const std::vector<std::span<std::byte>>& pieces);
  /// The generation of `start` is over and nothing of this worker works in it any more. `commit` is its host's newest,
  /// 0 if it has no state; `cause` is what it saw, where it was not told by on_stop().
  void halted(const Start& start, uint64_t commit, const std::string& cause);
  /// This segment is the state of this worker's host: the coordinator keeps it open too, if it runs there.
  void holding(const Held& held);
  /// Whether this worker can lend its rows to others of its host when the next generation begins. Any thread.
  void lends(bool any);
  /// Others of this host have lent the rows of these shards: where their workers are lost this one can go on with them.
  void borrowed(const std::vector<int>& shards);
  /// What this worker's arithmetic is, once.
  void fingerprint(const Fingerprint& fingerprint);
  /// Waits until the coordinator knows that all of the generation compute alike. Throws Error(aborted) when the fit or
  /// the generation ended instead.
  void await_agreed();
  /// Digest of the host's state, to be compared with other hosts'.
  void digest(uint64_t commit, const Hash128& digest);
  /// Appends to `so_far` what is missing of the initial weights or the constants that `start` announces; when the
  /// generation ends before that, what has come stays. Throws Error(world) when they arrive damaged, and begins anew.
  void fetch(const Start& start, Wanted wanted, Bytes& so_far);
  /// Gives the pieces of what is announced to `take`, in order, from `from` on.
  void fetch(const Start& start, Wanted wanted, uint64_t from, const std::function<void(ByteView piece)>& take);
  /// Fills `into` with the kept state that `start` announces. Throws Error(world) when it came cut.
  void kept_state(const Start& start, const std::vector<std::span<std::byte>>& into);
  /// Whether the coordinator wants this generation to pause after a step. Cheap.
  bool pause_asked() const;
  /// What the driver wants of the fit, as far as it is known here. Cheap.
  Wish wish() const;
  /// This worker has paused, as all have: the generation's end follows.
  void paused();
  /// So many training steps have been committed, for the coordinator's messages. Cheap: it travels with the next
  /// heartbeat.
  void progress(int64_t step);
  /// The training thread's, whose standstill heartbeats tell the coordinator. Waits of this link are rests.
  pulse::Pulse& pulse();
  /// Newest metrics, a JSON object; sent on as it is. An integer "step" counts as progress; beside it may be what makes
  /// training steps of commits: "steps_of_epoch", "steps_of_commit", "evaluates" and "commits_of_leg".
  void metrics(const std::string& json);
  /// How a part of a checkpoint ended, a JSON object; sent on as it is.
  void checkpoint(const std::string& json);
  /// The result, by the rank that sends it: weights and state as safetensors, history as JSON. Returns once the
  /// coordinator has it whole. Throws Error(aborted) when the fit or the generation ended instead.
  void result(ByteView weights, const std::string& history);
  /// Waits until the result is home, whoever sent it. Throws like result().
  void await_home();
  /// This worker is done and leaves in good order. Returns once the coordinator knows, or is gone.
  void finished();
  /// This worker failed; the text reaches the driver. `user` errors are shown as they are. Returns like finished().
  void failed(const Error& error);

  /// Called once, from the I/O thread, when the generation of `start` is over (the coordinator halts it, or aborts the
  /// fit, its connection is lost or it has been silent for too long); at once if that has happened already. Not after
  /// finished() or failed(). The callback may run once more after the generation's end.
  void on_stop(const Start& start, std::function<void(const std::string& reason)> callback);
  bool aborted() const;
  /// Aborted because the link ended or the coordinator fell silent, not because it said so, or because it said that
  /// this process is of no use: the fit may go on elsewhere, and another attempt may serve it.
  bool lost() const;
  std::string abort_reason() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace stoker::gang
