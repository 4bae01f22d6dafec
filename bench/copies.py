#!/usr/bin/env python3
"""One copy on a volume, and what it cost.

    copies.py [--device DEVICE] [--below PATH] METHOD SOURCE DESTINATION [COMMAND...]
    copies.py [--below PATH] parallel COUNT SOURCE DESTINATION

METHOD is "range", copy_file_range(2) of a file or of all files of a tree, or "command",
which runs COMMAND. Prints, in one line, the seconds that it took until the copy was
durable, the seconds of processor time of the whole machine meanwhile, and the MiB read
from and written to the block device DEVICE ("-" without one). The start of this program
is not measured. PATH, a mount point or a device, holds what the volume stores, and is
synced, too.

"parallel" copies SOURCE to COUNT destinations at once, each by a process of its own, and
prints MiB per second.
"""
import argparse
import os
import subprocess
import sys
import time

AT_ONCE_BYTES_MAX = 1 << 30


def copy_file(source, destination):
    """copy_file_range from the begin to the end; nothing else is tried when it fails."""
    with open(source, "rb", buffering=0) as from_file, \
            open(destination, "xb", buffering=0) as to_file:
        left = os.fstat(from_file.fileno()).st_size
        while left > 0:
            done = os.copy_file_range(from_file.fileno(), to_file.fileno(),
                                      min(left, AT_ONCE_BYTES_MAX))
            if done == 0:
                raise OSError(f"{source}: copy_file_range ended early")
            left -= done


def copy_tree(source, destination):
    os.mkdir(destination)
    for entry in os.scandir(source):
        target = os.path.join(destination, entry.name)
        if entry.is_dir(follow_symlinks=False):
            copy_tree(entry.path, target)
        else:
            copy_file(entry.path, target)


def copy_range(source, destination):
    if os.path.isdir(source):
        copy_tree(source, destination)
    else:
        copy_file(source, destination)


def settle(path, below):
    """All of it durable. syncfs does not reach every FUSE file system; fsync does, or the
    sync of what is below it."""
    file = path
    while os.path.isdir(file):
        file = max(entry.path for entry in os.scandir(file))
    descriptor = os.open(file, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    subprocess.run(["sync", "-f", path], check=True)
    if below:
        subprocess.run(["sync", *(["-f"] if os.path.isdir(below) else []), below], check=True)


def processor_seconds():
    """All but idle, iowait and what the host took; user and nice contain the guests."""
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, _, _, irq, softirq = map(int, stat.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def device_mib(device):
    """MiB read and written so far."""
    if not device:
        return 0, 0
    with open(f"/sys/block/{os.path.basename(device)}/stat", encoding="ascii") as stat:
        fields = stat.read().split()
    return int(fields[2]) / 2048, int(fields[6]) / 2048


def measure(copy, destination, device, below):
    processor, device_before = processor_seconds(), device_mib(device)
    begin = time.monotonic()
    copy()
    settle(destination, below)
    wall = time.monotonic() - begin
    read, written = (f"{after - before:.4f}" if device else "-"
                     for before, after in zip(device_before, device_mib(device)))
    print(f"{wall:.5f} {processor_seconds() - processor:.2f} {read} {written}")


def run_parallel(count, source, destination, below):
    names = [f"{destination}{i}" for i in range(count)]
    ready, start = os.pipe(), os.pipe()
    children = []
    for name in names:
        child = os.fork()
        if child == 0:
            os.close(start[1])
            os.write(ready[1], b"r")
            os.read(start[0], 1)  # ends when the parent closes its end
            try:
                copy_file(source, name)
            except OSError as error:
                print(error, file=sys.stderr)
                os._exit(1)
            os._exit(0)
        children.append(child)
    while count > 0:
        count -= len(os.read(ready[0], count))
    begin = time.monotonic()
    os.close(start[1])
    failures = sum(os.waitpid(child, 0)[1] != 0 for child in children)
    if failures:
        sys.exit(f"{failures} of {len(names)} copies failed")
    settle(names[-1], below)
    seconds = time.monotonic() - begin
    print(f"{len(names) * os.path.getsize(source) / 2**20 / seconds:.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="")
    parser.add_argument("--below", default="")
    parser.add_argument("method")
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    if arguments.method == "parallel":
        run_parallel(int(arguments.rest[0]), *arguments.rest[1:], arguments.below)
        return
    source, destination, *command = arguments.rest
    if arguments.method == "range":
        def copy():
            copy_range(source, destination)
    else:
        def copy():
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    measure(copy, destination, arguments.device, arguments.below)


if __name__ == "__main__":
    try:
        main()
    except (OSError, subprocess.CalledProcessError) as failure:
        sys.exit(str(failure))
