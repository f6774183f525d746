"""A run of a program on images: options in, workers started, a result filled by them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from seenn_deploy._typing import Array, checked_types
from seenn_deploy.costs.model import LayerSizes
from seenn_deploy.errors import DataError, SeennError
from seenn_deploy.io.images.image_set import Images, ImageSet
from seenn_deploy.ir.inputs import for_program
from seenn_deploy.ir.program import Program
from seenn_deploy.progress import Progress, shown
from seenn_deploy.simulator import distribute, memory, run_folder
from seenn_deploy.simulator.event_worker import EventWorker
from seenn_deploy.simulator.layout import lay_out
from seenn_deploy.simulator.result import Counts, RunResult
from seenn_deploy.simulator.worker import Feed

MOST_THREADS = 1024  # more would only take memory


@checked_types
def simulate(
    program: Program,
    images: Images,
    labels: ArrayLike | None = None,
    *,
    record: bool = False,
    full_trace: bool = False,
    wasted: bool | None = None,
    first_layer: Literal["once", "every_step"] = "once",
    threads: int | None = None,
    slots: int | None = None,
    progress: Progress = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    client: distribute.Cluster | None = None,
    device: str | None = None,
) -> RunResult:
    """Run a program on images, event by event, and count its operations.

    Parameters
    ----------
    program : Program
    images : array (N, C, H, W), for event coding (N, T, C, H, W), ImageSet, or a path
        The images, as the program takes them. Signals of an ImageSet or .npz with `length` end
        where their length says, at the latest.
    labels : int array (N,), optional
    record : bool
        Whether to keep every population's spikes and, of integer programs, the potentials, integer
        logits and scores of the policy network. Memory grows with N times T times the number of
        neurons.
    full_trace : bool
        Whether to run every sample to T; `exit_step` still says where the rule would have stopped.
    wasted : bool, optional
        Whether to run and count the timesteps that a speculative schedule injects before it knows
        the exit. By default they run where the program's schedule is speculative, as they do on
        the hardware. True runs them for any schedule, so that the run can be told under each of
        them; False is faster, and makes the energy of a speculative schedule a lower bound.
    first_layer : 'once' or 'every_step'
        How often the multiply-accumulates of a direct-coded image count. The first layer sees the
        same image at every timestep, so its result is computed once and replayed.
    threads, slots : int, optional
        Number of workers, and of samples that each works on at a time. Results depend on neither.
        With a `device`, the number of torch's threads, and of samples in a batch; ties of a float
        program may fall otherwise with others.
    progress : bool or callable, optional
        True shows a bar, False none. By default there is one on a terminal and in a notebook, once
        the run takes longer than two seconds. A function is called with the number of samples
        that just finished.
    out : str or Path, optional
        Run folder, into which results are written as samples finish.
    resume : bool
        Whether to go on with a run folder that was cut off.
    force : bool
        Whether to begin anew in a folder that holds a run; files of others there stay.
    client : distributed.Client, optional
        A Dask cluster whose workers run the samples, with a thread per chunk of them; `threads`
        and `slots` are then the cluster's own. Results are the same, bit for bit.
    device : 'cpu', 'cuda' or 'cuda:N', optional
        Where torch runs the program, in batches; without it, compiled kernels go event by event.
        Results of int8 programs are the same, bit for bit. Those of float programs are the same up
        to rounding ties, and their ``RunResult.engine`` says so.

    Raises
    ------
    DataError
        When the images do not fit the program.
    SeennError
        When the cluster has no worker, or one without this version of the package; or when there
        is no torch or no such GPU.
    ProgramError
        When the run folder exists without `resume` or `force`, or belongs to another run.
    ResourceError
        When the run needs more memory than there is.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> files = sd.example()
    >>> program = sd.compile(sd.import_model(files.network, T=4))
    >>> run = sd.simulate(program, files.images)
    >>> run.summary()["accuracy"]
    0.8
    >>> sd.simulate(program, files.images, out="run").summary()["mean_exit_step"]
    2.38
    """
    if first_layer not in ("once", "every_step"):
        raise DataError(f"first_layer = {first_layer!r} must be 'once' or 'every_step'")
    data = for_program(program, images, labels)
    wasted = program.followed_schedule == "speculative" if wasted is None else wasted
    wasted = wasted and not full_trace  # a full trace has them anyway
    options = {"full_trace": full_trace, "first_layer": first_layer, "wasted": wasted}
    if resume and force:
        raise DataError("resume goes on with a run and force begins it anew; give one of them")
    here = client is None
    engine = _engine(program, device, here)
    if not 1 <= (threads := threads or _threads(device if here else None)) <= MOST_THREADS:
        raise DataError(f"threads = {threads} lies outside 1..{MOST_THREADS}")
    if out is not None and record:
        raise DataError("record keeps spikes in memory; a run folder (out) does not hold them")
    extent = memory.Extent(len(data), threads, slots, record, out is not None, device)
    memory.require(program, extent)
    if here:
        _lay_out(program, device)  # what cannot be laid out is refused before there is a folder
    made_by = {**options, "engine": engine}
    storage: AbstractContextManager[tuple[RunResult, Array]] = (
        nullcontext((_empty_result(program, data, record, wasted), np.zeros(len(data), np.bool_)))
        if out is None
        else run_folder.begin(Path(out), program, data, made_by, resume, force)
    )
    with storage as (kept, finished), shown(progress, "simulating", len(data)) as bar:
        result = replace(kept, engine=engine)
        advance = bar if out is None else run_folder.letting_go(result, bar)
        if client is not None:
            asked = options | {"record": record, "device": device}
            distribute.work(client, program, data, result, finished, asked, _chunk, advance)
        else:
            feed = Feed(data, finished, full_trace, first_layer == "every_step", advance)
            _work(program, result, feed, extent)
    return result


def _chunk(program: Program, data: ImageSet, options: Mapping[str, Any]) -> RunResult:
    """Run some samples on one thread, as a worker of a cluster does."""
    _engine(program, options["device"], here=True)
    result = _empty_result(program, data, options["record"], options["wasted"])
    finished = np.zeros(len(data), np.bool_)
    every_step = options["first_layer"] == "every_step"
    feed = Feed(data, finished, options["full_trace"], every_step, None)
    extent = memory.Extent(len(data), 1, None, options["record"], False, options["device"])
    _work(program, result, feed, extent)
    return result


def _lay_out(program: Program, device: str | None) -> None:
    """Make a program ready to run, which an engine remembers."""
    if device is None:
        lay_out(program)
        return
    from seenn_deploy.simulator.tensors import worker

    worker.lay_out(program, device)


def is_torch(device: str) -> bool:
    """Whether a device is one of torch's, on which ``simulate`` can run a program."""
    return bool(re.fullmatch(r"cpu|cuda(:\d+)?", device))


def _engine(program: Program, device: str | None, here: bool) -> str:
    """The name of the engine in a float program's result, once there is one, `here` at least.

    Raises
    ------
    SeennError
        When there is no such device, or no torch.
    """
    if device is None:
        return ""
    if not is_torch(device):
        raise DataError(f"device = {device!r} must be 'cpu', 'cuda' or 'cuda:N'")
    if here:
        if find_spec("torch") is None:
            raise SeennError(f"device {device} needs torch: pip install 'seenn-deploy[torch]'")
        from seenn_deploy.simulator.tensors.worker import check

        check(device)
    # Whole numbers are the same in any order of summation.
    return f"torch {device.split(':')[0]}" if program.precision == "float32" else ""


def _threads(device: str | None) -> int:
    """How many threads to use: torch's own number, or the cores that this process may use."""
    if device is not None:
        from seenn_deploy.simulator.tensors.worker import threads

        return threads()
    # macOS and Windows tell how many cores there are.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _work(program: Program, result: RunResult, feed: Feed, extent: memory.Extent) -> None:
    """Run all workers until the feed is empty; one that fails stops the others."""
    slots = extent.slots_of(program)
    if extent.device is not None:
        from seenn_deploy.simulator.tensors.worker import run

        run(program, slots, result, feed, extent.device, extent.threads)
        return
    layers = lay_out(program)
    with ThreadPoolExecutor(extent.threads) as pool:
        jobs = [
            # Each thread allocates its own state, so that they do so at the same time.
            pool.submit(lambda: EventWorker(program, layers, slots, result, feed).run())
            for _ in range(extent.threads)
        ]
        try:
            for job in as_completed(jobs):
                job.result()
        finally:
            feed.stop.set()


def _empty_result(program: Program, data: ImageSet, record: bool, wasted: bool) -> RunResult:
    graph, n, T = program.graph, len(data), program.T
    populations = graph.populations if record else ()
    integer = program.precision != "float32"
    return RunResult(
        np.full((n, T, graph.readout.shape[0]), np.nan),
        np.zeros(n, np.int64),
        [layer.name for layer in graph.layers],
        Counts.zeros(n, len(graph.layers), T),
        LayerSizes.of(graph),
        data.labels,
        {p.name: np.zeros((n, T, *p.shape), np.bool_) for p in populations},
        {p.name: np.zeros((n, T, *p.shape), np.int32) for p in populations if integer},
        np.zeros((n, T, graph.readout.shape[0]), np.int64) if record and integer else None,
        LayerSizes.of_policy(program.exit_rule.to_dict()),
        program.provenance.not_proven,
        program.timing,
        wasted,
        np.zeros((n, len(program.policy.choices)), np.int64) if record and program.policy else None,
        data.length,
    )
