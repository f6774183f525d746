"""Build the wheel and the source archive, and use the wheel as someone without a clone does.

python tools/dist_check.py [FOLDER]

What is built goes to FOLDER (default: dist). For every Python of 3.10 to 3.13 on this machine, the
wheel is installed into a new environment, without pins, and the example is compiled and simulated
from an empty folder. Pythons that are missing are named. Runs in the environment of `make venv`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
IN_WHEEL = (
    "seenn_deploy/py.typed", "seenn_deploy/costs/*.json", "seenn_deploy/io/examples/*",
    "seenn_deploy/targets/lava/bundle/**/*.py", "seenn_deploy/targets/sanafe/bundle/*",
    "seenn_deploy/**/*.py",
)  # fmt: skip
IN_ARCHIVE = (
    *IN_WHEEL, "tests/**/*.py", "docs/**/*.md", "examples/*", "benchmarks/*.py", "tools/*.py",
    "Makefile", "constraints.txt", "LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml",
)  # fmt: skip
USE = """
import sys
import seenn_deploy as sd

files = sd.example()
program = sd.compile(sd.import_model(files.network, T=4), sd.exits.Confidence(0.9))
accuracy: float = sd.simulate(program, files.images).summary()["accuracy"]
assert accuracy == 0.8, accuracy
assert sd.__file__.startswith(sys.prefix), sd.__file__
"""


def main(folder: str = "dist") -> None:
    """Build, look inside, install and use; one line for each check."""
    out = Path(folder).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        archive, wheel = _build(out)
        _check_contents(archive, wheel)
        _check_same_bytes(wheel, Path(scratch))
        found = {version: _python(version) for version in PYTHONS}
        for version, python in found.items():
            if python:
                _use(wheel, version, python, Path(scratch) / version)
    missing = [version for version, python in found.items() if python is None]
    if missing:
        print(f"not tried, no such interpreter here: Python {', '.join(missing)}")
    if len(missing) == len(PYTHONS):
        sys.exit("error: no Python of 3.10 to 3.13 was found")


def _build(out: Path) -> tuple[Path, Path]:
    """The source archive, and the wheel that is built from it and nothing else."""
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}
    _run([sys.executable, "-m", "build", "--outdir", out, ROOT], env=environment)
    (archive,), (wheel,) = (
        sorted(out.glob(pattern), key=lambda file: file.stat().st_mtime)[-1:]
        for pattern in ("*.tar.gz", "*.whl")
    )
    print(f"built {archive.name} ({_kilobytes(archive)}), from it {wheel.name}", end=" ")
    print(f"({_kilobytes(wheel)})")
    return archive, wheel


def _check_contents(archive: Path, wheel: Path) -> None:
    """Every file of the repository that belongs in either is in it."""
    with tarfile.open(archive) as stored:
        in_archive = {name.partition("/")[2] for name in stored.getnames()}
    with zipfile.ZipFile(wheel) as packed:
        in_wheel = set(packed.namelist())
    for kind, names, patterns in (
        ("source archive", in_archive, IN_ARCHIVE), ("wheel", in_wheel, IN_WHEEL),
    ):  # fmt: skip
        wanted = {
            file.relative_to(ROOT).as_posix()
            for pattern in patterns
            for file in ROOT.glob(pattern)
            if file.is_file()
        }
        lacking = sorted(wanted - names)
        if lacking:
            sys.exit(f"error: the {kind} lacks {', '.join(lacking)}")
        print(f"the {kind} has all {len(wanted)} files of {', '.join(patterns)}")
    foreign = {name.partition("/")[0] for name in in_wheel if "dist-info" not in name}
    if foreign != {"seenn_deploy"} or not any(name.endswith("/LICENSE") for name in in_wheel):
        sys.exit(f"error: the wheel should hold seenn_deploy and LICENSE, it holds {foreign}")


def _check_same_bytes(wheel: Path, scratch: Path) -> None:
    """Built once more from the source archive, the wheel has the same bytes."""
    again = scratch / "again"
    archive = next(wheel.parent.glob(f"{wheel.name.split('-py3')[0]}.tar.gz"))
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}
    _run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", again, archive],
        env=environment, cwd=scratch,
    )  # fmt: skip
    if (again / wheel.name).read_bytes() != wheel.read_bytes():
        sys.exit("error: the same source archive gave two wheels of different bytes")
    print("the wheel has the same bytes when it is built again")


def _python(version: str) -> str | None:
    """An interpreter of that version: this one, on the PATH, or one of pyenv's."""
    if sys.version.startswith(f"{version}."):
        return sys.executable
    kept = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    places = [
        *sorted(kept.glob(f"{version}.*/bin/python{version}")),
        shutil.which(f"python{version}"),
    ]
    for place in places:  # pyenv's own shims answer for versions that are not switched on
        if (
            place
            and subprocess.run([place, "-c", ""], capture_output=True, check=False).returncode == 0
        ):
            return str(place)
    return None


def _use(wheel: Path, version: str, python: str, folder: Path) -> None:
    """Install the wheel alone, then run the first commands in an empty folder."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VIRTUAL_ENV", "SEENN"))
    }
    work = folder / "work"
    work.mkdir(parents=True)

    def run(*command: str | Path) -> str:
        return _run(command, env=environment, cwd=work)

    run(python, "-m", "venv", folder / "venv")
    own = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    run(own / "python", "-m", "pip", "install", "--quiet", wheel)
    installed = run(own / "python", "-m", "pip", "list", "--format", "freeze").split()
    heavy = [line for line in installed if line.startswith(("torch", "nvidia", "lava"))]
    if heavy:
        sys.exit(f"error: the core brought {', '.join(heavy)}")
    run(own / "seenn", "--help")
    run(own / "seenn", "example", "example")
    network = Path("example") / "resnet20_T4_cifar10.safetensors"
    run(own / "seenn-compile", network, "--alpha", "0.9", "-o", "build")
    run(own / "seenn", "compile", network, "--precision", "int8", "--target", "lava", "-o", "int8")
    shown = run(own / "seenn", "simulate", "build", "--data", Path("example") / "cifar10_50.npz")
    if "80.00 %" not in shown:
        sys.exit(f"error: the example should reach 80.00 %; simulate printed\n{shown}")
    (work / "use.py").write_text(USE, encoding="utf-8")
    run(own / "python", "use.py")
    _run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull,
         "--python-executable", own / "python", "use.py"], env=environment, cwd=work,
    )  # fmt: skip
    print(f"Python {version}: {len(installed)} packages, without torch; commands and types work")


def _run(command: object, **options: object) -> str:
    """Standard output of a command; where it fails, all that it said, and the end."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        sys.exit(f"error: {' '.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout


def _kilobytes(file: Path) -> str:
    return f"{file.stat().st_size / 1000:,.0f} kB"


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
