"""A Cortex-M7: QEMU's board mps2-an500."""

from __future__ import annotations

from seenn_deploy.targets.c import emulator


class Device(emulator.CortexM):
    """The C folder on an emulated Cortex-M7; see :class:`emulator.CortexM`."""

    processor = "cortex-m7"
    machine = "mps2-an500"
    psram = 0x60000000
