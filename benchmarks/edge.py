"""Instructions of a Cortex-M4 by image: exits, all T timesteps, and a dense ANN of the same layers.

    python -m pip install emx-onnx-cgen            # generates the ANN's C; or `make bench-tools`
    python benchmarks/edge.py                      # three networks, 20 images each
    python benchmarks/edge.py --layers edge        # of one, layer by layer and step by step; no ANN

QEMU counts instructions (``-icount``), the same number in every run; each network is run twice, and
other numbers are an error. An instruction is not a cycle and not a joule, and neither is claimed.

The ANN has the layers, strides and int8 weights of the SNN's program, and ReLU in place of its
neurons: sums of 32 bits, a shift back to 8 bits, nothing else. It is written as an ONNX graph of
integer operators (ConvInteger, Add, Max, BitShift, Min), from which emx-onnx-cgen generates C. Its
weights are not trained for that, so its answers mean nothing; they are compared with onnxruntime's.
Its loops are the same for any weights, so the count is that of a trained network. Both are built by
the same compiler with the same options.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

import seenn_deploy as sd  # noqa: E402
from seenn_deploy import ir  # noqa: E402
from seenn_deploy.targets.base import Request  # noqa: E402
from seenn_deploy.targets.c import protocol  # noqa: E402
from seenn_deploy.targets.c.bundle import Bundle  # noqa: E402
from seenn_deploy.targets.c.devices.qemu_cortex_m4 import Device  # noqa: E402
from seenn_deploy.targets.c.emulator import SEMIHOSTING  # noqa: E402

TICKS = 8 / 5  # of the board's timer, an instruction; see edge_board/meter.h
# Beside this Python, as `make bench` has it, or on the PATH.
PLACES = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
GENERATOR = shutil.which("emx-onnx-cgen", path=PLACES)
HARNESS = ROOT / "benchmarks/edge_board"
OPTIONS = ("-O2", "-std=c99")
Array = np.ndarray


def edge_network() -> sd.SpikingGraph:
    """The network of examples/edge_net.py."""
    import torch
    from edge_net import trained

    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    return sd.import_model(trained(), torch.rand(1, 3, 32, 32), mean=mean, std=std)


def checkpoint(name: str) -> Callable[[], sd.SpikingGraph]:
    """A network of a state dict in examples/."""
    return lambda: sd.import_model(ROOT / "examples" / name, T=4)


NETWORKS = {
    "edge": edge_network,
    "resnet20": checkpoint("resnet20_T4_cifar10.pth"),
    "resnet19": checkpoint("seenn_resnet19_w1_T4_c10.pth"),
}


def main() -> int:
    """Count, print a row for each network, or with --layers one for each layer."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--images", type=int, default=20)
    arguments.add_argument("--alpha", type=float, default=0.9, help="of the confidence rule")
    arguments.add_argument("--networks", choices=NETWORKS, nargs="+", default=list(NETWORKS))
    arguments.add_argument("--layers", choices=NETWORKS, help="layer by layer, of this one")
    given = arguments.parse_args()
    images = np.load(ROOT / "examples/cifar10_200.npz")["x"][: given.images]
    images = images.transpose(0, 3, 1, 2) / np.float32(255)
    console = Console(width=100, soft_wrap=True)
    if given.layers:
        program = compiled(NETWORKS[given.layers], given.alpha)
        console.print(layer_table(program, snn(program, images)))
        return 0
    if GENERATOR is None:
        sys.exit("emx-onnx-cgen is not here; python -m pip install emx-onnx-cgen")
    columns = ("MACs, dense", "mean exit", "to step 1..T", "with exits", "ANN", "ANN / with exits")
    table = Table("network", *columns, title="millions of instructions an image")
    for name in given.networks:
        program = compiled(NETWORKS[name], given.alpha)
        table.add_row(name, *row(program, snn(program, images), ann(program, images[:2])))
    console.print(table)
    return 0


def compiled(make: Callable[[], sd.SpikingGraph], alpha: float) -> sd.Program:
    return sd.compile(make(), sd.exits.Confidence(alpha), precision="int8")


def row(program: sd.Program, counted: Counted, dense: float) -> list[str]:
    """A network's figures: means over the images, in millions of instructions."""
    exits = counted.to_exit.mean()
    by_step = " ".join(f"{n / 1e6:.2f}" for n in counted.steps.mean(0).cumsum())
    macs = sum(edge.dense_macs for edge in program.graph.projections)
    return [
        f"{macs:,}", f"{counted.exit_step.mean():.2f}", by_step, f"{exits / 1e6:.2f}",
        f"{dense / 1e6:.2f}", f"{dense / exits:.2f}",
    ]  # fmt: skip


# --- the board ---------------------------------------------------------------------------------


def run_twice(sources: list[Path], options: tuple[str, ...], work: Path) -> list[list[str]]:
    """Build for the board and run; return the words of each line, which two runs have to share."""
    board = Device.__new__(Device)  # its options need no folder
    for file in (ROOT / "seenn_deploy/targets/c/boards").iterdir():
        shutil.copy(file, work)
    # The generated ANN keeps all of its activations on the stack: in the 16 MB of PSRAM.
    memory = (work / "mps2.ld").read_text()
    (work / "mps2.ld").write_text(memory.replace("(RAM) + LENGTH(RAM)", "(PSRAM) + LENGTH(PSRAM)"))
    built = work / "run.elf"
    command = [board.compiler.path, *OPTIONS, f"-I{HARNESS}", *options, *board.options(work)]
    subprocess.run([*command, *map(str, sources), "-lm", "-o", str(built)], check=True)
    emulator = [board.emulator.path, *board.machine_options, *SEMIHOSTING,
                "-icount", "shift=6", "-kernel", str(built)]  # fmt: skip
    said = [
        subprocess.run(emulator, cwd=work, check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    if said[0] != said[1]:
        sys.exit("two runs counted other instructions")
    return [line.split() for line in said[0].splitlines()]


@dataclass(frozen=True)
class Counted:
    """Instructions of N images to T: by layer (N, T, layers), and the step that each exits at.

    The last layer is the readout, with the exit rule.
    """

    layers: Array
    exit_step: Array

    @property
    def steps(self) -> Array:
        """By timestep, (N, T)."""
        return self.layers.sum(2)

    @property
    def to_exit(self) -> Array:
        """Up to the exit, (N,)."""
        ran = np.arange(self.steps.shape[1]) < self.exit_step[:, None]
        return (self.steps * ran).sum(1)


def snn(program: sd.Program, images: Array) -> Counted:
    """Count the C target's instructions."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        program.save(work / "build", ["c"])
        bundle = Bundle.read(work / "build/c")
        asked = protocol.requests(bundle, images, Request())
        (work / "samples.bin").write_bytes(b"".join(request[5:] for request in asked))
        sources = [bundle.folder / "net.c", bundle.folder / "weights.c"]
        harness = HARNESS / "snn.c"
        lines = run_twice([*sources, harness], ("-DNET_TRACE", f"-I{bundle.folder}"), work)
    numbers = [p["layer"] for p in bundle.spec["populations"]]
    layers = np.zeros((len(images), program.T, len(numbers) + 1))
    exits = np.full(len(images), program.T)
    empty = 0.0
    for what, *rest in lines:
        values = [int(word) for word in rest]
        if what == "empty":
            empty = values[0] / TICKS
        elif what == "layer":
            n, t, layer, ticks = values
            layers[n, t - 1, numbers.index(layer)] = ticks / TICKS - empty
        else:
            n, t, ticks, stop = values
            layers[n, t - 1, -1] = ticks / TICKS - empty
            exits[n] = min(exits[n], t) if stop == 1 else exits[n]
    expected = sd.simulate(program, images).exit_step
    if not np.array_equal(exits, expected):
        sys.exit("the board's exits are not the simulator's")
    return Counted(layers, exits)


def layer_table(program: sd.Program, counted: Counted) -> Table:
    """Means over the images, in thousands of instructions."""
    title = f"thousands of instructions, mean of {len(counted.layers)} images"
    columns = (*(f"t = {t + 1}" for t in range(program.T)), "mean to the exit")
    table = Table("layer", *columns, title=title)
    ran = np.arange(program.T) < counted.exit_step[:, None]
    to_exit = (counted.layers * ran[..., None]).sum(1).mean(0)
    names = [node.name for node in program.graph.populations]
    by_step = counted.layers.mean(0).T
    for name, steps, until in zip([*names, "readout, exit rule"], by_step, to_exit, strict=True):
        table.add_row(name, *(f"{n / 1e3:,.1f}" for n in (*steps, until)))
    table.add_section()
    steps = by_step.sum(0)
    table.add_row("in sum", *(f"{n / 1e3:,.1f}" for n in (*steps, to_exit.sum())))
    table.add_row("to an exit at t", *(f"{n / 1e3:,.1f}" for n in steps.cumsum()))
    return table


# --- the ANN -----------------------------------------------------------------------------------


def ann(program: sd.Program, images: Array) -> float:
    """Count the instructions an image of the same network, dense and with ReLU."""
    import onnxruntime

    model, least = dense_model(program)
    source = program.graph.source
    raw = np.rint((images.astype(np.float64) - source.offset) * source.scale) - least
    pixels = raw.astype(np.uint8)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        onnx.save(model, work / "ann.onnx")
        (work / "samples.bin").write_bytes(pixels.tobytes())
        subprocess.run(
            [str(GENERATOR), "compile", "--large-temp-threshold", "0", "--large-weight-threshold",
             "0", "--model-name", "ann", "ann.onnx", "ann.c"],
            cwd=work, check=True, capture_output=True,
        )  # fmt: skip
        channels, height, width = source.shape
        sizes = (f"-DCHANNELS={channels}", f"-DHEIGHT={height}", f"-DWIDTH={width}",
                 f"-DCLASSES={program.graph.readout.shape[0]}")  # fmt: skip
        harness = HARNESS / "ann.c"
        lines = run_twice([work / "ann.c", harness], sizes, work)
        session = onnxruntime.InferenceSession(work / "ann.onnx")
        want = np.concatenate([session.run(None, {"image": p[None]})[0] for p in pixels])
    if not np.array_equal(np.array([line[3:] for line in lines], np.int64), want):
        sys.exit("the generated ANN's logits are not onnxruntime's")
    # Its loops are the same for every image; what a comparison takes or not is all that may differ.
    return float(np.mean([int(line[2]) for line in lines])) / TICKS


class Dense:
    """The ONNX graph while it is made."""

    def __init__(self, program: sd.Program) -> None:
        self.program, self.nodes, self.constants = program, [], []
        source = program.graph.source
        low, high = (round((v - source.offset) * source.scale) for v in program.input_range)
        assert high - low <= 255, "an ANN of 8-bit pixels"
        self.least = low
        self.sent = {source.name: "image"}
        self.zero = {source.name: -low}

    def constant(self, values: Any, kind: Any) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def arriving(self, node: ir.Node, bias: Array) -> str:
        """The sum of a layer's currents and its bias."""
        total = self.constant(bias[None], np.int32)
        for edge in self.program.graph.into(node.name):
            total = self.add("Add", total, current(edge.synapses, self, edge.pre))
        return total

    def neurons(self, node: ir.Population) -> None:
        """ReLU, and a shift by which a value of 64 is about what one spike stands for."""
        bias = np.asarray(node.bias).astype(np.int64) >> 6  # at the scale of potentials
        graph = self.program.graph
        analog = any(graph.node(edge.pre).analog for edge in graph.into(node.name))
        shift = max(0, round(np.log2(float(node.v_threshold) / (64 if analog else 1))))
        positive = self.add("Max", self.arriving(node, bias), self.constant(0, np.int32))
        whole = self.add("Cast", positive, to=TensorProto.UINT32)
        shifted = self.add("BitShift", whole, self.constant(shift, np.uint32), direction="RIGHT")
        limited = self.add("Min", shifted, self.constant(255, np.uint32))
        self.sent[node.name] = self.add("Cast", limited, to=TensorProto.UINT8)
        self.zero[node.name] = 0


@singledispatch
def current(synapses: ir.Synapses, dense: Dense, pre: str) -> str:
    """The int32 current by synapses of a kind."""
    raise SystemExit(f"{synapses.kind}: this benchmark has no dense form of it")


@current.register
def _(conv: ir.Conv2d, dense: Dense, pre: str) -> str:
    weight = dense.constant(conv.weight, np.int8)
    zero = dense.constant(dense.zero[pre], np.uint8)
    return dense.add(
        "ConvInteger", dense.sent[pre], weight, zero,
        strides=conv.stride, pads=(*conv.padding, *conv.padding), dilations=conv.dilation,
        group=conv.groups,
    )  # fmt: skip


@current.register
def _(identity: ir.Identity, dense: Dense, pre: str) -> str:
    whole = dense.add("Cast", dense.sent[pre], to=TensorProto.INT32)
    return dense.add("Mul", whole, dense.constant(int(identity.weight), np.int32))


@current.register
def _(pooled: ir.PooledDense, dense: Dense, pre: str) -> str:
    shape = dense.program.graph.node(pre).shape
    assert tuple(pooled.kernel) == tuple(shape[1:]), "a pool over the whole image"
    whole = dense.add("Cast", dense.sent[pre], to=TensorProto.INT32)
    axes = dense.constant([2, 3], np.int64)
    total = dense.add("ReduceSum", whole, axes, keepdims=0)
    return dense.add("MatMul", total, dense.constant(pooled.weight.T, np.int32))


def dense_model(program: sd.Program) -> tuple[onnx.ModelProto, int]:
    """The ONNX model, and the value that a pixel of 0 stands for."""
    made, graph = Dense(program), program.graph
    for node in graph.populations:
        made.neurons(node)
    readout = graph.readout
    bias = np.broadcast_to(np.asarray(readout.bias), readout.shape)
    last = made.arriving(readout, bias)
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, (1, *graph.source.shape))
    logits = helper.make_tensor_value_info(last, TensorProto.INT32, (1, *readout.shape))
    body = helper.make_graph(made.nodes, "ann", [image], [logits], made.constants)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model, made.least


if __name__ == "__main__":
    sys.exit(main())
