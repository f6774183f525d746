"""The host's C compiler: found, and asked which sanitizers it has."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from seenn_deploy.errors import DeviceError
from seenn_deploy.targets.command import output_of

COMPILERS = ("cc", "gcc", "clang", "zig")
PACKAGES = {"clang": "clang libclang-rt-14-dev"}  # Debian's, where gcc would be no answer
STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror")
SANITIZERS = ("address", "undefined")
# With something for each to look after, or the linker would not miss the runtime.
_TRIED = """static int values[4];
int main(int count, char **words)
{
    (void)words;
    return values[count & 3] * count;
}
"""


@dataclass(frozen=True)
class Compiler:
    """A C compiler of this machine.

    Parameters
    ----------
    command : tuple of str
        What starts it.
    """

    command: tuple[str, ...]

    @classmethod
    def find(cls, name: str = "") -> Compiler:
        """The compiler of a name or path; by default the first of `COMPILERS` that is there.

        ``zig`` is Zig's C compiler, also where it comes from PyPI (``ziglang``).

        Raises
        ------
        DeviceError
            When there is none.
        """
        for candidate in [name] if name else COMPILERS:
            path = shutil.which(candidate)
            if candidate == "zig" and path:
                return cls((path, "cc"))
            if path:
                return cls((path,))
            if candidate == "zig" and find_spec("ziglang"):
                return cls((sys.executable, "-m", "ziglang", "cc"))
        raise DeviceError(
            f"no C compiler ({name or ', '.join(COMPILERS)}) is on the PATH; on Debian: "
            f"apt-get install {PACKAGES.get(name, 'gcc')}; anywhere: pip install "
            "'seenn-deploy[edge]', which brings zig"
        )

    def run(self, *options: str) -> None:
        """Compile.

        Raises
        ------
        DeviceError
            With the compiler's last words, when it fails.
        """
        output_of([*self.command, *options], "the C compiler")

    def sanitizers(self, work: Path, *flags: str) -> tuple[list[str], tuple[str, ...]]:
        """Options for the sanitizers that it has, and the names of those that it lacks.

        Parameters
        ----------
        work : Path
            A folder for a program that tries them.
        *flags : str
            What the folder is compiled with besides: some have no sanitizers on every machine.
        """
        (work / "tried.c").write_text(_TRIED)
        there = [name for name in SANITIZERS if self._has(name, work, flags)]
        # One option each: of two names in one, zig heeds those alone that it has.
        options = [f"-fsanitize={name}" for name in there] + ["-fno-sanitize-recover=all"]
        return options if there else [], tuple(name for name in SANITIZERS if name not in there)

    def _has(self, sanitizer: str, work: Path, flags: tuple[str, ...]) -> bool:
        # Linked too: clang takes the option also where the package with its runtime is missing.
        files = str(work / "tried.c"), "-o", str(work / "tried")
        try:
            self.run(*flags, f"-fsanitize={sanitizer}", *files)
        except DeviceError:
            return False
        return True
