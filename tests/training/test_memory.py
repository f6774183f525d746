"""What a step frees is not asked for anew by the next one."""

from __future__ import annotations

import platform
import subprocess
import sys

SCRIPT = """
import resource, sys
import numpy as np
from seenn_deploy.training.memory import keep_freed_memory

taken = keep_freed_memory() if sys.argv[1] == "kept" else False
for step in range(11):
    if step == 1:  # the first one has to ask
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(5_000_000, np.float64)  # 40 MB
print(taken, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> tuple[bool, int]:
    command = [sys.executable, "-c", SCRIPT, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    taken, count = done.stdout.split()
    return taken == "True", int(count)


def test_freed_memory_is_used_again() -> None:
    taken, kept = faults("kept")
    assert taken == (platform.libc_ver()[0] == "glibc")
    if taken:
        assert kept < 0.1 * faults("returned")[1]
