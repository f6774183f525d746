"""``--dask``: the cluster that runs a command's samples."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeVar

import click

from seenn_deploy.errors import SeennError

F = TypeVar("F", bound=Callable[..., Any])
PATIENCE = 10  # seconds for a scheduler to answer
ENVIRONMENT = "distributed.nanny.pre-spawn-environ"  # variables of the processes that Dask starts

DASK = click.option(
    "--dask", metavar="ADDRESS", help="Run the samples on a Dask cluster: tcp://HOST:PORT of its "
    "scheduler, or local:N for N processes on this machine.",
)  # fmt: skip


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Give a client of the cluster at an address, or None without one.

    Raises
    ------
    SeennError
        When Dask is not installed, the address is none, or nothing answers there.
    """
    if address is None:
        yield None
        return
    if find_spec("distributed") is None:
        raise SeennError("--dask needs Dask: pip install 'seenn-deploy[dask]'")
    import dask
    from distributed import Client, LocalCluster

    # What workers say while they end is no concern of whoever waits for a table.
    logging.getLogger("distributed").setLevel(logging.ERROR)
    if local := re.fullmatch(r"local:(\d+)", address):
        workers, cores = int(local[1]), os.cpu_count() or 1
        if not 1 <= workers <= 16 * cores:
            raise SeennError(f"--dask {address}: give 1 to {16 * cores} processes")
        # Dask lets workers return memory at once (MALLOC_TRIM_THRESHOLD_), which is good for tables
        # and takes a quarter of a simulation's time, whose arrays live for a timestep.
        variables = dask.config.get(ENVIRONMENT).items()
        kept = {name: value for name, value in variables if not name.startswith("MALLOC_")}
        with (
            dask.config.set({ENVIRONMENT: kept}),
            LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0",
                silence_logs=logging.CRITICAL,
            ) as cluster,
            Client(cluster) as client,
        ):  # fmt: skip
            yield client
        return
    try:
        client = Client(address, timeout=PATIENCE)
    except (OSError, TimeoutError, ValueError) as error:
        told = str(error).split("\n", maxsplit=1)[0]
        raise SeennError(
            f"--dask {address}: no scheduler answers there within {PATIENCE} s ({told}); start one "
            "(dask scheduler), or use local:N"
        ) from None
    with client:
        yield client
