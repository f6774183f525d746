"""A verification over the workers of a Dask cluster, each of which drives a device of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seenn_deploy.io.images.image_set import ImageSet
from seenn_deploy.ir.program import Program
from seenn_deploy.progress import Progress, shown
from seenn_deploy.simulator.distribute import CHUNK, answers, chunks
from seenn_deploy.verification.report import VerifyReport

# A device may take a second to start and minutes per sample: chunks as large as leave each thread
# of the cluster a few, so that a slow one does not keep the others waiting.
PER_THREAD = 4


def verify_on(
    client: Any,
    program: Program,
    data: ImageSet,
    device: str,
    bundle: Path | None,
    options: Mapping[str, Any],
    progress: Progress,
) -> VerifyReport:
    """Verify chunks of samples on the devices of workers, and join their reports.

    Parameters
    ----------
    client : distributed.Client
    program : Program
    data : ImageSet
    device : str
    bundle : Path, optional
        A folder here; its files are sent.
    options : mapping
        Options of ``verify``.
    progress
        As there.

    Raises
    ------
    SeennError
        As ``verify`` on a worker, or ``distribute.answers``.
    """
    files = None if bundle is None else _files(bundle)
    threads = max(1, sum(client.nthreads().values()))
    size = min(CHUNK, max(1, -(-len(data) // (PER_THREAD * threads))))
    pieces = chunks(np.zeros(len(data), np.bool_), size)
    told = {"device": device, "files": files, **options}
    parts: dict[int, VerifyReport] = {}
    with shown(progress, f"verifying on {device}", len(data)) as advance:
        for chosen, report in answers(client, program, data, told, _verified, pieces):
            parts[int(chosen[0])] = report
            if advance:
                advance(len(chosen))
    return VerifyReport.joined([parts[first] for first in sorted(parts)])


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _verified(program: Program, part: ImageSet, options: Mapping[str, Any]) -> VerifyReport:
    """Verify a chunk; this is what a worker does."""
    from seenn_deploy.verification.verify import verify

    given = dict(options)
    device, files = given.pop("device"), given.pop("files")
    if files is None:
        return verify(program, part, device, progress=False, **given)
    with tempfile.TemporaryDirectory(prefix="seenn-bundle-") as folder:
        for name, content in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return verify(program, part, device, bundle=folder, progress=False, **given)
