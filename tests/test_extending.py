"""docs/extending.md, run as it stands: files written where it says, code and commands in order."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?:`([\w./-]+\.(?:py|json))`:\n\n)?^```(\w+)\n(.*?)^```$", re.S | re.M)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, with its compiled kernels, and the new files of the document."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "seenn_deploy", folder / "seenn_deploy")
    for name, _, content in BLOCK.findall(TEXT):
        if name:
            assert not (folder / name).exists(), f"{name} would replace a file of the package"
            (folder / name).write_text(content, encoding="utf-8")
    return folder


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHON": sys.executable}
    return subprocess.run(
        command,
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def in_python(folder: Path, code: str) -> str:
    done = run(folder, sys.executable, "-c", code)
    assert done.returncode == 0, f"{code}\n{done.stderr}"
    return done.stdout


def in_shell(folder: Path, block: str) -> str:
    commands = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    seenn = 'seenn() { "$PYTHON" -m seenn_deploy "$@"; }'
    done = run(folder, "bash", "-ec", "\n".join([seenn, *commands]))
    assert done.returncode == 0, f"{block}\n{done.stderr}"
    return done.stdout


def test_every_example_runs(checkout: Path) -> None:
    assert in_python(checkout, "import seenn_deploy; print(seenn_deploy.__file__)").startswith(
        str(checkout)
    )
    for name, kind, content in BLOCK.findall(TEXT):
        if kind == "console":
            in_shell(checkout, content)
        elif kind == "python" and not name:
            in_python(checkout, content)
    report = json.loads((checkout / "figures.json").read_text())["report"]
    assert {f["status"] for f in report["import"]["findings"]} == {"faithful"}
    assert {f["status"] for f in report["export"]["half"]["findings"]} == {"approximated"}
    assert sorted(p.name for p in (checkout / "build" / "half").iterdir()) == [
        "input-layer0.npy", "layer0-out.npy", "report.json"
    ]  # fmt: skip
    swept = in_shell(checkout, "$ seenn sweep build/ --data images.npz --rules lead --out swept")
    (command,) = re.findall(r"^next +(.*-o) NEW_FOLDER *$", swept, re.M)
    assert command.endswith("--exit-file swept/rule.json -o")
    in_shell(checkout, f"$ {command.replace('seenn-compile', 'seenn compile')} again")
    strict = run(
        checkout, sys.executable, "-m", "seenn_deploy", "compile", "net.mlp", "--target", "half",
        "--strict", "-o", "strict",
    )  # fmt: skip
    assert strict.returncode == 2 and len(strict.stderr.splitlines()) == 1
    assert not (checkout / "strict").exists()


def test_there_is_one_example_of_each_kind() -> None:
    folders = [Path(name).parent.name for name, _, _ in BLOCK.findall(TEXT) if "/" in name]
    assert sorted(folders) == [
        "adapters",
        "costs",
        "exits",
        "frontends",
        "losses",
        "maps",
        "passes",
        "targets",
    ]


def test_new_files_are_found_by_their_names(checkout: Path) -> None:
    names = "from seenn_deploy import exits, costs, targets as t; print(*exits.names(), "
    found = in_python(checkout, names + "*costs.names(), *t.names())").split()
    assert {"lead", "horowitz45-int32", "half"} <= set(found)
    rule = "import seenn_deploy as sd; print(sd.exits.Lead(2.0).to_dict())"
    assert in_python(checkout, rule).strip() == "{'rule': 'lead', 'kappa': 2.0}"


def test_files_that_the_document_points_to_are_there() -> None:
    written = {name for name, _, _ in BLOCK.findall(TEXT)}
    for path in re.findall(r"`((?:seenn_deploy|tests)/[\w/.]+\.\w+)`", TEXT):
        assert path in written or (ROOT / path).is_file() or "NAME" in path, path
