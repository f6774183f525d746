"""How much memory this process may still take, and refusing work that needs more.

Work that does not fit is better refused at its start: the system would end it without a word, or
move the whole machine to disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from seenn_deploy.errors import ResourceError

GIB = 1 << 30
_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def available() -> int | None:
    """Return the bytes that this process can still take; None where the system does not tell.

    On Linux it is the least of what the kernel calls available (``MemAvailable``: free memory and
    what it can reclaim), what the control groups of this process leave (a container's limit), and
    what its own limit of address space does. Other systems of the Unix family tell how much memory
    there is at all, and Windows nothing. Memory on disk (swap) does not count.
    """
    found = [*_kernel(), *_control_groups(), *_address_space()]
    if not found and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    return min(found, default=None)


def require(needed: int, what: str, remedy: Callable[[int], str]) -> None:
    """Refuse work that needs more memory than there is.

    Parameters
    ----------
    needed : int
        Bytes, beyond what the process has already.
    what : str
        The work, as the subject of a sentence.
    remedy : callable
        Says what to do instead, from the bytes that are available.

    Raises
    ------
    ResourceError
        When less is available.
    """
    there = available()
    if there is not None and needed > there:
        found = f"{what} needs {size(needed)} of memory and {size(there)} are available"
        raise ResourceError(f"{found}; {remedy(there)}")


def size(count: float) -> str:
    """Bytes in GiB, in a reader's words."""
    return f"{count / GIB:,.{1 if count >= GIB else 2}f} GiB"


def _kernel() -> Iterator[int]:
    for line in _lines(_PROC / "meminfo"):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _control_groups() -> Iterator[int]:
    """What each control group above this process leaves, in both versions of the file system."""
    for line in _lines(_PROC / "self/cgroup"):
        _, kinds, path = line.split(":", 2)
        version_2 = not kinds
        if not version_2 and "memory" not in kinds.split(","):
            continue
        root = _CGROUPS if version_2 else _CGROUPS / "memory"
        limit, used, cache = (
            ("memory.max", "memory.current", "inactive_file ")
            if version_2
            else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ")
        )
        group = root / path.lstrip("/")
        # Inside a container the path may be that of the host, which is not there: the root is.
        for folder in (group, *(p for p in group.parents if p.is_relative_to(root))):
            numbers = [line for name in (limit, used) for line in _lines(folder / name)]
            if len(numbers) == 2 and numbers[0].isdigit():
                # What files were read into memory for is given up when memory is short.
                statistics = _lines(folder / "memory.stat")
                files = sum(int(s.split()[1]) for s in statistics if s.startswith(cache))
                yield max(0, int(numbers[0]) - int(numbers[1]) + files)


def _address_space() -> Iterator[int]:
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = _lines(_PROC / "self/statm")
    if limit != resource.RLIM_INFINITY and pages:
        yield max(0, limit - int(pages[0].split()[0]) * os.sysconf("SC_PAGE_SIZE"))


def _lines(file: Path) -> list[str]:
    """The lines of a file of the system; none where it is not there."""
    try:
        return file.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
