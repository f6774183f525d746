"""A Cortex-M3: QEMU's board mps2-an385."""

from __future__ import annotations

from seenn_deploy.targets.c import emulator


class Device(emulator.CortexM):
    """The C folder on an emulated Cortex-M3; see :class:`emulator.CortexM`."""

    processor = "cortex-m3"
    machine = "mps2-an385"
