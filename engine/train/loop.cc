#include "train/loop.h"

#include "train/session.h"

namespace stoker::train {

void train(gang::WorkerLink& link, collective::Listeners& listeners, const data::ColumnStore& store,
           const gang::Start& start, const TrainSpec& spec, std::shared_ptr<checkpoint::Storage> storage) {
  Session session(link, listeners, store, spec, std::move(storage));
  if (session.live(start)) return;
  while (!session.live(link.start([&] { session.hand_in(); }))) {
  }
}

}  // namespace stoker::train
