#include "base/error.h"
#include "base/fault.h"

namespace stoker::fault {

bool armed = false;

void schedule(const std::string& text) {
  if (!text.empty()) fail_user("this build of the engine has no faults to schedule (STOKER_FAULTS in CMake)");
}

void act(const char*, int64_t) {}
void act_on_frame(const char*, Bytes&) {}

}  // namespace stoker::fault
