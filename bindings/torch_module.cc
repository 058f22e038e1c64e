#include "bindings/torch_bindings.h"

NB_MODULE(STOKER_TORCH_MODULE, m) {
  nanobind::module_::import_("stoker._core");
  stoker::bind_program(m);
  stoker::bind_train(m);
}
