"""Memory that a training step frees, for the step behind it."""

from __future__ import annotations

import ctypes
import platform

# Parameters of glibc's mallopt(3), from its malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Let the C library keep the memory that tensors free, instead of returning it to the system.

    glibc maps every large array anew and returns it when it is freed. A training step has a hundred
    of them, whose pages the system then fills with zeros, one page at a time, in every step: a
    fifth of the time of a step on a CPU. The process keeps its largest size from here on, so it is
    for commands that train and end.

    Returns
    -------
    bool
        Whether this C library has taken the request; others are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wanted = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 64 * 2**20))
    return all(mallopt(parameter, value) == 1 for parameter, value in wanted)
