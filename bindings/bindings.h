#pragma once
// What the module _core is made of: one function a folder of the engine, each in a file core_<folder>.cc of its own.
// Each binding parses, calls and returns; whatever may wait does so with the GIL released.
#include <nanobind/nanobind.h>

namespace stoker {

void bind_gang(nanobind::module_& m);
void bind_collective(nanobind::module_& m);
void bind_checkpoint(nanobind::module_& m);
void bind_data(nanobind::module_& m);
void bind_deal(nanobind::module_& m);
void bind_library(nanobind::module_& m);
void bind_memory(nanobind::module_& m);
void bind_optim(nanobind::module_& m);

}  // namespace stoker
