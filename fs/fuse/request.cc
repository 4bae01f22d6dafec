#include "fs/fuse/request.h"

namespace cofs {
namespace {

thread_local Request* t_request = nullptr;

}  // namespace

Request* CurrentRequest() { return t_request; }
void SetCurrentRequest(Request* request) { t_request = request; }

}  // namespace cofs
