"""The C folder as a device: built by the host's compiler with sanitizers, asked through a pipe."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

from seenn_deploy._typing import Array
from seenn_deploy.targets.base import DeviceRun, Request
from seenn_deploy.targets.c import protocol
from seenn_deploy.targets.c.bundle import Bundle
from seenn_deploy.targets.c.compiler import STRICT, Compiler
from seenn_deploy.targets.command import drive


class Device:
    """The C folder on this machine, built with every warning an error and with sanitizers.

    Parameters
    ----------
    bundle : Path
    argument : str
        The compiler, by name or as a path: ``--device c:clang``. By default the first of cc, gcc,
        clang and zig that is found.
    flags : str
        More options for the compiler, with spaces between: ``-m32``.

    Raises
    ------
    ProgramError
        When there is no C folder, or its files were changed.
    DeviceError
        When there is no compiler.
    """

    takes_length = True

    def __init__(self, bundle: Path, argument: str = "", *, flags: str = "") -> None:
        self.bundle = Bundle.read(bundle)
        self.made_for = self.bundle.made_for
        self.compiler = Compiler.find(argument)
        self.flags = flags.split()

    def run(self, images: Array, request: Request) -> DeviceRun:
        """Build it and run it; see :meth:`seenn_deploy.targets.base.Device.run`."""
        with tempfile.TemporaryDirectory(prefix="seenn-c-") as name:
            work = Path(name)
            trace = [f"-D{self.bundle.macro('TRACE')}"] if request.record else []
            sanitizers, lacking = self.compiler.sanitizers(work, *self.flags)
            self.compiler.run(
                "-O2", *STRICT, *sanitizers, *trace, *self.flags,
                *(str(self.bundle.folder / f) for f in ("net.c", "weights.c", "main.c")),
                "-o", str(work / "run"),
            )  # fmt: skip
            asked = protocol.requests(self.bundle, images, request)
            (work / "request.bin").write_bytes(b"".join(asked))
            pipes = (work / "request.bin", work / "answer.bin")
            drive([str(work / "run")], dict(os.environ), request, pipes)
            ran = protocol.answer(self.bundle, pipes[1].read_bytes(), len(images), request)
        compiler = " ".join(self.compiler.command)
        left_out = (f"left out: the {name} sanitizer, which {compiler} lacks" for name in lacking)
        return replace(ran, notes=tuple(left_out))
