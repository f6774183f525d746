"""The host: starts the network, lets it run until it is done, reads what its processes recorded.

Which sample comes when, and when it stops, is decided inside the network, by the source and the
exit controller.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from network import Network
from processes.waves import SENT, read, seen

WATCH_SECONDS = 1.0
CHANNEL_SLOTS = 4  # Lava's 64 would take tens of MB a layer; a step uses one
CHUNK = 1000  # steps a call; the exit controller ends the last one


@dataclass(frozen=True)
class Trace:
    """The results of a run, (N,) by sample and (N, T) by wave; ``-1`` where there is none.

    ``logits`` (N, T, M), zeros where no wave was seen; ``exit_step``, from 1; ``sent``: the
    hardware step, from 0, at which a wave's frame was sent; ``seen``: at which it reached the exit
    controller.
    """

    logits: np.ndarray
    exit_step: np.ndarray
    sent: np.ndarray
    seen: np.ndarray

    @property
    def start(self) -> np.ndarray:
        """The hardware step that sent the first frame."""
        return self.sent[:, 0]

    @property
    def injected(self) -> np.ndarray:
        """The number of waves that were sent."""
        return (self.sent >= 0).sum(axis=1)

    def until(self, last: np.ndarray) -> np.ndarray:
        """Hardware steps from a sample's first frame to the answer to its wave `last` (N,)."""
        return self.seen[np.arange(len(last)), last - 1] - self.start + 1


def scores(path: Path, samples: int) -> np.ndarray:
    """What an integer policy network said of each sample, int64 (N, K)."""
    return np.fromfile(path, np.int64).reshape(samples, -1)


class Host:
    """The driver of a running network."""

    def __init__(self, spec: dict[str, Any], network: Network) -> None:
        self.spec, self.network = spec, network
        self.samples = len(network.length)
        # no schedule takes longer: each wave waits for the verdict on the one before
        self.most = (self.samples * spec["T"] + 1) * (spec["depth"] + 1) + 1

    def start(self) -> None:
        """Compile the network and take its first step."""
        config = {"pypy_channel_size": CHANNEL_SLOTS}
        run_config = Loihi2SimCfg(select_tag=self.spec["tag"])
        self.network.controller.run(RunSteps(num_steps=1), run_config, config)

    def run(self) -> Trace:
        """Run all samples.

        Raises
        ------
        RuntimeError
            When the network should be done and is not.
        """
        controller, steps = self.network.controller, 1
        while not controller.done.get()[0]:
            if steps > self.most:
                raise RuntimeError(f"no end after {steps} steps; {self.most} are enough")
            controller.run(RunSteps(num_steps=CHUNK))
            steps += CHUNK
        return self._trace()

    def _trace(self) -> Trace:
        N, T, shape = self.samples, self.spec["T"], self.network.controller.bias.shape
        dtype = seen(int(np.prod(shape)), "i8" if self.spec["tag"] == "fixed_pt" else "f8")
        sent, found = read(self.network.sent_file, SENT), read(self.network.seen_file, dtype)
        trace = Trace(
            np.zeros((N, T, *shape), dtype["z"].base),
            np.zeros(N, np.int64),
            np.full((N, T), -1),
            np.full((N, T), -1),
        )
        trace.sent[sent["sample"], sent["t"] - 1] = sent["step"]
        trace.seen[found["sample"], found["t"] - 1] = found["step"]
        trace.logits[found["sample"], found["t"] - 1] = found["z"].reshape(-1, *shape)
        # Waves before a sample's exit say 0, later ones repeat it.
        np.maximum.at(trace.exit_step, found["sample"], found["exit"])
        return trace


@contextmanager
def running(spec: dict[str, Any], network: Network) -> Iterator[Host]:
    """A started host; all of Lava's system processes are gone when the block ends."""
    host, done = Host(spec, network), threading.Event()
    try:
        host.start()
        threading.Thread(target=_watch, args=(network, done), daemon=True).start()
        yield host
    except BaseException:
        done.set()
        _abort(network)
        raise
    done.set()
    network.controller.stop()


def _watch(network: Network, done: threading.Event) -> None:
    """End the run when one of Lava's system processes dies: the others would wait for ever."""
    actors = network.controller.runtime._messaging_infrastructure.actors
    while not done.wait(WATCH_SECONDS):
        dead = [actor for actor in actors if not actor.is_alive()]
        if dead and not done.is_set():
            _, why = dead[0].exception or (None, f"exit code {dead[0].exitcode}")
            print(f"error: a process of Lava ended: {why}", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGTERM)
            return


def _abort(network: Network) -> None:
    """End the system processes in whatever state they are; an orderly stop could wait for ever."""
    runtime = network.controller.runtime
    infrastructure = None if runtime is None else runtime._messaging_infrastructure
    if infrastructure is not None:
        runtime._is_started = False  # or its destructor would try an orderly stop
        for actor in infrastructure.actors:
            actor.terminate()
        infrastructure.stop()
    for child in mp.active_children():
        child.terminate()


# --- what populations recorded -------------------------------------------------------------------


def spikes(path: Path, node: dict[str, Any], trace: Trace, until: np.ndarray) -> np.ndarray:
    """A population's recorded spikes, by sample and timestep.

    Parameters
    ----------
    path : Path
        What ResetLIF wrote: one packed row per hardware step.
    node : dict
        The population in ``network.json``; a wave reaches it `depth` steps after it was sent.
    trace : Trace
        Trace of the same run.
    until : int array (N,)
        The last timestep that is wanted, by sample.

    Returns
    -------
    bool array (N, T, *shape), False for timesteps that are not wanted
    """
    size = int(np.prod(node["shape"]))
    rows = np.fromfile(path, np.uint8).reshape(-1, -(-size // 8))
    out = np.zeros((*trace.sent.shape, *node["shape"]), bool)
    for n, t, row in _waves(node, trace, until):
        out[n, t] = _turned(np.unpackbits(rows[row], count=size), node)
    return out


def voltages(path: Path, node: dict[str, Any], trace: Trace, until: np.ndarray) -> np.ndarray:
    """A population's v after the reset, (N, T, *shape); arguments as `spikes`.

    float64 with NaN where it is not wanted, of integer programs int32 with 0.
    """
    integers = trace.logits.dtype.kind == "i"
    rows = np.fromfile(path, np.int32 if integers else float)
    rows = rows.reshape(-1, int(np.prod(node["shape"])))
    empty = np.zeros((), np.int32) if integers else np.full((), np.nan)
    out = np.full((*trace.sent.shape, *node["shape"]), empty)
    for n, t, row in _waves(node, trace, until):
        out[n, t] = _turned(rows[row], node)
    return out


def _waves(node: dict[str, Any], trace: Trace, until: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """(sample, timestep from 0, row) of every wave that is wanted."""
    wanted = (trace.sent >= 0) & (np.arange(trace.sent.shape[1]) < until[:, None])
    for n, t in np.argwhere(wanted):
        yield int(n), int(t), int(trace.sent[n, t]) + node["depth"]


def _turned(values: np.ndarray, node: dict[str, Any]) -> np.ndarray:
    return values.reshape(node["shape"][::-1]).transpose()
