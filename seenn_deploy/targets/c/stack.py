"""The stack that the C folder takes: frames of its functions, summed along the deepest calls.

The compiler knows both (gcc's ``-fcallgraph-info=su``). Nothing in net.c recurses, calls through a
pointer, or has a frame that grows, so the deepest path is the worst case; what breaks that is an
error. Interrupts of the firmware take theirs besides.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from seenn_deploy.errors import DeviceError
from seenn_deploy.targets.command import output_of

# For the library behind a leaf: memset, memcpy, and arithmetic of 64 bits, whose calls gcc does not
# list. The deepest, a division of 64 bits, takes 48 bytes of a Cortex-M4's stack and 92 of an M0+'s
# (objdump of gcc 12.2's libgcc).
LIBRARY = 128
_LIBRARY = re.compile("memset|memcpy|__.*")  # two underscores: the compiler's own arithmetic
_NODE = re.compile(r'^node: \{ title: "([^"]+)" label: "([^"]*)"', re.MULTILINE)
_EDGE = re.compile(r'^edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', re.MULTILINE)
_FRAME = re.compile(r"\\n(\d+) bytes \((\w+)\)")


def measured(compiler: list[str], source: Path, function: str, work: Path) -> int:
    """Bytes of stack from the call of a function in a C file, those of the C library included.

    Parameters
    ----------
    compiler : list of str
        A gcc with its options for the processor.
    source : Path
    function : str
    work : Path
        A folder for what it writes.

    Raises
    ------
    DeviceError
        When the compiler fails or has no call graphs, or the stack has no bound.
    """
    made = work / "stack.o"
    command = [*compiler, "-fcallgraph-info=su", "-c", str(source), "-o", str(made)]
    output_of(command, "the C compiler")
    return deepest(made.with_suffix(".ci").read_text(encoding="utf-8"), function) + LIBRARY


def deepest(graph: str, function: str) -> int:
    """Bytes of the frames along the deepest path from a function, out of gcc's call graph.

    Raises
    ------
    DeviceError
        When functions call each other in a circle or through pointers, a frame may grow, or a
        function's is not known.
    """
    frames: dict[str, int] = {}
    for name, label in _NODE.findall(graph):
        if found := _FRAME.search(label):
            if found[2] != "static":
                raise DeviceError(f"{name}: its stack frame is {found[2]}, and has no bound")
            frames[name] = int(found[1])
    calls: dict[str, list[str]] = defaultdict(list)
    for caller, called in _EDGE.findall(graph):
        calls[caller].append(called)
    known: dict[str, int] = {}

    def of(name: str, path: tuple[str, ...]) -> int:
        if name in path or name == "__indirect_call":
            raise DeviceError(f"{' calls '.join((*path, name))}: the stack has no bound")
        if name not in frames and not _LIBRARY.fullmatch(name):
            raise DeviceError(f"{path[-1]} calls {name}, whose stack is not known")
        if name not in known:
            below = max((of(called, (*path, name)) for called in calls[name]), default=0)
            known[name] = frames.get(name, 0) + below
        return known[name]

    if function not in frames:
        raise DeviceError(f"the compiler's call graph has no {function}")
    return of(function, ())
