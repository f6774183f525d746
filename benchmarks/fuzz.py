"""Mutated files for every reader: each is read, or refused in one line.

    python benchmarks/fuzz.py                         # 10,000 files
    python benchmarks/fuzz.py --files 300 --kinds nir onnx --seed 7
    python benchmarks/fuzz.py --kinds nir --only 1234 # one file again, with its traceback

What is read is compiled, saved and run on an image. Four things are wrong: an exception that is no
line for a user (a traceback), a file that takes longer than a minute (a hang), 1 GiB of memory, and
anything left on the disk by what was refused. Files are read in worker processes, which fork the
readers of HDF5 and ONNX instead of starting them anew; every 20th one is started as usual.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import os
import random
import resource
import shutil
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from io import BytesIO
from math import prod
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import seenn_deploy as sd  # noqa: E402
from seenn_deploy import ir  # noqa: E402
from seenn_deploy.errors import SeennError  # noqa: E402
from seenn_deploy.exits.policy_network import writing  # noqa: E402
from seenn_deploy.exits.policy_network.forward import Operation, PolicyNetwork  # noqa: E402
from seenn_deploy.frontends.base import Net  # noqa: E402
from seenn_deploy.io import folders, isolated  # noqa: E402

MEMORY, SECONDS, RECYCLED = 1 << 30, 60, 400
SHAPE, T = (3, 8, 8), 3
IMAGES = np.random.default_rng(0).random((4, *SHAPE)).astype(np.float32)
Rng = random.Random

# --- files that are in order ---------------------------------------------------------------------


def graph(source: ir.Source) -> ir.SpikingGraph:
    """A small network with synapses of several kinds."""
    rng = np.random.default_rng(1)
    net = Net(source, ir.Population("", ()))
    weight = rng.normal(0, 0.6, (4, source.shape[0], 3, 3))
    first = net.spike("first", (source.name, (ir.Conv2d(weight, padding=(1, 1)),)))
    dense = ir.Dense(rng.normal(0, 0.3, (6, 256)))
    second = net.spike("second", (first, (dense,)), bias=rng.normal(0, 0.1, 6))
    net.read_out("out", (second, (ir.Dense(rng.normal(0, 1, (5, 6))),)))
    return ir.SpikingGraph(net.nodes, net.projections, T=T)


def program(precision: str = "float32", rule: Any = None) -> sd.Program:
    """The network for images, compiled."""
    source = ir.Source("input", SHAPE, input_range=(0.0, 1.0))
    return sd.compile(graph(source), rule or sd.exits.Confidence(0.4), precision=precision)


def policy(choices: tuple[int, ...] = (1, 2, 3)) -> bytes:
    """A policy network as an ONNX file, which is an ANN to convert, too."""
    rng = np.random.default_rng(2)
    conv = {"weight": rng.normal(0, 0.4, (4, 3, 3, 3)), "bias": rng.normal(0, 0.1, 4)}
    dense = {"weight": rng.normal(0, 1, (len(choices), 4)), "bias": np.zeros(len(choices))}
    operations = (
        Operation("conv2d", (0,), conv, {"padding": 1}), Operation("relu", (1,)),
        Operation("average", (2,)), Operation("dense", (3,), dense),
    )  # fmt: skip
    return writing.to_onnx(PolicyNetwork(operations, choices), SHAPE, 5, T)


def corpus(folder: Path) -> None:
    """Write files that are in order, a folder of them for each kind of reader."""
    import onnx
    import torch
    from PIL import Image
    from safetensors.numpy import save_file

    from tests import checkpoints

    for kind in READERS:
        (folder / kind).mkdir()
    state = checkpoints.resnet(blocks=(1, 1, 1), channels=(3, 4, 5), size=8)
    torch.save(state, folder / "pth/net.pth")
    torch.save({"state_dict": state}, folder / "pth/old.pth", _use_new_zipfile_serialization=False)
    save_file({k: v.numpy() for k, v in state.items()}, folder / "safetensors/net.safetensors")
    program().save(folder / "work", targets=["nir"])
    shutil.copy(folder / "work/nir/network.nir", folder / "nir/net.nir")
    (folder / "policy/trained.onnx").write_bytes(policy())
    plain = onnx.load(folder / "policy/trained.onnx")
    del plain.metadata_props[:]
    for kind in ("policy", "onnx"):
        onnx.save(plain, folder / kind / "plain.onnx")
    for name, precision, rule in (
        ("float", "float32", sd.exits.Conformal(0.9, (0.1, 0.2, float("inf")))),
        ("int8", "int8", None),
        ("policy", "float32", sd.exits.Policy(folder / "policy/trained.onnx")),
    ):
        program(precision, rule).save(folder / "program" / name)
    sd.simulate(program(), IMAGES, [0, 1, 2, 3], out=folder / "run/run")
    pixels = (IMAGES.transpose(0, 2, 3, 1) * 255).astype(np.uint8)
    np.savez(folder / "images/float.npz", x=IMAGES, y=np.arange(4))
    np.savez_compressed(folder / "images/pixels.npz", x=pixels, y=np.arange(4))
    np.save(folder / "images/array.npy", IMAGES)
    for i, image in enumerate(pixels):
        place = folder / f"classes/images/{i}"
        place.mkdir(parents=True)
        Image.fromarray(image).save(place / f"a{('.png', '.jpg', '.bmp', '.tif')[i]}")
    (folder / "classes/images/4").mkdir()
    Image.fromarray(pixels[0]).save(folder / "classes/images/4/b.webp", lossless=True)
    encoded = [(folder / "classes/images/1/a.jpg").read_bytes()] * 3
    np.savez(
        folder / "images/packed.npz", jpeg=np.frombuffer(b"".join(encoded), np.uint8),
        offsets=np.cumsum([0, *map(len, encoded)]), labels=np.arange(3),
    )  # fmt: skip
    rng, n = np.random.default_rng(3), 60
    np.savez(
        folder / "recordings/events.npz", x=rng.integers(0, 8, n), y=rng.integers(0, 8, n),
        p=rng.integers(0, 2, n), t_us=np.sort(rng.integers(0, 9000, n)),
        offsets=np.array([0, 30, 60]), labels=np.array([0, 4]),
    )  # fmt: skip
    np.savez(folder / "recordings/frames.npz", x=rng.integers(0, 2, (2, T, 2, 8, 8)))


# --- readers -------------------------------------------------------------------------------------


def _model(path: Path, out: Path, **options: Any) -> None:
    found = sd.import_model(path, **options)
    sd.compile(found).save(out)
    _run(sd.Program.load(out))


def _run(found: sd.Program) -> None:
    """Run a program on one image, if that takes neither gigabytes nor minutes."""
    shape, work = found.graph.source.shape, sum(e.dense_macs for e in found.graph.projections)
    if prod(shape) * found.T > 1 << 20 or work * found.T > 1 << 28:
        return
    frames = (found.T,) if found.graph.source.coding == "events" else ()
    low, high = found.input_range
    x = np.full((1, *frames, *shape), max(low, min(high, 0.5)), np.float32)
    sd.simulate(found, x, threads=1).summary()


def _policy(path: Path, out: Path) -> None:
    changed = program(rule=sd.exits.Policy(path))
    changed.save(out)
    _run(sd.Program.load(out))


def _onnx(path: Path, out: Path) -> None:
    _model(path, out, T=T, calibration=IMAGES)


def _program(path: Path, out: Path) -> None:
    _run(sd.Program.load(path))


def _run_folder(path: Path, out: Path) -> None:
    with suppress(SeennError):
        sd.RunResult.load(path).summary()
    sd.simulate(program(), IMAGES, [0, 1, 2, 3], out=path, resume=True, threads=1).summary()


def _images(path: Path, out: Path) -> None:
    sd.simulate(program(), path, threads=1).summary()


def _recordings(path: Path, out: Path) -> None:
    source = ir.Source("input", (2, 8, 8), coding="events")
    sd.simulate(sd.compile(graph(source)), path, threads=1).summary()


def _checkpoint(path: Path, out: Path) -> None:
    _model(path, out, T=T, input_size=8)


READERS: dict[str, Callable[[Path, Path], None]] = {
    "pth": _checkpoint,
    "safetensors": _checkpoint,
    "nir": lambda path, out: _model(path, out, T=T),
    "onnx": _onnx,
    "policy": _policy,
    "program": _program,
    "run": _run_folder,
    "images": _images,
    "recordings": _recordings,
    "classes": _images,
}

# --- mutations -----------------------------------------------------------------------------------

_NUMBERS = (0, 1, -1, 255, 1 << 15, 1 << 31, (1 << 31) - 1, 1 << 40, (1 << 63) - 1)
_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2, 0.5, 1e300, 10**30, float("nan"), float("inf"), "", "conv2d", [], [[1]],
    {}, [3, 8, 8], [-1, 0],
)  # fmt: skip


def mutated(content: bytes, name: str, rng: Rng) -> bytes:
    """Change a file: its bytes, or what lies within its format."""
    formats = {
        ".npz": _zip, ".pth": _zip, ".json": _json, ".safetensors": _header, ".nir": _hdf5,
        ".onnx": _onnx_node,
    }  # fmt: skip
    inner = formats.get(Path(name).suffix)
    if inner and rng.random() < 0.5:
        try:
            return inner(content, rng)
        except (ValueError, KeyError, IndexError, TypeError, OSError, zipfile.BadZipFile):
            pass  # of another format, such as a checkpoint of before zip files
    return _bytes(content, rng)


def _bytes(content: bytes, rng: Rng) -> bytes:
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(min(len(data) + 1, rng.choice((400, 1 << 40))))  # headers more often
        how, size = rng.randrange(7), rng.choice((1, 2, 4, 8, 64, 512))
        if how <= 1 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif how == 2:
            data[at : at + size] = bytes(min(size, max(0, len(data) - at)))
        elif how == 3:
            data[at : at + 8] = struct.pack("<q", rng.choice(_NUMBERS))
        elif how == 4:
            data[at:at] = rng.randbytes(size)
        elif how == 5:
            other = rng.randrange(len(data) + 1)
            data[at : at + size] = data[other : other + size]
        elif rng.random() < 0.3:
            del data[at:]
        else:
            del data[at : at + size]
    return bytes(data)


def _zip(content: bytes, rng: Rng) -> bytes:
    """Change one member and write its checksum anew, so that it is read."""
    out = BytesIO()
    old, how = zipfile.ZipFile(BytesIO(content)), rng.choice((0, 8))
    with zipfile.ZipFile(out, "w", how) as new:
        victim = rng.choice(old.namelist())
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, _array(data, rng) if name == victim else data)
    return out.getvalue()


def _array(data: bytes, rng: Rng) -> bytes:
    """Change an array's shape, type or numbers, or bytes of anything else."""
    if not data.startswith(b"\x93NUMPY") or rng.random() < 0.4:
        return _bytes(data, rng)
    array = np.load(BytesIO(data))
    kinds = ("i1", "u8", "f2", "f8", "c8", "?", "U3", ">i4")
    numbers = array.astype("f8").ravel()
    if numbers.size:
        numbers[rng.randrange(numbers.size)] = rng.choice((np.nan, np.inf, -1, 1e300, 2.0**63, 7))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        changed = rng.choice((
            lambda: array.astype(rng.choice(kinds)), array.ravel, lambda: array[None],
            lambda: array[:1], lambda: array[:0], lambda: np.asfortranarray(array.T),
            lambda: numbers.reshape(array.shape).astype(rng.choice((array.dtype, "f8"))),
        ))()  # fmt: skip
    out = BytesIO()
    np.save(out, changed)
    return out.getvalue()


def _json(content: bytes, rng: Rng) -> bytes:
    """Replace a value somewhere, with the checksum as it should be, as it was, or without."""
    value = json.loads(content)
    place, key = value, rng.choice(list(value))
    while isinstance(place[key], dict | list) and place[key] and rng.random() < 0.9:
        place = place[key]
        key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
    place[key] = rng.choice(_VALUES)
    sealed = rng.random()
    if sealed < 0.9:
        value.pop(folders.CHECKSUM, None)
    if sealed < 0.6:
        value[folders.CHECKSUM] = folders._digest(json.loads(json.dumps(value)))
    return json.dumps(value).encode()


def _header(content: bytes, rng: Rng) -> bytes:
    """Change the header of a safetensors file."""
    (size,) = struct.unpack("<Q", content[:8])
    head = json.loads(content[8 : 8 + size])
    entry = head[rng.choice([k for k in head if k != "__metadata__"])]
    entry[rng.choice(list(entry))] = rng.choice(
        ("I8", "BF16", "F16", "F64", "BOOL", "F8_E4M3", "I64", [1], [0], [], [1 << 40], [0, 4], 3)
    )
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + size :]


def _hdf5(content: bytes, rng: Rng) -> bytes:
    """Change, rename or delete a data set, or put another kind of value there."""
    import h5py

    held = BytesIO(content)
    with h5py.File(held, "a") as file:
        found: list[str] = []
        file["node"].visititems(lambda name, item: found.append(f"node/{name}"))
        name = rng.choice(found)
        value = file[name][()] if isinstance(file[name], h5py.Dataset) else np.zeros(2)
        del file[name]
        if rng.random() < 0.1:
            return held.getvalue()
        if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "iuf":
            value = rng.choice((
                lambda: value * rng.choice((0, -1, 1e30, np.nan, 1 << 40)), lambda: value[()][None],
                lambda: np.ravel(value), lambda: np.ravel(value)[:1], lambda: np.float64(3),
                lambda: np.append(value, 1), lambda: np.zeros((3, 2, 2)), lambda: value > 0,
                lambda: np.asarray(value).astype("c8"), lambda: np.int64(1 << 50), lambda: "text",
            ))()  # fmt: skip
        else:
            value = rng.choice(("LIF", "Flatten", "Conv2d", "", b"\xff", 3, np.arange(4), np.nan))
        file[name] = value
    return held.getvalue()


def _onnx_node(content: bytes, rng: Rng) -> bytes:
    """Change an attribute, a tensor, an input or an operator of an ONNX file."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load_from_string(content)
    node = rng.choice(model.graph.node)
    how = rng.randrange(6)
    if how == 0 and node.attribute:
        old = rng.choice(node.attribute)
        value = rng.choice(
            (0, -1, 1 << 40, 1.5, "SAME_UPPER", [1], [0, 0], [2, 2, 2], [-1] * 4, [9, 9])
        )
        old.CopyFrom(helper.make_attribute(old.name, value))
    elif how == 1:
        tensor = rng.choice(model.graph.initializer)
        array = numpy_helper.to_array(tensor)
        changed = rng.choice((
            lambda: array.ravel()[:1], lambda: array[None], array.ravel, lambda: array * np.nan,
            lambda: array.astype("f8"), lambda: array.astype("i1"), lambda: array[:0],
            lambda: array * 1e38, lambda: np.float32(2), lambda: array > 0,
        ))()  # fmt: skip
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(changed), tensor.name))
    elif how == 2 and node.input:
        names = [t.name for t in model.graph.initializer] + ["image", "", "nowhere"]
        node.input[rng.randrange(len(node.input))] = rng.choice(names)
    elif how == 3:
        node.op_type = rng.choice(
            ("Relu", "Gemm", "Conv", "Add", "Div", "Clip", "Reshape", "Flatten", "MatMul", "Shape",
             "GlobalAveragePool", "AveragePool", "BatchNormalization", "ReduceMean", "Loop")
        )  # fmt: skip
    elif how == 4:
        size = rng.choice(model.graph.input[0].type.tensor_type.shape.dim)
        size.dim_value = rng.choice((0, -1, 1, 4, 1 << 20, 1 << 40))
    elif rng.random() < 0.5:
        model.graph.node.remove(node)
    else:
        model.opset_import[0].version = rng.choice((0, 1, 9, 13, 21, 999))
    for prop in model.metadata_props:
        if rng.random() < 0.3:
            prop.value = _json(prop.value.encode(), rng).decode()
    return model.SerializeToString()


def _empty(path: Path) -> Path:
    """Make the folder of a path anew, with nothing in it."""
    shutil.rmtree(path.parent, ignore_errors=True)
    path.parent.mkdir()
    return path


def prepared(kind: str, number: int, seed: int, files: Path, place: Path) -> Path:
    """Copy a file or folder of a kind to `place` with a change that its number decides."""
    rng = Rng(f"{seed} {kind} {number}")
    original = rng.choice(sorted((files / kind).iterdir()))
    path = place / original.name
    if original.is_file():
        path.write_bytes(mutated(original.read_bytes(), original.name, rng))
        return path
    shutil.copytree(original, path)
    victim = rng.choice(sorted(p for p in path.rglob("*") if p.is_file()))
    content = mutated(victim.read_bytes(), victim.name, rng)
    if victim.suffix == ".npy" and rng.random() < 0.5:
        content = _array(victim.read_bytes(), rng)
    victim.write_bytes(content)
    manifest = path / folders.MANIFEST
    if kind == "program" and victim != manifest and rng.random() < 0.7:  # the checksum is right
        stored = json.loads(manifest.read_text())
        stored["sha256"][victim.name] = folders.sha256(victim)
        folders.write_manifest(manifest, {k: v for k, v in stored.items() if k != "checksum"})
    if rng.random() < 0.02:
        victim.unlink()
    return path


# --- the work ------------------------------------------------------------------------------------


def verdict(kind: str, number: int, seed: int, files: Path, loud: bool = False) -> str:
    """Read one mutated file: 'read', 'refused', or what is wrong."""
    isolated._run = STARTED if number % 20 == 0 else forked
    with tempfile.TemporaryDirectory() as folder:
        place, out, spare = (Path(folder, name) for name in ("given", "out", "spare"))
        place.mkdir(), spare.mkdir()
        tempfile.tempdir = str(spare)
        path = prepared(kind, number, seed, files, place)
        before = sorted(place.iterdir())
        try:
            READERS[kind](path, out)
            found = "read"
        except (SeennError, OSError) as error:
            found = "refused" if _one_line(error) else f"WRONG: not one line: {error!r}"
        except ValueError as error:  # of an exit rule, which bundles have without our errors
            right = str(path) in str(error) and _one_line(error) and kind == "policy"
            found = "refused" if right else f"WRONG: {_traceback(error)}"
        except Exception as error:
            found = f"WRONG: {_traceback(error)}"
            if loud:
                traceback.print_exc()
        finally:
            tempfile.tempdir = None
        if found == "refused" and (out.exists() or sorted(place.iterdir()) != before):
            found = "WRONG: something half-written is left"
        if any(spare.iterdir()) or any(p.name.startswith(".out") for p in Path(folder).iterdir()):
            found = "WRONG: temporary files are left"
    return found


def _one_line(error: Exception) -> bool:
    text = str(error)
    return bool(text) and "\n" not in text and len(text) < 3000


def _traceback(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    ours = [f for f in traceback.extract_tb(error.__traceback__) if "seenn_deploy" in f.filename]
    where = ours[-1] if ours else frame
    text = " ".join(str(error).split())[:90]
    return f"{type(error).__name__}: {text} ({Path(where.filename).name}:{where.lineno})"


STARTED = isolated._run


def forked(command: list[str], settings: Any, cwd: str, out: Any, seconds: float) -> int:
    """What `isolated` does with a new interpreter, in a fork of this process."""
    module, *given = command[command.index("-m") + 1 :]
    reader = import_module(module)
    process = os.fork()
    if not process:
        try:
            os.dup2(out.fileno(), 1)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            sys.argv, sys.stdout = [module, *given], os.fdopen(1, "w")
            isolated.answer(reader.contents)
            sys.stdout.flush()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def worker(link: Connection, files: Path) -> None:
    """Take cases until there is none, and answer each with its verdict and the memory it took."""
    import h5py  # noqa: F401 - so that forks have it
    import onnx.reference  # noqa: F401
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    for kind, number, seed in iter(link.recv, None):
        found = verdict(kind, number, seed, files)
        used = max(
            resource.getrusage(who).ru_maxrss << 10
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        link.send((found if used < MEMORY else f"WRONG: {used >> 20} MiB of memory", used))


class Pool:
    """Worker processes, of which one that hangs or dies is replaced."""

    def __init__(self, count: int, files: Path) -> None:
        self.files = files
        self.workers = [self._start() for _ in range(count)]
        self.most = 0

    def _start(self) -> dict[str, Any]:
        ours, theirs = mp.Pipe()
        process = mp.get_context("spawn").Process(target=worker, args=(theirs, self.files))
        process.start()
        theirs.close()
        return {"process": process, "link": ours, "case": None, "since": 0.0, "done": 0}

    def run(self, cases: list[tuple[str, int, int]]) -> dict[tuple[str, int, int], str]:
        """Return the verdict on every case."""
        found: dict[tuple[str, int, int], str] = {}
        waiting = cases[::-1]
        while len(found) < len(cases):
            for i, one in enumerate(self.workers):
                if one["case"] is None and waiting:
                    if one["done"] >= RECYCLED:  # its peak of memory is of all its cases
                        one["link"].send(None)
                        self.workers[i] = self._start()
                    self.workers[i] |= {"case": waiting.pop(), "since": time.monotonic()}
                    self.workers[i]["link"].send(self.workers[i]["case"])
            busy = {one["link"]: i for i, one in enumerate(self.workers) if one["case"]}
            for link in wait(list(busy), timeout=1):
                self._take(busy[link], found)
            for i, one in enumerate(self.workers):
                slow = SECONDS * (3 if one["done"] == 0 else 1)  # the first compiles kernels
                if one["case"] and time.monotonic() - one["since"] > slow:
                    found[one["case"]] = f"WRONG: hangs for {slow} s"
                    one["process"].kill()
                    self.workers[i] = self._start()
        for one in self.workers:
            one["link"].send(None)
        return found

    def _take(self, i: int, found: dict[tuple[str, int, int], str]) -> None:
        one = self.workers[i]
        try:
            verdict, used = one["link"].recv()
            self.most = max(self.most, used)
        except EOFError:
            one["process"].join()
            verdict = f"WRONG: the process died ({one['process'].exitcode})"
        found[one["case"]], one["case"] = verdict, None
        one["done"] += 1
        if verdict.startswith("WRONG: ") and ("died" in verdict or "memory" in verdict):
            one["process"].kill()
            self.workers[i] = self._start()


def main() -> int:
    """Read mutated files and print what became of them; 1 where anything is wrong."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--files", type=int, default=10_000)
    arguments.add_argument("--kinds", nargs="+", choices=READERS, default=list(READERS))
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--only", type=int)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder)
        corpus(files)
        for kind, read in READERS.items():  # a file that nobody mutated must be read
            for original in sorted((files / kind).iterdir()):
                copy = files / "copy" / original.name
                (shutil.copytree if original.is_dir() else shutil.copy)(original, _empty(copy))
                read(copy, files / "copy" / "out")
        if given.only is not None:
            print(verdict(given.kinds[0], given.only, given.seed, files, loud=True))
            return 0
        each = [divmod(given.files, len(given.kinds))[0] + (i < given.files % len(given.kinds))
                for i in range(len(given.kinds))]  # fmt: skip
        cases = [(k, n, given.seed) for k, count in zip(given.kinds, each, strict=True)
                 for n in range(count)]  # fmt: skip
        began, pool = time.monotonic(), Pool(given.workers, files)
        found = pool.run(cases)
    return printed(found, pool.most, time.monotonic() - began)


def printed(found: dict[tuple[str, int, int], str], most: int, seconds: float) -> int:
    """Print a row for each kind, and what is wrong with how to see it again."""
    wrong = {case: text for case, text in found.items() if text.startswith("WRONG")}
    print(f"{'reader':12} {'files':>6} {'read':>6} {'refused':>8} {'wrong':>6}")
    for kind in dict.fromkeys(kind for kind, *_ in found):
        of = Counter(text.split(":")[0] for (k, *_), text in found.items() if k == kind)
        print(f"{kind:12} {of.total():6} {of['read']:6} {of['refused']:8} {of['WRONG']:6}")
    print(f"{len(found)} files in {seconds:.0f} s, at most {most >> 20} MiB, {len(wrong)} wrong")
    for text, times in Counter(wrong.values()).most_common(40):
        kind, number, seed = next(case for case, t in wrong.items() if t == text)
        print(f"  {times:4} x {text[7:]}   --kinds {kind} --seed {seed} --only {number}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
