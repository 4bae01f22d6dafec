/* Ends the virtual machine with a verdict, through QEMU's isa-debug-exit device. */
#include <stdlib.h>
#include <sys/io.h>
#include <unistd.h>

int main(int argc, char** argv) {
  sync();
  if (ioperm(0x501, 1, 1) == 0) outb((unsigned char)(argc > 1 ? atoi(argv[1]) : 0), 0x501);
  return 1;
}
