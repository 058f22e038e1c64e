#include "base/error.h"
#include "base/fault.h"

namespace stoker::fault {

bool armed = false;

void schedule(const std::string& text) {
  if (!text.empty()) fail_user("this build of the engine has no faults to schedule (STOKER_FAULTS in CMake)");
}

}  // namespace stoker::fault
