"""Single processes of a bundle, driven by hand: ``process_runs.py BUNDLE CASES OUT``.

For the Lava interpreter. Each case of the JSON file gives messages to one process, a step each, and
gets back what it sent; all cases run in one interpreter.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np


def main(bundle: Path, cases: Path, out: Path) -> None:
    sys.path.insert(0, str(bundle))
    found = {}
    for name, case in json.loads(cases.read_text()).items():
        for port, sent in run(case).items():
            found[f"{name}/{port}"] = sent
    np.savez(out, **found)


def run(case: dict[str, Any]) -> dict[str, np.ndarray]:
    """Every message that a process sent through its observed ports."""
    from exits import integer
    from exits.base import make, rule_of
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source
    from processes.exit_controller import ExitController
    from processes.graded_add import GradedAdd
    from processes.reset_lif import ResetLIF

    kinds = {"lif": ResetLIF, "add": GradedAdd, "controller": ExitController}
    parameters = dict(case["parameters"])
    if "rule" in parameters:
        stored = parameters["rule"]
        rule = make(rule_of(import_module(f"exits.{stored['rule']}")), stored)
        fixed = case["tag"] == "fixed_pt"
        parameters["rule"] = integer.lower(rule, 0.01, max(parameters["length"])) if fixed else rule
    for key in ("shape", "bias"):
        if key in parameters:
            parameters[key] = (tuple if key == "shape" else np.array)(parameters[key])
    process = kinds[case["kind"]](**parameters)
    for port, messages in case["inputs"]:  # a port may have several senders
        data = np.array(messages)  # (steps, *shape)
        Source(data=np.moveaxis(data, 0, -1)).s_out.connect(getattr(process, port))
    steps = len(case["inputs"][0][1])
    sinks = {}
    for port in case["outputs"]:
        sinks[port] = Sink(shape=getattr(process, port).shape, buffer=steps)
        getattr(process, port).connect(sinks[port].a_in)
    process.run(RunSteps(num_steps=steps), Loihi2SimCfg(select_tag=case["tag"]))
    found = {port: np.moveaxis(sink.data.get(), -1, 0) for port, sink in sinks.items()}
    process.stop()
    return found


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
