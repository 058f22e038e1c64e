#include "bindings/bindings.h"
#include "bindings/errors.h"

NB_MODULE(_core, m) {
  stoker::register_errors(m);
  stoker::bind_gang(m);
  stoker::bind_collective(m);
  stoker::bind_checkpoint(m);
  stoker::bind_data(m);
  stoker::bind_deal(m);
  stoker::bind_library(m);
  stoker::bind_memory(m);
  stoker::bind_optim(m);
}
