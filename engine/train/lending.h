#pragma once
// Workers of one host lend each other their rows, so that they can go on with the shards of one that is lost.
#include <vector>

#include "collective/group.h"
#include "data/store/column_store.h"
#include "data/store/lent_rows.h"
#include "gang/protocol.h"

namespace stoker::train {

/// Every rank of a host calls it at the same point of a generation, with what it lends, if anything. Takes what the
/// others lend; what was lent before by those who are gone stays. Who has rows on disk takes none.
void lend_rows(collective::Group& group, shm::Segment own, const data::ColumnStore& store, data::Borrowed& borrowed);

/// Shards of other workers whose rows, those that are held out included, have been borrowed and are those that `start`
/// tells of; ascending.
std::vector<int> borrowed_shards(const gang::Start& start, const data::ColumnStore& store,
                                 const data::Borrowed& borrowed);

}  // namespace stoker::train
