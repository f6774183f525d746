"""Run the network of this folder on Lava.

    python run.py --data x.npy -o out

x.npy: float32 (N, C, H, W), or (N, T, C, H, W) for event data, as the network takes it. The folder
`out` gets ``logits.npy`` (N, T, M) float64, ``exit_step.npy`` (N,), ``hardware_steps.npy`` (N,),
``run.json``, and with --record ``spikes/<population>.npy`` (N, T, ...) bool. Timesteps after a
sample's exit are NaN and False, unless --full-trace runs every sample to T. Exit codes: 0 done, 2
the input is wrong.
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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.register_at_fork(after_in_child=_quiet_child)
    try:
        spec, arrays = files.read_bundle(HERE)
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


def _quiet_child() -> None:
    """Lava's system processes leave signals to this one, which ends them."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the network of this folder on Lava.")
    parser.add_argument("--data", type=Path, required=True, help="samples, a .npy file")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--record", action="store_true", help="keep every population's spikes")
    parser.add_argument("--record-v", action="store_true", help="keep every population's v")
    parser.add_argument("--full-trace", action="store_true", help="run every sample to T")
    return parser.parse_args(arguments)


def _run(
    spec: dict[str, Any],
    arrays: dict[str, np.ndarray],
    frames: np.ndarray,
    options: argparse.Namespace,
    results: files.Results,
) -> None:
    hosts, build = _lava()
    began = time.perf_counter()
    network = build(
        spec,
        arrays,
        frames,
        results.scratch / "spikes" if options.record else None,
        results.scratch / "v" if options.record_v else None,
    )
    with hosts.running(spec, network, options.full_trace) as host:
        started = time.perf_counter()
        _say(f"started in {started - began:.1f} s: {len(network.populations)} populations")
        trace = host.run(
            len(frames),
            lambda n, t: _say(f"sample {n + 1} of {len(frames)}: stopped at step {t}"),
        )
        ran = time.perf_counter() - started
    for name in ("logits", "exit_step", "hardware_steps"):
        results.add(name, getattr(trace, name))
    recordings = {
        "spikes": (hosts.spikes, network.spike_files),
        "v": (hosts.voltages, network.v_files),
    }
    for kind, (read, recorded) in recordings.items():
        for node in (n for n in spec["nodes"] if n["name"] in recorded):
            values = read(recorded[node["name"]], tuple(node["shape"]), node["depth"], trace)
            results.add(f"{kind}/{node['name']}", values)
    results.publish(
        {
            "samples": len(frames),
            "full_trace": options.full_trace,
            "start_seconds": round(started - began, 3),
            "run_seconds": round(ran, 3),
        }
    )


def _lava() -> tuple[Any, Any]:
    """What needs Lava; it takes seconds to import, so the checks come before."""
    try:
        import host
        from network import build
    except ImportError as error:
        raise files.InputError(f"{sys.executable} cannot run Lava: {error}") from None
    return host, build


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
