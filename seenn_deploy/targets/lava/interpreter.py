"""The Lava interpreter: found, checked, or made.

lava-nc 0.10.0, the last release, declares Python 3.10 and numpy below 2, so it has an interpreter
of its own. It is looked for in this order:

1. the environment variable ``SEENN_LAVA_PYTHON``, a Python that can import lava;
2. the interpreter that runs this;
3. the environment that ``seenn setup-lava`` made, in ``SEENN_LAVA_HOME`` or the user's cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from seenn_deploy.errors import DeviceError

LAVA = "0.10.0"
MARKER = "seenn-lava.txt"  # written last: an environment without it is not complete
SHIM = Path(__file__).parent / "py311_shim.py"
Report = Callable[[str], None]

_ASK_LAVA = (
    # A file of the user's called lava.py, in the folder where this runs, is not meant.
    "import sys; sys.path[:] = filter(None, sys.path); "
    "import lava.proc.lif.models, lava.magma.core.run_configs, importlib.metadata as m; "
    "print(m.version('lava-nc'))"
)
_ASK_REQUIREMENTS = "import importlib.metadata as m; print(*m.requires('lava-nc'), sep='\\n')"
_ASK_PACKAGES = "import sysconfig; print(sysconfig.get_path('purelib'))"
_ASK_VERSION = "import sys; print(*sys.version_info[:2], sep='.')"


@dataclass(frozen=True)
class Interpreter:
    """A Python that runs Lava.

    Parameters
    ----------
    python : Path
    lava_version : str
    how : str
        Where it was found, in words.
    """

    python: Path
    lava_version: str
    how: str


# --- finding -----------------------------------------------------------------------------------


def find() -> Interpreter:
    """The first Lava interpreter, checked by importing lava in it.

    Raises
    ------
    DeviceError
        When there is none, or the one that was found has no lava 0.10.
    """
    named = os.environ.get("SEENN_LAVA_PYTHON")
    if named:
        return check(Path(named), "SEENN_LAVA_PYTHON")
    if _is_here():
        return check(Path(sys.executable), "the current interpreter")
    made = home()
    if (made / MARKER).is_file():
        return check(_python_in(made), f"made by seenn setup-lava in {made}")
    raise DeviceError(
        "no Lava interpreter: SEENN_LAVA_PYTHON is not set, this Python has no lava, and "
        f"{made} holds none; make one with: seenn setup-lava"
    )


def _is_here() -> bool:
    """Whether this interpreter has Lava, and not just some file called lava.py."""
    try:
        return find_spec("lava.magma") is not None
    except ModuleNotFoundError:
        return False


def home() -> Path:
    """The folder of the environment that ``seenn setup-lava`` makes."""
    named = os.environ.get("SEENN_LAVA_HOME")
    if named:
        return Path(named).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "seenn-deploy" / "lava"


@lru_cache
def check(python: Path, how: str) -> Interpreter:
    """An interpreter, once it has imported lava 0.10; asked once in the life of this process.

    Raises
    ------
    DeviceError
        When it does not run, cannot import lava, or lava is of another version.
    """
    answer = _ask(python, _ASK_LAVA)
    if answer is None or answer.returncode:
        words = "it does not run" if answer is None else _last_line(answer.stderr)
        raise DeviceError(
            f"{python} ({how}) cannot import lava: {words}; make an interpreter that can with: "
            "seenn setup-lava"
        )
    version = answer.stdout.split()[-1]
    if version.split(".")[:2] != LAVA.split(".")[:2]:
        raise DeviceError(
            f"{python} ({how}) has lava-nc {version}, this needs {LAVA}; make one with: "
            "seenn setup-lava"
        )
    return Interpreter(python, version, how)


def _ask(python: Path, question: str) -> subprocess.CompletedProcess[str] | None:
    """Run a line of Python; None when the file cannot be run at all."""
    try:
        return subprocess.run(
            [str(python), "-c", question],
            # Importing lava takes seconds, from a cold disk far more.
            capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]


def _python_in(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


# --- making ------------------------------------------------------------------------------------


def setup_lava(
    folder: Path | None = None, python: str | None = None, progress: Report = lambda line: None
) -> Interpreter:
    """Make an environment with lava-nc, or find the one already made.

    Parameters
    ----------
    folder : Path, optional
        Where; :func:`home` by default.
    python : str, optional
        The Python 3.10 (or 3.11) to use; looked for by default.
    progress : callable, optional
        Called with a line of text before each part of the work.

    Raises
    ------
    DeviceError
        When no Python fits, the folder is taken, or the installation fails.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> found = sd.setup_lava(progress=print)  # doctest: +SKIP
    >>> found.lava_version  # doctest: +SKIP
    '0.10.0'
    """
    folder = home() if folder is None else Path(folder).expanduser().absolute()
    how = f"made by seenn setup-lava in {folder}"
    if (folder / MARKER).is_file():
        return check(_python_in(folder), how)
    _clear(folder)
    base, version = _base_python(python, progress)
    progress(f"making an environment of Python {version} ({base}) in {folder}")
    _run([str(base), "-m", "venv", str(folder)])
    _install(folder, version, progress)
    found = check(_python_in(folder), how)
    (folder / MARKER).write_text(f"lava-nc {found.lava_version} on Python {version}\n")
    return found


def _clear(folder: Path) -> None:
    """Remove what an interrupted setup left; leave alone what is not ours."""
    if not folder.exists():
        return
    # A mistyped folder must not cost anybody's files.
    if any(folder.iterdir()) and not (folder / "pyvenv.cfg").is_file():
        raise DeviceError(f"{folder}: exists and is no environment; name another folder")
    shutil.rmtree(folder)


def _base_python(python: str | None, progress: Report) -> tuple[Path, str]:
    """A Python that can carry lava-nc, and its version."""
    if python is not None:
        path = Path(shutil.which(python) or python)
        version = _version(path)
        if version not in ("3.10", "3.11"):
            raise DeviceError(f"{python}: {version or 'does not run'}; lava-nc needs Python 3.10")
        return path, version
    for wanted, candidates in (("3.10", _pythons("3.10")), ("3.11", _pythons("3.11"))):
        for candidate in candidates:
            if _version(candidate) == wanted:
                return candidate, wanted
        if wanted == "3.10" and (fetched := _fetch(progress)):
            return fetched, wanted
    raise DeviceError(
        "no Python 3.10 on the PATH, in pyenv's versions or through uv, and no 3.11 to fall back "
        "on; install one (e.g. pyenv install 3.10, or install uv) and repeat"
    )


def _version(python: Path) -> str | None:
    answer = _ask(python, _ASK_VERSION)  # a pyenv shim may exist and fail when it is run
    return None if answer is None or answer.returncode else answer.stdout.strip()


def _pythons(version: str) -> Iterator[Path]:
    """Files that may be a Python of a version."""
    if _version(Path(sys.executable)) == version:
        yield Path(sys.executable)
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = Path(folder or ".") / f"python{version}"
        if path.is_file():
            yield path
    root = _output(["pyenv", "root"]) or os.environ.get("PYENV_ROOT")
    if root:
        yield from sorted(Path(root).glob(f"versions/{version}.*/bin/python"), reverse=True)
    found = _output(["uv", "python", "find", version])
    if found:
        yield Path(found)


def _fetch(progress: Report) -> Path | None:
    """Python 3.10 through uv, where uv is installed and the network allows it."""
    if not shutil.which("uv"):
        return None
    progress("no Python 3.10 found: fetching one with uv")
    _output(["uv", "python", "install", "3.10"], timeout=900)
    found = _output(["uv", "python", "find", "3.10"])
    return Path(found) if found and _version(Path(found)) == "3.10" else None


def _output(command: list[str], timeout: int = 60) -> str | None:
    """Return what a command printed; None where it is missing or failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _install(folder: Path, version: str, progress: Report) -> None:
    python = str(_python_in(folder))
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if version == "3.10":
        progress(f"installing lava-nc {LAVA}")
        _run([*pip, f"lava-nc=={LAVA}"])
        return
    progress(
        f"no Python 3.10: installing lava-nc {LAVA} on Python {version} past its version marker, "
        "with an import shim for one dataclass default that 3.11 refuses"
    )
    _run([*pip, f"lava-nc=={LAVA}", "--ignore-requires-python", "--no-deps"])
    needed = _output([python, "-c", _ASK_REQUIREMENTS])
    packages = _output([python, "-c", _ASK_PACKAGES])
    if not needed or not packages:
        raise DeviceError(f"setup-lava: {folder}: lava-nc is not there after its installation")
    _run([*pip, *needed.splitlines()])  # the marker is lava-nc's own: these obey theirs
    shutil.copyfile(SHIM, Path(packages) / "seenn_lava_shim.py")
    (Path(packages) / "seenn_lava_shim.pth").write_text("import seenn_lava_shim\n")


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        words = _last_line(done.stderr or done.stdout)
        raise DeviceError(f"setup-lava: {' '.join(command[1:4])} failed: {words}")
