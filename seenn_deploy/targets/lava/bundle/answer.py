"""Answer a request that came as a tar: run the bundle beside it, send the results as a tar.

    tar -xf - -C DIR && python DIR/bundle/answer.py

The tar on standard input held ``bundle/`` (this folder), ``x.npy``, where samples differ in length
``length.npy``, and ``request.json``, a list of options for ``run.py``. Standard output is a tar of
``out/`` with the arrays that ``run.py`` wrote; everything else is said on standard error. Exit
codes are those of ``run.py``.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile
from pathlib import Path

import run

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Run, and write the results to the standard output that this process was started with."""
    work = HERE.parent
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever Lava prints is not part of the answer
    options = json.loads((work / "request.json").read_text())
    data = ["--data", str(work / "x.npy")]
    if (work / "length.npy").exists():
        data += ["--length", str(work / "length.npy")]
    code = run.main([*data, "-o", str(work / "out"), *options])
    if code == 0:
        with answer, tarfile.open(fileobj=answer, mode="w|") as tar:
            tar.add(work / "out", "out")
    return code


if __name__ == "__main__":
    sys.exit(main())
