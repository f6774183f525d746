"""Conversion of ANN files to spiking programs: :func:`convert`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seenn_deploy._typing import checked_types
from seenn_deploy.errors import ModelError
from seenn_deploy.exits import ExitRule
from seenn_deploy.ir.program import Program
from seenn_deploy.ir.schedule import Schedule


@checked_types
def convert(
    model: str | Path,
    exit_rule: ExitRule | None = None,
    precision: str = "float32",
    schedule: Schedule = "sequential",
    strict: bool = False,
    allow: Sequence[str] = (),
    input_range: tuple[float, float] | None = None,
    **options: Any,
) -> Program:
    """Convert an ANN to a spiking program.

    Parameters
    ----------
    model : str or Path
        A state_dict with QCFS activations (:func:`seenn_deploy.frontends.qcfs.build`), or ``.onnx``
        (:func:`seenn_deploy.frontends.onnx.read`).
    exit_rule, precision, schedule
        As in :func:`seenn_deploy.compile`.
    strict : bool
        Whether to refuse a network that can only be approximated.
    allow : names
        Layers that `strict` lets be approximated, or the file's name or ``int8`` for all of them.
    input_range : (float, float), optional
        As in :func:`seenn_deploy.compile`; `calibration` serves both.
    **options
        Options of these frontends: T, mean, std, .. and, for ONNX, calibration and percentile.

    Raises
    ------
    ModelError
        When the file cannot be read, or is a spiking network already.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> program = sd.convert("ann.onnx", sd.exits.Confidence(0.9), T=8)
    >>> program.T, program.provenance.frontend
    (8, 'onnx')
    """
    from seenn_deploy.compiler.pipeline import compile
    from seenn_deploy.frontends.import_model import read_file

    graph, frontend = read_file(Path(model), options)
    graph.provenance.check(strict, allow)
    if not getattr(frontend, "CONVERTS", False):
        raise ModelError(
            f"{model}: {graph.provenance.family} spikes already, there is nothing to convert; "
            "use seenn compile"
        )
    samples = options.get("calibration") if precision != "float32" else None
    return compile(
        graph, exit_rule, precision=precision, schedule=schedule, input_range=input_range,
        calibration=samples, strict=strict, allow=allow,
    )  # fmt: skip
