"""``torch.export`` with errors of one line, and the place in the user's code behind each node."""

from __future__ import annotations

import copy
import logging
import re
import sysconfig
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.fx.proxy
from torch import Tensor, nn

from seenn_deploy.fidelity import FidelityReport
from seenn_deploy.frontends.torch.layers import Layer, OpaqueLayer, UseError
from seenn_deploy.frontends.torch.states import Timesteps

_LIBRARIES = tuple(str(Path(p).parent) for p in (torch.__file__, __file__))
_STANDARD = sysconfig.get_paths()["stdlib"]
_FRAMEWORKS = ("spikingjelly", "snntorch", "norse")
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
_OPERATOR = re.compile(r"(?:torch\.ops\.)?aten(?:\.|::)_?(\w+)(?:\.\w+)?")
_WORDS = {  # operators whose names are not what a user wrote
    "gt": "a comparison (>)", "ge": "a comparison (>=)", "lt": "a comparison (<)",
    "le": "a comparison (<=)", "eq": "a comparison (==)", "ne": "a comparison (!=)",
    "copy": "writing into a tensor", "select_scatter": "writing into a part of a tensor",
    "slice_scatter": "writing into a part of a tensor", "index_put": "writing into a tensor",
    "fill": "filling a tensor", "zero": "filling a tensor with zeros",
    "native_dropout": "dropout that is always on",
    "upsample_nearest2d": "upsampling (upsample_nearest2d)", "amax": "a maximum (amax)",
    "pow": "a power (pow)", "where": "a choice by values (where)",
    "or": "a logical or", "and": "a logical and", "xor": "a logical xor",
    "logical_not": "a logical not", "bitwise_not": "a logical not (~)",
    "lshift": "a shift of bits (<<)", "rshift": "a shift of bits (>>)",
    "masked_fill": "filling where a mask holds (masked_fill)", "pad": "padding (pad)",
    "native_batch_norm_legit_functional": "batch norm in training mode",
    "linalg_vector_norm": "a norm of a vector (norm)",
    "bitwise_or": "a logical or", "bitwise_and": "a logical and", "bitwise_xor": "a logical xor",
    "floor_divide": "a division without remainder (//)", "remainder": "a remainder (%)",
    "index": "indexing with a tensor", "bernoulli": "random spikes (bernoulli)",
}  # fmt: skip
_DATA_DEPENDENT = ("data-dependent", "DataDependent", "dynamic control flow")


def export(
    module: nn.Module, example_input: Tensor, report: FidelityReport, calls: int = 1
) -> tuple[Any, bool]:
    """Export some calls of a module to a program of high-level operators.

    Tell also whether the module resets spiking layers.

    Raises
    ------
    RefusedError
        When the module cannot be traced; the message names the line in the user's code.
    """
    # The copy shares them: they are only read, and would fill the memory twice.
    weights = {id(p): p for p in (*module.parameters(), *module.buffers())}
    traced = Timesteps(copy.deepcopy(module, weights), calls)
    resets = [part.seen for part in traced.modules() if isinstance(part, OpaqueLayer)]
    for seen in resets:
        seen.was_reset = False
    try:
        with torch.no_grad(), _quiet(), _whole_stacks():
            program = torch.export.export(traced, (example_input,), strict=False)
            with _operators_of(program):
                program = program.run_decompositions({})
            return program, any(seen.was_reset for seen in resets)
    except Exception as error:  # whatever the user's code and torch raise while tracing
        failure = error
    for part in traced.modules():
        if isinstance(part, OpaqueLayer) and part.calls.frames:
            line = _place([(f.filename, f.lineno or 0) for f in part.calls.frames])
            with report.gathering():
                refuse_neuron(part.layer, line, report)
    if any(word in f"{type(failure).__name__}: {failure}" for word in _DATA_DEPENDENT):
        with report.gathering():
            report.refuse(
                place_of_error(failure, traced.module),
                "data-dependent control flow: which operations run depends on values",
                "a graph holds one course of events; take the condition out",
            )
    report.stop()  # any other failure may come from what stands for these layers
    if isinstance(failure, UseError):
        where = place_of_error(failure, traced.module)
        report.refuse(where, str(failure), "call spiking layers, and do nothing else with them")
    given = f"{str(example_input.dtype).removeprefix('torch.')} {tuple(example_input.shape)}"
    _refuse(failure, place_of_error(failure, traced.module), given, report)


def _refuse(error: Exception, where: str, given: str, report: FidelityReport) -> NoReturn:
    if "fake tensor" in str(error):
        report.refuse(
            where,
            "it writes into weights or tensors of its own while it runs",
            "a graph's weights stay as they are; keep states in attributes or buffers",
        )
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    first = _OPERATOR.sub(r"\1", first)
    report.refuse(
        where,
        f"cannot be traced ({type(error).__name__}: {first.strip()})",
        f"the module must run on the example input, {given}, through torch.export",
    )


def refuse_neuron(layer: Layer, line: str, report: FidelityReport) -> NoReturn:
    """Refuse a spiking layer that no population can express."""
    report.refuse(
        _joined(f"{layer.name} ({layer.kind})", line),
        f"this {layer.what} is not supported: {layer.refusal}",
        f"see docs/torch.md for the {layer.what}s that are",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch.export, whose logs and warnings repeat what our own errors say."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def _whole_stacks() -> Iterator[None]:
    """Let nodes keep the lines of helper functions too, where torch's tracer has that hook.

    Without it they have only those of functions named ``forward``.
    """
    tracer, hook = torch.fx.proxy.TracerBase, "_filter_traceback_frames"
    before = getattr(tracer, hook, None)
    if before is None:
        yield
        return
    setattr(tracer, hook, _user_frames)
    try:
        yield
    finally:
        setattr(tracer, hook, before)


@contextmanager
def _operators_of(program: torch.export.ExportedProgram) -> Iterator[None]:
    """Keep the operators of a program whole, where torch's exporter has that hook.

    Without it a thousand others, that the program does not have, are prepared too: half the time.
    """
    exporter, hook = torch.export.exported_program, "_collect_all_valid_cia_ops"
    before = getattr(exporter, hook, None)
    is_whole = getattr(exporter, "_is_preservable_cia_op", None)
    if before is None or is_whole is None:
        yield
        return
    there = {node.target for node in program.graph.nodes if node.op == "call_function"}
    operators = {op for op in there if isinstance(op, torch._ops.OpOverload) and is_whole(op)}
    setattr(exporter, hook, lambda: set(operators))
    try:
        yield
    finally:
        setattr(exporter, hook, before)


def _user_frames(_: Any, stack: traceback.StackSummary) -> traceback.StackSummary:
    names = [frame.name for frame in stack]
    # From the user's own forward on, without libraries and code made on the fly.
    start = names.index("forward") if "forward" in names else len(names)
    kept = [f for f in stack[start:] if not f.filename.startswith((*_LIBRARIES, "<"))]
    return traceback.StackSummary.from_list(kept)


def place_of_error(error: Exception, module: nn.Module) -> str:
    """Name the innermost part of a module that was running, and the line in the user's code."""
    paths = {id(part): path for path, part in module.named_modules()}
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    running = [id(f.f_locals.get("self")) for f in frames]
    found = [paths[part] for part in running if part in paths]
    return _joined(found[-1] if found else "", _line_of_error(error)) or "forward"


def _line_of_error(error: Exception) -> str:
    frames = [(f.filename, f.lineno or 0) for f in traceback.extract_tb(error.__traceback__)]
    return _place(frames)


def operator_of(target: Any) -> str:
    """Name an operator as its user would."""
    name = str(target).removeprefix("aten.").split(".")[0].strip("_")
    return _WORDS.get(name, name)


def place_of(node: Any) -> str:
    """Name the module and the user's line behind a node: ``layer1.conv at model.py:12``."""
    return _joined(module_path(node), line_of(node)) or node.name


def _joined(path: str, line: str) -> str:
    return " at ".join(part for part in (path, line) if part)


def line_of(node: Any) -> str:
    """Name the user's line behind a node, ``model.py:12``; '' where it is not known."""
    stack = node.meta.get("stack_trace") or ""
    return _place([(m["file"], int(m["line"])) for m in _FRAME.finditer(stack)])


def module_path(node: Any) -> str:
    """Return the path of the innermost module that a node belongs to; '' is the module itself."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [entry[0] for entry in stack.values()]
    return str(paths[-1]).removeprefix("module").removeprefix(".") if paths else ""


def _place(frames: list[tuple[str, int]]) -> str:
    """Name the innermost frame of the user's code, or else of a framework's, or else none."""
    own = [f for f in frames if not f[0].startswith((*_LIBRARIES, "<")) and not _standard(f[0])]
    user = [f for f in own if not any(f"/{name}/" in f[0] for name in _FRAMEWORKS)]
    if not (user or own):
        return ""
    file, line = (user or own)[-1]
    return f"{Path(file).name}:{line}"


def _standard(file: str) -> bool:
    return file.startswith(_STANDARD) and "site-packages" not in file
