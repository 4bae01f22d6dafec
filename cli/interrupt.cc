#include "cli/interrupt.h"

#include <csignal>
#include <initializer_list>

namespace cofs {
namespace {

volatile std::sig_atomic_t caught_signal = 0;

void OnSignal(int signal_number) { caught_signal = signal_number; }

}  // namespace

void CatchInterrupts() {
  struct sigaction action = {};
  action.sa_handler = OnSignal;  // no SA_RESTART: calls that wait come back
  ::sigemptyset(&action.sa_mask);
  for (const int signal_number : {SIGINT, SIGTERM, SIGHUP})
    ::sigaction(signal_number, &action, nullptr);
}

int InterruptSignal() { return caught_signal; }

}  // namespace cofs
