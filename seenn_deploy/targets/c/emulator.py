"""Emulated boards: the C folder built by a cross compiler, run by QEMU with files of the host."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

from seenn_deploy._typing import Array
from seenn_deploy.errors import DeviceError
from seenn_deploy.targets.base import DeviceRun, Request
from seenn_deploy.targets.c import protocol
from seenn_deploy.targets.c.budget import STACK
from seenn_deploy.targets.c.bundle import Bundle
from seenn_deploy.targets.c.compiler import STRICT
from seenn_deploy.targets.c.stack import measured
from seenn_deploy.targets.command import drive, output_of

SEMIHOSTING = ("-nographic", "-monitor", "none", "-serial", "none",
               "-semihosting-config", "enable=on,target=native")  # fmt: skip


@dataclass(frozen=True)
class Tool:
    """A program of another package.

    Parameters
    ----------
    name : str
    packages : str
        Debian's, with spaces between.
    """

    name: str
    packages: str

    @property
    def path(self) -> str:
        """Where it is.

        Raises
        ------
        DeviceError
            When it is not on the PATH.
        """
        if found := shutil.which(self.name):
            return found
        raise DeviceError(
            f"{self.name} is not on the PATH; on Debian: apt-get install {self.packages}"
        )


class Emulated:
    """A board that QEMU emulates.

    Parameters
    ----------
    bundle : Path

    Raises
    ------
    ProgramError
        When there is no C folder, or its files were changed.
    DeviceError
        When the compiler or the emulator is missing.
    """

    target = "c"
    takes_length = True
    compiler: ClassVar[Tool]
    emulator: ClassVar[Tool]
    compile_options: ClassVar[tuple[str, ...]]
    machine_options: ClassVar[tuple[str, ...]]

    def __init__(self, bundle: Path) -> None:
        self.bundle = Bundle.read(bundle)
        self.made_for = self.bundle.made_for
        self.tools = self.compiler.path, self.emulator.path

    def run(self, images: Array, request: Request) -> DeviceRun:
        """Build it and run it; see :meth:`seenn_deploy.targets.base.Device.run`."""
        with tempfile.TemporaryDirectory(prefix="seenn-qemu-") as name:
            work = Path(name)
            self._build(work, request.record)
            asked = protocol.requests(self.bundle, images, request)
            (work / "request.bin").write_bytes(b"".join(asked))
            # Semihosting gives the board the files of the folder that QEMU is started in.
            drive(
                [self.tools[1], *self.machine_options, *SEMIHOSTING, "-kernel", "net.elf"],
                dict(os.environ), request, folder=work,
            )  # fmt: skip
            if not (work / "answer.bin").is_file():
                raise DeviceError("the board ended without an answer; does the program fit it?")
            found = (work / "answer.bin").read_bytes()
            ran = protocol.answer(self.bundle, found, len(images), request)
            return replace(
                ran, notes=(f"stack: {self.stack(work):,} bytes at most; {STACK:,} are kept",)
            )

    def stack(self, work: Path) -> int:
        """The most bytes of stack that a call of ``classify`` takes; `work` has ``boards/``."""
        compiler = [self.tools[0], "-O2", *STRICT, *self.compile_options]
        function = f"{self.bundle.spec['prefix']}_classify"
        return measured(compiler, self.bundle.folder / "net.c", function, work)

    def _build(self, work: Path, trace: bool) -> None:
        for file in files(__package__).joinpath("boards").iterdir():
            if file.is_file():
                (work / file.name).write_bytes(file.read_bytes())
        macros = ["FILES", *(["TRACE"] if trace else [])]
        sources = [str(self.bundle.folder / name) for name in ("net.c", "weights.c", "main.c")]
        command = [
            self.tools[0], "-O2", *STRICT, *(f"-D{self.bundle.macro(m)}" for m in macros),
            *self.options(work), *sources, "-o", str(work / "net.elf"),
        ]  # fmt: skip
        try:
            output_of(command, "the C compiler")
        except DeviceError as error:
            if ".specs" not in str(error):  # the C library's, a package of its own
                raise
            raise DeviceError(
                f"{self.compiler.name} lacks its C library ({error}); on Debian: apt-get install "
                f"{self.compiler.packages}"
            ) from None

    def options(self, work: Path) -> tuple[str, ...]:
        """Options of the compiler and the linker; `work` has the files of ``boards/``."""
        return self.compile_options


class CortexM(Emulated):
    """A Cortex-M of Arm's MPS2 boards, with newlib's files of the host."""

    compiler = Tool("arm-none-eabi-gcc", "gcc-arm-none-eabi libnewlib-arm-none-eabi")
    emulator = Tool("qemu-system-arm", "qemu-system-arm")
    processor: ClassVar[str]
    machine: ClassVar[str]
    psram: ClassVar[int] = 0x21000000

    @property
    def compile_options(self) -> tuple[str, ...]:  # type: ignore[override]
        """Options of the compiler."""
        return (f"-mcpu={self.processor}", "-mthumb")

    @property
    def machine_options(self) -> tuple[str, ...]:  # type: ignore[override]
        """Options of QEMU."""
        return ("-M", self.machine)

    def options(self, work: Path) -> tuple[str, ...]:
        """Options of the compiler, with start-up and memory map."""
        return (
            *self.compile_options, "--specs=rdimon.specs", "-nostartfiles",
            f"-Wl,--defsym=__psram={self.psram}", "-T", str(work / "mps2.ld"),
            str(work / "start.c"),
        )  # fmt: skip
