"""A Cortex-M4: QEMU's board mps2-an386."""

from __future__ import annotations

from seenn_deploy.targets.c import emulator


class Device(emulator.CortexM):
    """The C folder on an emulated Cortex-M4; see :class:`emulator.CortexM`."""

    processor = "cortex-m4"
    machine = "mps2-an386"
