"""Files that would hang their library, fill the memory or bring the bytes of other files."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest

from seenn_deploy.errors import ModelError
from seenn_deploy.io import isolated
from seenn_deploy.io.nir.hdf5 import load
from seenn_deploy.io.onnx import running

WEIGHT = np.arange(12.0).reshape(3, 4)
Change = Callable[[Any], None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A small network in a file."""
    nodes = {
        "in": nir.Input({"input": np.array([4])}),
        "fc": nir.Linear(WEIGHT),
        "out": nir.Output({"output": np.array([3])}),
    }
    nir.write(tmp_path / "net.nir", nir.NIRGraph(nodes, [("in", "fc"), ("fc", "out")]))
    return tmp_path / "net.nir"


def replaced(path: Path, put: Change) -> None:
    with h5py.File(path, "a") as file:
        group = file["node/nodes/fc"]
        del group["weight"]
        put(group)


def test_what_a_file_holds_comes_back_as_it_is(path: Path) -> None:
    found = load(path)
    assert found["edges"] == [["in", "fc"], ["fc", "out"]]
    assert found["nodes"]["fc"]["type"] == "Linear"
    weight = found["nodes"]["fc"]["weight"]
    assert weight.dtype == np.float64 and weight.flags.writeable
    assert np.array_equal(weight, WEIGHT)


def _elsewhere(group: Any) -> None:
    raw = [(str(Path(group.file.filename).with_name("other")), 0, 96)]
    group.create_dataset("weight", (3, 4), "f8", external=raw)


def _virtual(group: Any) -> None:
    layout = h5py.VirtualLayout((3, 4), "f8")
    layout[...] = h5py.VirtualSource("other.nir", "w", (3, 4))
    group.create_virtual_dataset("weight", layout)


def _put(value: Any) -> Change:
    return lambda group: group.__setitem__("weight", value)


REFUSED: dict[str, tuple[Change, str]] = {
    "external link": (_put(h5py.ExternalLink("other.nir", "/w")), "is a link to another file"),
    "soft link": (_put(h5py.SoftLink("/node/nodes/fc/type")), "is a link to another place"),
    "raw data elsewhere": (_elsewhere, "its data lie in another file"),
    "virtual data set": (_virtual, "its data lie in another file"),
    "complex numbers": (_put(WEIGHT + 1j), "holds complex128, neither numbers nor text"),
    "records": (_put(np.zeros(3, [("a", "i4")])), r"holds .*, neither numbers nor text"),
    "4 GB declared": (
        lambda group: group.create_dataset("weight", (30000, 34000), "f4", chunks=(100, 100)),
        r"has shape \(30000, 34000\), .* more than 256 MiB",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_file_may_not_hold(path: Path, name: str) -> None:
    put, text = REFUSED[name]
    path.with_name("other").write_bytes(bytes(96))
    replaced(path, put)
    with pytest.raises(ModelError, match=f"/node/nodes/fc/weight: {text}") as error:
        load(path)
    assert "\n" not in str(error.value)


def test_a_group_within_itself(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["node/nodes/again"] = file["node"]
    with pytest.raises(ModelError, match="groups lie more than 64 deep"):
        load(path)


def test_a_file_that_never_ends(path: Path) -> None:
    """Groups that share their members twice each: 2 to the 60 of them."""
    with h5py.File(path, "a") as file:
        inner = file["node"].create_group("0")
        for i in range(1, 60):
            outer = file["node"].create_group(str(i))
            outer["a"], outer["b"] = inner, inner
            inner = outer
    began = time.monotonic()
    with pytest.raises(ModelError, match="longer than its size allows, so it is damaged"):
        load(path)
    assert time.monotonic() - began < 90


def test_memory_is_limited(tmp_path: Path) -> None:
    code = (
        "import numpy as np, sys; from pathlib import Path\n"
        "from seenn_deploy.io import isolated\n"
        "def contents(path): isolated.limit([path]); return np.ones(1 << 30)\n"
        "isolated.answer(contents)"
    )
    (tmp_path / "small").write_bytes(b"1234")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "small")],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert "holds more than 256 MiB" in done.stdout


def test_a_reader_that_breaks_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"1234")
    (tmp_path / "fails.py").write_text("import os; os.abort()")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=r"file: reading it breaks off \(SIGABRT\), so it is dam"):
        isolated.read("fails", tmp_path / "file", "")


def test_what_onnxruntime_breaks_off_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.onnx").write_bytes(b"1234")
    images = np.zeros((2, 1, 2, 2), np.float32)
    logits, why = running.run(tmp_path / "net.onnx", images, 1, 0)
    assert logits is None and why.startswith("onnxruntime cannot run it (")
    (tmp_path / "onnxruntime.py").write_text("import os; os.abort()")  # as its C++ code would
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=r"net.onnx: running it in onnxruntime breaks off \(SIGAB"):
        running.run(tmp_path / "net.onnx", images, 1, 0)


@pytest.mark.parametrize("eats", ["np.ones(1 << 30).sum()", "[None for _ in iter(int, 1)]"])
def test_what_onnxruntime_eats_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eats: str
) -> None:
    """A session that fills 8 GB at once, or piece by piece."""
    (tmp_path / "net.onnx").write_bytes(b"1234")
    (tmp_path / "onnxruntime.py").write_text(
        "import numpy as np\nfrom types import SimpleNamespace as SessionOptions\n"
        f"def InferenceSession(*given, **options): {eats}"
    )
    monkeypatch.syspath_prepend(tmp_path)
    logits, why = running.run(tmp_path / "net.onnx", np.zeros((1, 1, 2, 2), np.float32), 1, 0)
    assert logits is None and why.startswith("onnxruntime cannot run it (")


def test_a_system_without_limits(tmp_path: Path, path: Path) -> None:
    """Neither `resource`, `fcntl` nor what else only Linux has: files are read all the same."""
    code = (
        "import os, sys\n"
        "sys.modules['resource'] = sys.modules['fcntl'] = None\n"
        "del os.sched_getaffinity, os.posix_fallocate\n"
        "import numpy as np, seenn_deploy as sd\n"
        "from seenn_deploy.io import isolated\n"
        "isolated.limit([])\n"
        "files = sd.example()\n"
        "program = sd.compile(sd.import_model(files.network, T=2))\n"
        "x = np.load(files.images)['x'][:2]\n"
        "print(len(sd.simulate(program, x).logits))\n"
        "try: sd.simulate(program, x, out=sys.argv[1])\n"
        "except sd.SeennError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.splitlines()[0] == "2"
    assert "cannot be locked on this system" in done.stdout.splitlines()[1]
    assert not (tmp_path / "run").exists()


def test_a_package_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"1234")
    (tmp_path / "h5py.py").write_text("raise ImportError('not here')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match="file: get it"):
        isolated.read("seenn_deploy.io.nir.contents", tmp_path / "file", "get it")


def test_the_present_folder_is_not_imported_from(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "h5py.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    assert "nodes" in load(Path(path.name))
