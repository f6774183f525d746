"""Each sample's answer as a file: ``--predictions`` of ``seenn simulate`` and ``seenn run``."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.exits.base import log_softmax
from seenn_deploy.io import folders
from seenn_deploy.io.images.image_set import ImageSet
from seenn_deploy.io.images.shards import TarShards
from seenn_deploy.io.images.sources import ImageFiles
from seenn_deploy.metrics import Exited


def write(
    path: Path | None,
    images: ImageSet,
    run: Exited,
    energy: Array | None = None,
) -> None:
    """Write one row per sample into a .csv or .json file, or nothing where `path` is None.

    Parameters
    ----------
    path : Path, optional
    images : ImageSet
        Gives the file names and class names where it has them.
    run : RunResult or DeviceRun
        What was simulated, or what a device measured.
    energy : array (N,), optional
        Joules that the schedule spends on each sample; a device measures none.
    """
    if path is None:
        return
    rows = _rows(images, run, energy)
    if path.suffix.lower() == ".json":
        folders.write_json(path, rows)
        return
    # In memory first: write_file leaves the whole file, or none.
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    folders.write_file(path, text.getvalue())


def _rows(images: ImageSet, run: Exited, energy: Array | None) -> list[dict[str, Any]]:
    confidence = np.exp(log_softmax(run.exit_logits)).max(axis=-1)
    names, files = images.class_names, isinstance(images.source, ImageFiles | TarShards)
    found = []
    for i, answer in enumerate(run.prediction.tolist()):
        row: dict[str, Any] = {"sample": i}
        if files:
            row["file"] = images.source.where(i)
        # A network may have more classes than the data has names.
        row["class"] = names[answer] if names and answer < len(names) else answer
        row["exit_step"] = int(run.exit_step[i])
        row["confidence"] = float(confidence[i])
        if energy is not None:
            row["energy_uJ"] = float(energy[i]) * 1e6
        found.append(row)
    return found
