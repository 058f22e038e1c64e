#pragma once
// The train loop of one worker: from the moment the gang has formed to the model on its way home.
#include "base/codec.h"
#include "collective/group.h"
#include "data/column_store.h"
#include "gang/worker_link.h"
#include "train/spec.h"

namespace stoker::train {

/// Trains with the rows of `store` as the member that `start` says. Rank 0 sends weights and history home.
/// Returns when this rank's last step is committed (and, on rank 0, the result has arrived). Throws Error(aborted) when
/// the coordinator ended the fit; Error(user) and Error(world) where this rank failed by itself.
void train(gang::WorkerLink& link, collective::Listeners& listeners, const data::ColumnStore& store,
           const gang::Start& start, const TrainSpec& spec);

}  // namespace stoker::train
