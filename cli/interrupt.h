// Ctrl-C: SIGINT, SIGTERM and SIGHUP ask a long command to end; system calls that wait
// are interrupted by them (EINTR).
#pragma once

namespace cofs {

// From now on, for the process.
void CatchInterrupts();
// The signal that came, 0 when none did.
int InterruptSignal();

}  // namespace cofs
