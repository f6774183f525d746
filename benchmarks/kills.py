"""kill -9 at random moments of `simulate --out`: every run has to go on to the same bits.

    python benchmarks/kills.py                  # 100 kills of a run over 400 images
    python benchmarks/kills.py --kills 5 --images 100

A run is killed, resumed, killed again and so on; a folder that gets finished is compared, array by
array and bit by bit, with that of a run that nobody disturbed, and the next one begins.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import seenn_deploy as sd  # noqa: E402
from seenn_deploy.simulator import engine  # noqa: E402

Arrays = dict[str, bytes]


def main() -> int:
    """Kill, resume, compare, print; 1 where a run does not resume or ends in other bits."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--kills", type=int, default=100)
    arguments.add_argument("--images", type=int, default=400)
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = kills(Path(folder), given.kills, given.images, random.Random(given.seed))
    print(f"{given.kills} kills of runs over {given.images} images, seed {given.seed}")
    for what, times in sorted(found.items()):
        print(f"  {what:45} {times:4}")
    return int(any(what.startswith("WRONG") for what in found))


def kills(folder: Path, times: int, images: int, rng: random.Random) -> Counter[str]:
    """Kill runs at random moments; count what each kill found, and how the folders ended."""
    files = sd.example()
    program = sd.compile(sd.import_model(files.network, T=4), sd.exits.Confidence(0.9))
    with np.load(files.images) as stored:
        repeat = -(-images // len(stored["x"]))
        x = np.concatenate([stored["x"]] * repeat)[:images]
        y = np.concatenate([stored["y"]] * repeat)[:images]
    began = time.monotonic()
    if ended(started(folder / "whole", program, x, y)):
        raise SystemExit("a run that nobody disturbed fails")
    usual = time.monotonic() - began
    whole = arrays(folder / "whole")
    found, number, killed = Counter[str](), 0, 0
    while killed < times:
        out = folder / f"run{number}"
        code = None
        while killed < times and code is None:
            process = started(out, program, x, y)
            time.sleep(rng.random() * usual)
            os.kill(process, signal.SIGKILL)
            code = ended(process)
            if code == -signal.SIGKILL:
                killed, code = killed + 1, None
                found[f"killed {progress(out)}"] += 1
        if code is None:
            code = ended(started(out, program, x, y))
        right = code == 0 and arrays(out) == whole
        found["folders ended in the same bits" if right else f"WRONG: {out.name}, exit {code}"] += 1
        number += 1
    return found


def started(out: Path, program: sd.Program, x: np.ndarray, y: np.ndarray) -> int:
    """Start a run in a process of its own; this one has read the program and runs no threads."""
    process = os.fork()
    if process:
        return process
    try:
        engine.simulate(program, x, y, out=out, resume=True, threads=2)
    except BaseException as error:
        print(f"{out.name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(3)
    os._exit(0)


def ended(process: int) -> int:
    """Wait for a process; its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def progress(out: Path) -> str:
    """How far a run was when it was killed."""
    if not (out / "run.json").is_file():
        return "before the folder was there"
    finished = np.load(out / "finished.npy")
    if not finished.any():
        return "before the first sample"
    return "after the last sample" if finished.all() else "between two samples"


def arrays(out: Path) -> Arrays:
    """The content of every array of a run folder."""
    return {file.name: file.read_bytes() for file in sorted(out.glob("*.npy"))}


if __name__ == "__main__":
    sys.exit(main())
