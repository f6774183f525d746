"""A verification over the workers of a Dask cluster, each of which drives a device of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from seenn_deploy.io.images.image_set import ImageSet
from seenn_deploy.ir.program import Program
from seenn_deploy.progress import Progress, shown
from seenn_deploy.simulator.distribute import CHUNK, Call, answers, chunks
from seenn_deploy.verification.report import VerifyReport

# A device may take a second to start and minutes per sample: chunks as large as leave each thread
# of the cluster a few, so that a slow one does not keep the others waiting.
PER_THREAD = 4


def verify_on(
    client: Any,
    program: Program,
    data: ImageSet,
    call: Call,
    options: Mapping[str, Any],
    progress: Progress,
) -> VerifyReport:
    """Verify chunks of samples on the devices of workers, and join their reports.

    Parameters
    ----------
    client : distributed.Client
    program : Program
    data : ImageSet
    call : callable
        What a worker calls for a chunk.
    options : mapping
        What it takes besides.
    progress
        As of ``verify``.

    Raises
    ------
    SeennError
        As ``verify`` on a worker, or ``distribute.answers``.
    """
    threads = max(1, sum(client.nthreads().values()))
    size = min(CHUNK, max(1, -(-len(data) // (PER_THREAD * threads))))
    pieces = chunks(np.zeros(len(data), np.bool_), size)
    parts: dict[int, VerifyReport] = {}
    with shown(progress, "verifying", len(data)) as advance:
        for chosen, report in answers(client, program, data, options, call, pieces):
            parts[int(chosen[0])] = report
            if advance:
                advance(len(chosen))
    return VerifyReport.joined([parts[first] for first in sorted(parts)])


def packed(folder: Path) -> dict[str, bytes]:
    """Read the files of a bundle, by their paths in it, to send them to workers."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@contextmanager
def unpacked(files: Mapping[str, bytes] | None) -> Iterator[Path | None]:
    """Give a folder of such files for a while; none for none."""
    if files is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="seenn-bundle-") as folder:
        for name, content in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        yield Path(folder)
