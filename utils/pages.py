"""Huge pages for training on a processor.

XLA asks glibc for a step's memory and gives it back, each time; in pages of 4 KB a step spends up
to a fifth of its time on making them. glibc has pages of 2 MB, if its environment says so before
the program starts.
"""

import os
import sys

TUNABLES = "glibc.malloc.hugetlb=1"


def huge():
    """Starts this very program again, in the same process, with huge pages.

    Only once, only on Linux, and not where GLIBC_TUNABLES is set: GLIBC_TUNABLES= leaves pages as
    they are. Nor for --help, which is to answer at once, nor where another program runs a script.
    """
    if sys.platform != "linux" or "GLIBC_TUNABLES" in os.environ:
        return
    if sys.argv[0] not in sys.orig_argv:
        return
    if {"--help", "-h", "-help"} & set(sys.argv):
        return
    os.environ["GLIBC_TUNABLES"] = TUNABLES
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
