#!/usr/bin/env python3
"""Teaches a copy of xfstests what it can't know of fuseblk.cofs.

    adapt.py TREE

Upstream lists file systems by name: which of them mkfs can make of a given size, which
have holes that lseek(2) finds, how large their extended attributes and access control
lists are, what names and times they take. Of the tests only those that have such lists
themselves are changed.
"""
import pathlib
import re
import sys


def insert_case(text, function, lines):
    """Puts `lines` before the last `*)` of the case statement in a shell function."""
    match = re.search(r"^%s\(\)\s*\{\n.*?^\}\n" % re.escape(function), text, re.M | re.S)
    if match is None:
        sys.exit(f"adapt.py: no function {function} in this version of xfstests")
    body = match.group(0)
    at = body.rindex("\t*)\n")
    return text[: match.start()] + body[:at] + lines + body[at:] + text[match.end():]


def main():
    tree = pathlib.Path(sys.argv[1])
    rc = tree / "common/rc"
    text = rc.read_text()
    text = insert_case(text, "_try_scratch_mkfs_sized",
                       "\tfuseblk.cofs)\n"
                       "\t\t$MKFS_PROG -t $FSTYP -- $MKFS_OPTIONS --size \"$fssize\" \"$@\" $SCRATCH_DEV\n"
                       "\t\t;;\n")
    text = insert_case(text, "_scratch_mkfs_blocksized",
                       "\tfuseblk.cofs)\n"
                       "\t\t[ \"$blocksize\" -eq 4096 ] || _notrun \"cofs has blocks of 4096 bytes\"\n"
                       "\t\t_scratch_mkfs\n"
                       "\t\t;;\n")
    text = insert_case(text, "_fstyp_has_non_default_seek_data_hole",
                       "\tfuseblk.cofs)\n\t\treturn 0\n\t\t;;\n")
    text = insert_case(text, "_require_names_are_bytes", "\tfuseblk.cofs)\n\t\t;;\n")
    text = insert_case(text, "_filesystem_timestamp_range",
                       "\tfuseblk.cofs)\n\t\techo \"$s64min $s64max\"\n\t\t;;\n")
    rc.write_text(text)

    # The kernel passes on lists of a page: a head of 4 bytes, 8 for each entry.
    attr = tree / "common/attr"
    text = attr.read_text()
    attr.write_text(insert_case(text, "_acl_get_max",
                                "\tfuseblk.cofs)\n\t\techo 511\n\t\t;;\n"))

    # Values up to 64 KiB and as many attributes as XFS takes.
    attributes = tree / "tests/generic/020"
    text = attributes.read_text()
    changed = re.sub(r"^(\txfs\|)", r"\1fuseblk.cofs|", text, flags=re.M)
    if changed == text:
        sys.exit("adapt.py: generic/020 lists no attribute sizes in this version")
    attributes.write_text(changed)

    # A volume that needs recovery is mounted without writing to the device, too.
    read_only = tree / "tests/generic/050"
    text = read_only.read_text()
    changed = text.replace('[ "$FSTYP" = "btrfs" ]', '[[ "$FSTYP" = @(btrfs|fuseblk.cofs) ]]')
    if changed == text:
        sys.exit("adapt.py: generic/050 makes no exception for btrfs in this version")
    read_only.write_text(changed)


main()
