#include "fs/core/volume_options.h"

namespace cofs {

std::string_view NameOf(CopyRangePolicy policy) {
  switch (policy) {
    case CopyRangePolicy::kAuto:
      return "auto";
    case CopyRangePolicy::kShare:
      return "share";
    case CopyRangePolicy::kDevice:
      return "device";
    case CopyRangePolicy::kBuffered:
      return "buffered";
  }
  return "unknown";
}

std::string_view NameOf(ClonePolicy policy) {
  switch (policy) {
    case ClonePolicy::kShare:
      return "share";
    case ClonePolicy::kDevice:
      return "device";
  }
  return "unknown";
}

std::string_view NameOf(CopyVerify verify) {
  switch (verify) {
    case CopyVerify::kNone:
      return "off";
    case CopyVerify::kSample:
      return "sample";
    case CopyVerify::kAll:
      return "all";
  }
  return "unknown";
}

}  // namespace cofs
