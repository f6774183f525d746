"""Run the network of this folder on Lava.

    python run.py --data x.npy -o out

x.npy: float32 (N, C, H, W), or (N, T, C, H, W) for event data, as the network takes it. Where
samples differ in length, --length has the timesteps of each, int (N,). The folder `out` gets

- ``logits.npy`` (N, T, M) float64, of integer programs ``integer_logits.npy`` too, int64;
- ``exit_step.npy`` (N,): the timestep at which each sample stopped, from 1;
- ``start.npy`` (N,): the hardware step, from 0, that sent its first frame;
- ``hardware_steps.npy`` (N,): from there to the answer; ``injected.npy`` (N,): timesteps sent;
- of integer programs with a policy network ``policy_scores.npy`` (N, K) int64, one per choice;
- ``run.json``, and with --record ``spikes/<population>.npy`` (N, T, ...) bool, with --record-v, or
  --record of an integer program, ``v/<population>.npy``: float64, or int32.

Timesteps after a sample's exit are NaN, False and 0, unless --full-trace runs every sample to its
end or --wasted keeps what was injected before the exit was known. Exit codes: 0 done, 2 the input
is wrong.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import files
import numpy as np

HERE = Path(__file__).resolve().parent


def main(arguments: list[str] | None = None) -> int:
    """Read, check, run, write. Returns the exit code."""
    options = _parse(arguments)
    # As an exception, so that the blocks below clean up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.register_at_fork(after_in_child=_quiet_child)
    try:
        spec, arrays = files.read_bundle(HERE)
        frames = files.read_frames(options.data, spec)
        length = files.read_length(options.length, len(frames), spec["T"])
        with files.Results(options.out) as results:
            _run(spec, arrays, frames, length, options, results)
    except files.InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _quiet_child() -> None:
    """Lava's system processes leave signals to this one, which ends them."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the network of this folder on Lava.")
    parser.add_argument("--data", type=Path, required=True, help="samples, a .npy file")
    parser.add_argument("--length", type=Path, help="timesteps of each sample, a .npy file")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--record", action="store_true", help="keep every population's spikes")
    parser.add_argument("--record-v", action="store_true", help="keep every population's v")
    parser.add_argument("--wasted", action="store_true", help="keep what ran after the exit too")
    parser.add_argument("--full-trace", action="store_true", help="run every sample to its end")
    return parser.parse_args(arguments)


def _run(
    spec: dict[str, Any],
    arrays: dict[str, np.ndarray],
    frames: np.ndarray,
    length: np.ndarray,
    options: argparse.Namespace,
    results: files.Results,
) -> None:
    host, network = _lava()
    began = time.perf_counter()
    integers = spec["tag"] == "fixed_pt"
    wanted = network.Options(
        results.scratch, options.record, options.record_v or (options.record and integers),
        options.full_trace, options.wasted,
    )  # fmt: skip
    built = network.Builder(spec, arrays, frames, length, wanted).build()
    with host.running(spec, built) as running:
        started = time.perf_counter()
        populations = sum(n["kind"] == "population" for n in spec["nodes"])
        line = f"started in {started - began:.1f} s: {populations} populations"
        print(line, file=sys.stderr, flush=True)
        trace = running.run()
        ran = time.perf_counter() - started
    _add(spec, trace, built, options, results)
    results.publish(
        {
            "samples": len(frames),
            "full_trace": options.full_trace,
            "start_seconds": round(started - began, 3),
            "run_seconds": round(ran, 3),
        }
    )


def _add(
    spec: dict[str, Any],
    trace: Any,
    built: Any,
    options: argparse.Namespace,
    results: files.Results,
) -> None:
    """Put everything into the folder of results."""
    from host import scores, spikes, voltages

    needed = built.length if options.full_trace else trace.exit_step
    until = np.maximum(needed, trace.injected) if options.wasted else needed
    kept = np.arange(spec["T"]) < until[:, None]
    logits = trace.logits * spec["logit_scale"]
    logits[~kept] = np.nan
    if spec["tag"] == "fixed_pt":
        results.add("integer_logits", np.where(kept[..., None], trace.logits, 0))
    results.add("logits", logits)
    results.add("hardware_steps", trace.until(needed))
    if spec["integer_policy"]:
        results.add("policy_scores", scores(built.score_file, len(trace.exit_step)))
    for name in ("exit_step", "start", "injected"):
        results.add(name, getattr(trace, name))
    kinds = (("spikes", spikes, built.spike_files), ("v", voltages, built.v_files))
    for kind, read, recorded in kinds:
        for node in (n for n in spec["nodes"] if n["name"] in recorded):
            values = read(recorded[node["name"]], node, trace, until)
            results.add(f"{kind}/{node['name']}", values)


def _lava() -> tuple[Any, Any]:
    """Do what needs Lava; importing it takes seconds, so the checks come before."""
    try:
        import host
        import network
    except ImportError as error:
        raise files.InputError(f"{sys.executable} cannot run Lava: {error}") from None
    return host, network


if __name__ == "__main__":
    sys.exit(main())
