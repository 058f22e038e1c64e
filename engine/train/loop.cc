#include "train/loop.h"

#include "train/session.h"

namespace stoker::train {

void train(gang::WorkerLink& link, collective::Listeners& listeners, const data::ColumnStore& store,
           const gang::Start& start, const TrainSpec& spec) {
  Session session(link, listeners, store, spec);
  if (session.live(start)) return;
  while (!session.live(link.start())) {
  }
}

}  // namespace stoker::train
