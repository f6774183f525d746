"""Program in, files that run without this package out: one file or folder per target.

A target has ``write(program, folder)``; where it is a folder, in its ``write.py``. Beside it
``SCHEDULES`` names the schedules that its hardware can follow, the default first; without it any
is taken. ``POOLS`` names the ways of :mod:`seenn_deploy.compiler.passes.sum_pools` that it takes
average pools in; without it that is ``fold``. One that changes what it writes leaves its
:class:`~seenn_deploy.fidelity.FidelityReport` in the folder, as report.json. ``ir.program.write``
finds targets by their names. One that can run what it wrote has a ``Device`` too (``base.py``),
which ``devices.py`` finds.
"""

from seenn_deploy.ir.program import target_names as names

__all__ = ["names"]
