"""Samples over the workers of a Dask cluster: chunks go out, what was found for them comes back.

Dask (https://distributed.dask.org) starts the workers, moves data between them and repeats what a
lost worker had begun. Here is only what a run is made of: the program reaches each worker once;
images stay where they lie if all workers can read them there, and are sent otherwise; and the
results are written by the client alone, so that a run folder is the only state. Samples do not
depend on each other, so neither does a result on who computed it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, Protocol, runtime_checkable

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.errors import DataError, ProgramError, SeennError, UnreachableError
from seenn_deploy.io.images.image_set import ImageSet
from seenn_deploy.io.images.sources import ArraySource, Window
from seenn_deploy.ir.program import Program
from seenn_deploy.simulator.result import RunResult

CHUNK = 256  # samples: seconds of a network of CIFAR's size, and some 100 kB to send back
AHEAD = 3  # chunks under way per thread of the cluster, so that no thread waits for the client
PACKAGE = "seenn-deploy"


@runtime_checkable
class Cluster(Protocol):
    """What a ``distributed.Client`` has, of which a run makes use."""

    def submit(self, function: Any, /, *args: Any, **options: Any) -> Any:
        """Let a worker call a function."""
        ...

    def scatter(self, data: Any, /, **options: Any) -> Any:
        """Bring data to workers."""
        ...

    def run(self, function: Any, /, *args: Any, **options: Any) -> Any:
        """Let every worker call a function."""
        ...

    def nthreads(self) -> dict[str, int]:
        """Tell the threads of each worker by its address."""
        ...


Call = Callable[[Program, ImageSet, Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Job:
    """What a worker needs for every chunk.

    Parameters
    ----------
    program : Program
    data : ImageSet, optional
        All images, where workers read them themselves.
    options : mapping
        What the function takes besides.
    call : callable
        What is called for each chunk: the engine, or a device's verification.
    version : str
        Version of the package that the client has.
    """

    program: Program
    data: ImageSet | None
    options: Mapping[str, Any]
    call: Call
    version: str


def work(
    client: Any,
    program: Program,
    data: ImageSet,
    result: RunResult,
    finished: Array,
    options: Mapping[str, Any],
    run: Call,
    advance: Callable[[int], None] | None,
) -> None:
    """Run all samples that are not finished on a cluster, and enter what comes back.

    Parameters
    ----------
    client : distributed.Client
    program : Program
    data : ImageSet
    result : RunResult
        Its arrays are written to.
    finished : bool array (N,)
        Whether each sample is finished; it is kept up to date.
    options : dict
        Options of ``simulate`` that change results.
    run : callable
        The engine, which workers call.
    advance : callable, optional
        Function that is called with the number of samples that just finished.

    Raises
    ------
    SeennError
        As `answers`.
    """
    if advance and finished.any():
        advance(int(np.count_nonzero(finished)))
    for chosen, answer in answers(client, program, data, options, run, chunks(finished, CHUNK)):
        _enter(result, finished, chosen, answer)
        if advance:
            advance(len(chosen))


def answers(
    client: Any,
    program: Program,
    data: ImageSet,
    options: Mapping[str, Any],
    call: Call,
    chunks: Iterator[Array],
) -> Iterator[tuple[Array, Any]]:
    """Let workers call a function for chunks of samples.

    Parameters
    ----------
    client : distributed.Client
    program : Program
    data : ImageSet
    options : mapping
        What the function takes besides the program and a chunk's images.
    call : callable
        A function of a module, so that workers find it.
    chunks : iterator of int array
        Neighbouring samples.

    Yields
    ------
    int array, object
        The samples of a chunk and what was found for them, as it comes back.

    Raises
    ------
    SeennError
        When no worker is there, or one has another version of the package, or none.
    DataError, ProgramError
        What the function raises for a chunk.
    """
    from distributed import as_completed

    _check_workers(client)
    stays = _readable(client, data)
    job = Job(program, data if stays else None, options, call, version(PACKAGE))
    shared = client.scatter(job, broadcast=True, hash=False)
    threads = sum(client.nthreads().values())
    waiting = as_completed(with_results=False)
    rows: dict[str, Array] = {}

    def send() -> None:
        chosen = next(chunks, None)
        if chosen is not None:
            part = None if stays else _sent(data, chosen)
            future = client.submit(_answer, shared, chosen, part, pure=False)
            rows[future.key] = chosen
            waiting.add(future)

    try:
        for _ in range(AHEAD * threads):
            send()
        for future in waiting:
            yield rows.pop(future.key), _result_of(future)
            send()
    finally:
        for future in list(waiting.futures):
            future.cancel()


def chunks(finished: Array, most: int) -> Iterator[Array]:
    """Neighbouring samples that are not finished, at most so many at a time."""
    missing = np.flatnonzero(~finished)
    for some in np.split(missing, np.flatnonzero(np.diff(missing) != 1) + 1):
        for first in range(0, len(some), most):
            yield some[first : first + most]


def _sent(data: ImageSet, chosen: Array) -> ImageSet:
    """The images of a chunk, in memory, for workers that cannot read them where they lie."""
    first, stop = int(chosen[0]), int(chosen[-1]) + 1
    (block,) = data.source.blocks(first, stop, stop - first)
    source = ArraySource(np.ascontiguousarray(block), data.name)
    return replace(data.part(first, stop), source=source)


def _answer(job: Job, chosen: Array, part: ImageSet | None) -> Any:
    """Answer for a chunk; this is what a worker does."""
    here = version(PACKAGE)
    if here != job.version:
        raise ProgramError(f"a worker has {PACKAGE} {here}, the client {job.version}: use the same")
    if part is None:
        assert job.data is not None
        part = job.data.part(int(chosen[0]), int(chosen[-1]) + 1)
    try:
        return job.call(job.program, part, job.options)
    except UnreachableError as error:
        from distributed import get_worker

        raise DataError(
            f"worker {get_worker().address}: {error}; name a place that all workers see"
        ) from None


def _result_of(future: Any) -> Any:
    """The answer of a worker, or its error as the client's own."""
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        raise SeennError(
            f"workers ended again and again at one chunk ({error.last_worker}): most likely they "
            "have too little memory; give each more, or fewer threads"
        ) from None
    except FileNotFoundError as error:
        raise DataError(
            f"a worker cannot read {error.filename}: name a path that all workers see"
        ) from None


def _enter(result: RunResult, finished: Array, chosen: Array, answer: RunResult) -> None:
    """Write the rows of a chunk; a sample counts as finished once its last value is stored."""
    for name in ("logits", "exit_step", "integer_logits", "policy_scores"):
        into = getattr(result, name)
        if into is not None:
            into[chosen] = getattr(answer, name)
    for (_, into), (_, found) in zip(result.counts.items(), answer.counts.items(), strict=True):
        into[chosen] = found
    for name in ("spikes", "v"):
        for layer, into in getattr(result, name).items():
            into[chosen] = getattr(answer, name)[layer]
    finished[chosen] = True


# --- the cluster ---------------------------------------------------------------------------------


def _check_workers(client: Any) -> None:
    """Refuse a cluster without workers, or with other versions of the package."""
    if not client.nthreads():
        raise SeennError(f"{client.scheduler.address}: the cluster has no worker; start one")
    found = client.get_versions(packages=["seenn_deploy"])
    ours = found["client"]["packages"]["seenn_deploy"]
    for address, worker in found["workers"].items():
        theirs = (worker or {}).get("packages", {}).get("seenn_deploy")
        if theirs != ours:
            has = f"version {theirs}" if theirs else "no seenn_deploy"
            raise SeennError(f"worker {address} has {has}, the client {ours}: install the same")


def _readable(client: Any, data: ImageSet) -> bool:
    """Whether all workers read the same first and last sample as the client, from its path."""
    source = data.source
    while isinstance(source, Window):
        source = source.source
    if isinstance(source, ArraySource):
        return False
    ends = {0, len(data) - 1}
    ours = [data.take(i, i + 1).tobytes() for i in ends]
    return all(client.run(_reads_the_same, data, sorted(ends), ours).values())


def _reads_the_same(data: ImageSet, samples: list[int], wanted: list[bytes]) -> bool:
    try:
        return all(
            data.take(i, i + 1).tobytes() == bytes_
            for i, bytes_ in zip(samples, wanted, strict=True)
        )
    except (OSError, SeennError):
        return False
