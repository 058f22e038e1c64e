#pragma once
// The train loop of one worker: from the moment the gang has formed to the model with the driver, through as many
// generations as it takes.
#include <memory>

#include "checkpoint/storage.h"
#include "collective/group.h"
#include "data/store/column_store.h"
#include "gang/worker_link.h"
#include "train/spec.h"

namespace stoker::train {

/// Trains with the rows of `store` as the member that `start` says. When a member dies or the gang breaks otherwise,
/// the generation is left, and rows, program and state wait for the next start; the step that was cut is done again.
/// Rank 0 sends weights and history home. Returns when the model is with the driver, whoever sent it. Throws
/// Error(aborted) when the coordinator ended the fit; Error(user) and Error(bug) where this worker cannot go on.
void train(gang::WorkerLink& link, collective::Listeners& listeners, const data::ColumnStore& store,
           const gang::Start& start, const TrainSpec& spec, std::shared_ptr<checkpoint::Storage> storage);

}  // namespace stoker::train
