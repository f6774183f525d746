"""The loop that the host runs: start a sample, step, read the logits, apply the exit rule."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from exits import from_dict
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from network import Network

WATCH_SECONDS = 1.0
CHANNEL_SLOTS = 4  # Lava's 64 would take tens of MB a layer; a step uses one


@dataclass(frozen=True)
class Trace:
    """What a run gave.

    ``logits`` (N, T, M) float64, NaN for timesteps that were not run; ``exit_step`` (N,), from 1;
    ``timesteps`` (N,) that were run: the exit, or T of a full trace; ``hardware_steps`` (N,);
    ``start`` (N,): the hardware step, from 0, that sent the first frame.
    """

    logits: np.ndarray
    exit_step: np.ndarray
    timesteps: np.ndarray
    hardware_steps: np.ndarray
    start: np.ndarray


class Host:
    """Drives a network that runs.

    Logits of timestep t are in the readout after D + t hardware steps, D the network's depth, so
    an exit is known D steps after its timestep entered. What is on its way by then is harmless:
    the next sample's reset token trails it through the layers.
    """

    def __init__(self, spec: dict[str, Any], network: Network, full_trace: bool = False) -> None:
        self.T, self.depth = spec["T"], spec["depth"]
        self.rule = from_dict(spec["exit_rule"])
        self.network = network
        self.full_trace = full_trace
        self.steps = 0

    def run(self, samples: int, progress: Callable[[int, int], None]) -> Trace:
        """All samples, one after another.

        Parameters
        ----------
        samples : int
            How many the source holds.
        progress : callable (sample, exit_step)
            Called after each sample.
        """
        logits = np.full((samples, self.T, *self.network.readout.z.shape), np.nan)
        exit_step, timesteps, used, start = (np.zeros(samples, np.int64) for _ in range(4))
        for n in range(samples):
            start[n] = self.steps
            exit_step[n] = self._sample(n, logits[n])
            used[n] = self.steps - start[n]
            timesteps[n] = used[n] - self.depth
            progress(n, int(exit_step[n]))
        return Trace(logits, exit_step, timesteps, used, start)

    def _sample(self, n: int, logits: np.ndarray) -> int:
        """Run one sample; its exit step. A full trace goes on to T all the same."""
        self.network.source.sample.set(np.array([n]))
        self._advance(self.depth)
        exit_step = 0
        for t in range(1, self.T + 1):
            self._advance(1)
            logits[t - 1] = self.network.readout.z.get()
            if not exit_step and (t == self.T or self.rule.stops(logits[t - 1], np.array(t))):
                exit_step = t
            if exit_step and not self.full_trace:
                break
        return exit_step

    def _advance(self, steps: int) -> None:
        if steps:
            self.network.readout.run(RunSteps(num_steps=steps))
            self.steps += steps

    def start(self, tag: str) -> None:
        """Compile the network and take one idle step: before that no Var can be set."""
        config = {"pypy_channel_size": CHANNEL_SLOTS}
        self.network.readout.run(RunSteps(num_steps=1), Loihi2SimCfg(select_tag=tag), config)
        self.steps = 1


@contextmanager
def running(spec: dict[str, Any], network: Network, full_trace: bool = False) -> Iterator[Host]:
    """A started host; all of Lava's system processes are gone when the block ends."""
    host, done = Host(spec, network, full_trace), threading.Event()
    try:
        host.start(spec["tag"])
        threading.Thread(target=_watch, args=(network, done), daemon=True).start()
        yield host
    except BaseException:
        done.set()
        _abort(network)
        raise
    done.set()
    network.readout.stop()


def _watch(network: Network, done: threading.Event) -> None:
    """End the run when one of Lava's system processes dies: the others would wait for ever."""
    actors = network.readout.runtime._messaging_infrastructure.actors
    while not done.wait(WATCH_SECONDS):
        dead = [actor for actor in actors if not actor.is_alive()]
        if dead and not done.is_set():
            _, why = dead[0].exception or (None, f"exit code {dead[0].exitcode}")
            print(f"error: a process of Lava ended: {why}", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGTERM)
            return


def _abort(network: Network) -> None:
    """End the system processes in whatever state they are; an orderly stop could wait for ever."""
    runtime = network.readout.runtime
    infrastructure = None if runtime is None else runtime._messaging_infrastructure
    if infrastructure is not None:
        runtime._is_started = False  # or its destructor would try an orderly stop
        for actor in infrastructure.actors:
            actor.terminate()
        infrastructure.stop()
    for child in mp.active_children():
        child.terminate()


def spikes(path: Path, shape: tuple[int, ...], depth: int, trace: Trace) -> np.ndarray:
    """A population's recorded spikes, by sample and timestep.

    Parameters
    ----------
    path : Path
        What ResetLIF wrote: one packed row a hardware step.
    shape : tuple of int
        (C, H, W) or (N,).
    depth : int
        Of the population: timestep t of a sample is `depth` + t - 1 steps after its start.
    trace : Trace
        Of the same run.

    Returns
    -------
    bool array (N, T, *shape), False for timesteps that were not run
    """
    size = int(np.prod(shape))
    rows = np.fromfile(path, np.uint8).reshape(-1, -(-size // 8))
    return _by_timestep(
        lambda steps: np.unpackbits(rows[steps], axis=1, count=size).astype(bool),
        shape, depth, trace, np.zeros((), bool),
    )  # fmt: skip


def voltages(path: Path, shape: tuple[int, ...], depth: int, trace: Trace) -> np.ndarray:
    """A population's v after the reset, float64 (N, T, *shape), NaN where it was not run."""
    rows = np.fromfile(path, np.float64).reshape(-1, int(np.prod(shape)))
    return _by_timestep(rows.__getitem__, shape, depth, trace, np.full((), np.nan))


def _by_timestep(
    read: Callable[[slice], np.ndarray],
    shape: tuple[int, ...],
    depth: int,
    trace: Trace,
    empty: np.ndarray,
) -> np.ndarray:
    samples, T = trace.logits.shape[:2]
    out = np.full((samples, T, *shape), empty)
    for n in range(samples):
        t, first = trace.timesteps[n], trace.start[n] + depth
        seen = read(slice(first, first + t)).reshape(t, *shape[::-1])
        out[n, :t] = seen.transpose(0, *range(len(shape), 0, -1))
    return out
