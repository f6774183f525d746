"""Compiler, simulator and deployment tool for early-exit spiking networks (SEENN).

>>> import seenn_deploy as sd
>>> files = sd.example()  # a trained network and 50 images that come with the package
>>> program = sd.compile(sd.import_model(files.network, T=4), sd.exits.Confidence(0.9))
>>> run = sd.simulate(program, files.images)
>>> run.summary()["accuracy"]
0.8
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from seenn_deploy import _moved

__version__ = "0.2.0"

# Public names and where they live; imported when first used: `import seenn_deploy` stays quick.
_NAMES = {
    "Program": "ir.program",
    "RunResult": "simulator.result",
    "SeennError": "errors",
    "SpikingGraph": "ir.graph",
    "calibrate": "evaluation.calibrate",
    "check": "verification.check",
    "compare": "evaluation.comparison.compare",
    "compile": "compiler.pipeline",
    "convert": "frontends.convert",
    "evaluate": "evaluation.evaluate",
    "example": "io.example",
    "import_model": "frontends.import_model",
    "inspect": "ir.inspection",
    "load": "evaluation.load",
    "map_to_chip": "compiler.mapping.place",
    "report": "evaluation.report.report",
    "run": "targets.devices",
    "run_placed": "evaluation.placed.run",
    "setup_lava": "targets.lava.interpreter",
    "simulate": "simulator.engine",
    "sweep": "evaluation.sweep.sweep",
    "verify": "verification.verify",
}
_MODULES = ("costs", "exits", "metrics", "training")

if TYPE_CHECKING:
    from seenn_deploy import costs, exits, metrics, training
    from seenn_deploy.compiler.mapping.place import map_to_chip
    from seenn_deploy.compiler.pipeline import compile
    from seenn_deploy.errors import SeennError
    from seenn_deploy.evaluation.calibrate import calibrate
    from seenn_deploy.evaluation.comparison.compare import compare
    from seenn_deploy.evaluation.evaluate import evaluate
    from seenn_deploy.evaluation.load import load
    from seenn_deploy.evaluation.placed.run import run_placed
    from seenn_deploy.evaluation.report.report import report
    from seenn_deploy.evaluation.sweep.sweep import sweep
    from seenn_deploy.frontends.convert import convert
    from seenn_deploy.frontends.import_model import import_model
    from seenn_deploy.io.example import example
    from seenn_deploy.ir.graph import SpikingGraph
    from seenn_deploy.ir.inspection import inspect
    from seenn_deploy.ir.program import Program
    from seenn_deploy.simulator.engine import simulate
    from seenn_deploy.simulator.result import RunResult
    from seenn_deploy.targets.devices import run
    from seenn_deploy.targets.lava.interpreter import setup_lava
    from seenn_deploy.verification.check import check
    from seenn_deploy.verification.verify import verify

__all__ = [
    "Program",
    "RunResult",
    "SeennError",
    "SpikingGraph",
    "calibrate",
    "check",
    "compare",
    "compile",
    "convert",
    "costs",
    "evaluate",
    "example",
    "exits",
    "import_model",
    "inspect",
    "load",
    "map_to_chip",
    "metrics",
    "report",
    "run",
    "run_placed",
    "setup_lava",
    "simulate",
    "sweep",
    "training",
    "verify",
]


_moved.install()


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        found = getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)
        globals()[name] = found  # over a module of the same name, which its import has put here
        return found
    if name in _MODULES or name in _moved.MOVED:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
