"""Run the network of this folder on the chip that SANA-FE simulates.

    python run.py --data x.npy -o out

x.npy: float32 (N, C, H, W), or (N, T, C, H, W) for event data, as the network takes it. The folder
`out` gets

- ``logits.npy`` (N, T, M) float64 and ``integer_logits.npy``, int64;
- ``exit_step.npy`` (N,): the timestep at which each sample stopped, from 1;
- ``start.npy`` (N,): the hardware step, from 0, that sent its first frame;
- ``hardware_steps.npy`` (N,): from there to the answer; ``injected.npy`` (N,): timesteps sent;
- with a policy network ``policy_scores.npy`` (N, K) int64, one per choice;
- ``measured/<name>.npy``: what SANA-FE counted in each hardware step, all samples in one go:
  messages, hops, synapse_events, updates, spikes; energies synapse_J, neuron_J, network_J; time_s;
- ``run.json``, and with --record ``spikes/<population>.npy`` (N, T, ...) bool and
  ``v/<population>.npy``, int32.

Timesteps after a sample's exit are NaN, False and 0, unless --full-trace runs every sample to T or
--wasted keeps what was injected before the exit was known. Exit codes: 0 done, 2 the input is
wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import files
import numpy as np
from waves import Run, Waves

HERE = Path(__file__).resolve().parent
KIND = "seenn-deploy sanafe bundle", 1


def main(arguments: list[str] | None = None) -> int:
    """Read, check, run, write. Returns the exit code."""
    options = _parse(arguments)
    try:
        spec, arrays = files.read_bundle(HERE, KIND)
        frames = files.read_frames(options.data, spec)
        with files.Results(options.out) as results:
            _run(spec, arrays, frames, options, results)
    except files.InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the network of this folder on SANA-FE.")
    parser.add_argument("--data", type=Path, required=True, help="samples, a .npy file")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--record", action="store_true", help="keep every population's spikes and v"
    )
    parser.add_argument("--wasted", action="store_true", help="keep what ran after the exit too")
    parser.add_argument("--full-trace", action="store_true", help="run every sample to T")
    parser.add_argument(
        "--timing", choices=("simple", "detailed"), default="simple",
        help="simple: the busiest core; detailed: with messages that wait for each other",
    )  # fmt: skip
    return parser.parse_args(arguments)


def _run(
    spec: dict[str, Any],
    arrays: dict[str, np.ndarray],
    frames: np.ndarray,
    options: argparse.Namespace,
    results: files.Results,
) -> None:
    from inputs import Inputs

    inputs = Inputs(spec, arrays, frames)
    chip = _chip(spec, arrays, options, inputs.unit)
    began = time.perf_counter()
    ran = Waves(spec, arrays, inputs, options).run(chip)
    _add(spec, ran, options, results)
    results.publish(
        {
            "samples": len(frames),
            "full_trace": options.full_trace,
            "timing": options.timing,
            "run_seconds": round(time.perf_counter() - began, 3),
        }
    )


def _chip(
    spec: dict[str, Any], arrays: dict[str, np.ndarray], options: argparse.Namespace, unit: int
) -> Any:
    """Do what needs SANA-FE, which prints to standard output what nobody asked for."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - as long as the process runs
    os.dup2(sys.stdout.fileno(), 1)
    try:
        from chip import Chip
    except ImportError as error:
        raise files.InputError(f"{sys.executable} cannot run SANA-FE: {error}") from None
    kept = {"record": options.record, "timing": options.timing}
    return Chip(HERE, spec, arrays, unit=unit, **kept)


def _add(
    spec: dict[str, Any], ran: Run, options: argparse.Namespace, results: files.Results
) -> None:
    """Put everything into the folder of results."""
    T = spec["T"]
    needed = np.full_like(ran.exit_step, T) if options.full_trace else ran.exit_step
    until = np.maximum(needed, ran.injected) if options.wasted else needed
    kept = np.arange(T) < until[:, None]
    results.add("integer_logits", np.where(kept[..., None], ran.logits, 0))
    logits = ran.logits * spec["logit_scale"]
    logits[~kept] = np.nan
    results.add("logits", logits)
    results.add("hardware_steps", ran.latency(needed))
    if spec["integer_policy"]:
        results.add("policy_scores", ran.scores)
    for name in ("exit_step", "start", "injected"):
        results.add(name, getattr(ran, name))
    for kind in ("spikes", "v"):
        for name, values in getattr(ran, kind).items():
            wanted = kept.reshape(*kept.shape, *[1] * (values.ndim - 2))
            results.add(f"{kind}/{name}", np.where(wanted, values, np.zeros((), values.dtype)))
    for name, values in ran.measured.items():
        results.add(f"measured/{name}", values)


if __name__ == "__main__":
    sys.exit(main())
