#pragma once
// A worker's side of the control link. The constructor connects and shakes hands; one I/O thread reads and answers
// from then on. All methods may be called from any thread.
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gang/protocol.h"

namespace stoker::gang {

struct LinkOptions {
  std::string host;  // of the coordinator
  int port = 0;
  Bytes secret;
  double timeout = 20;  // seconds to connect and shake hands
};

class WorkerLink {
 public:
  WorkerLink(const LinkOptions& options, Hello hello);
  ~WorkerLink();

  /// Waits for the coordinator's verdict. A duplicate or finished worker should return at once, empty-handed.
  Admission admission();
  /// My rows are in.
  void ingested(const std::vector<ShardCount>& shards);
  /// Rows so far, for the progress line while ingest runs.
  void ingesting(int64_t rows);
  /// Waits until the gang has formed. Throws Error(aborted) when the fit ended instead.
  Start start();
  /// Newest metrics, a JSON object; sent on as it is.
  void metrics(const std::string& json);
  /// The result, by the rank that sends it: weights and state as safetensors, history as JSON. Returns once the
  /// coordinator has it whole.
  void result(ByteView weights, const std::string& history);
  /// This worker is done and leaves in good order.
  void finished();
  /// This worker failed; the text reaches the driver. `user` errors are shown as they are.
  void failed(const Error& error);

  /// Called once, from the I/O thread, when the coordinator aborts the fit or its connection is lost.
  void on_abort(std::function<void(const std::string& reason)> callback);
  bool aborted() const;
  std::string abort_reason() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace stoker::gang
