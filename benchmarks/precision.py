"""int8 against float32 on a whole test set: accuracy at every t, exits, speed, nothing saturated.

python benchmarks/precision.py cifar10/test.npz [--rounds 3]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import seenn_deploy as sd
from seenn_deploy.ir.inputs import for_program

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "seenn_resnet19_w1_T4_c10.pth"
SHIPPED = EXAMPLE.with_name("cifar10_200.npz")
ALPHA = 0.9


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", nargs="?", type=Path, default=SHIPPED)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    graph = sd.import_model(EXAMPLE, T=4)
    rule = sd.exits.Confidence(ALPHA)
    programs = [sd.compile(graph, rule, precision=p) for p in ("float32", "int8")]
    images = for_program(programs[0], args.data)
    full = [sd.simulate(p, images, full_trace=True) for p in programs]
    held = images.take(0, min(len(images), 2000))
    seconds = []
    for _ in range(args.rounds):
        for program in programs:
            start = time.perf_counter()
            sd.simulate(program, held)
            seconds.append(time.perf_counter() - start)
    print_table(full, np.array(seconds).reshape(-1, 2), len(held))


def print_table(full: list[sd.RunResult], seconds: np.ndarray, timed: int) -> None:
    """One line a precision, then the differences."""
    table = Table(title=f"{len(full[0].exit_step):,} images, alpha = {ALPHA}", box=None)
    headings = ("", "t=1", "t=2", "t=3", "t=4", "at exit", "mean exit", "saturated", "images / s")
    for name in headings:
        table.add_column(name, justify="right")
    speed = timed / np.median(seconds, axis=0)
    for name, run, rate in zip(("float32", "int8"), full, speed, strict=True):
        by_step = [f"{100 * a:.2f}" for a in run.accuracy_by_step()]
        summary = run.summary()
        table.add_row(
            name, *by_step, f"{100 * summary['accuracy']:.2f}", f"{summary['mean_exit_step']:.4f}",
            f"{run.counts.saturated.sum()}", f"{rate:.0f}",
        )  # fmt: skip
    console = Console(width=100)
    console.print(table)
    a, b = full
    console.print(
        f"int8 - float32: {100 * (b.accuracy_by_step()[-1] - a.accuracy_by_step()[-1]):+.2f} points"
        f" at T, {100 * (b.correct.mean() - a.correct.mean()):+.2f} at the exit, "
        f"{b.exit_step.mean() - a.exit_step.mean():+.4f} steps; "
        f"time {np.median(seconds[:, 0] / seconds[:, 1]):.2f} times as fast"
    )


if __name__ == "__main__":
    main()
