"""The two models of each process, one in float64 and one in Loihi's integers.

``X_models.py`` has what a process does, once; here its ports get the type of each arithmetic.
Lava forbids subclassing a finished model, so `models` makes both from a class that is none yet.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

FLOAT, FIXED = "floating_pt", "fixed_pt"


def models(process: type, doing: type, *ports: str) -> tuple[type, type]:
    """Make the models of a process in float64 and in integers.

    Parameters
    ----------
    process : subclass of AbstractProcess
    doing : subclass of PyLoihiProcessModel
        Class that does what both do.
    ports : names of its ports
    """
    # Lava looks for models whose __module__ is the module that holds them.
    of = {"__module__": doing.__module__}
    both = (type(f"Py{process.__name__}{kind}", (doing,), of) for kind in ("Float", "Fixed"))
    return tuple(model(process, t, *ports)(c) for t, c in zip((FLOAT, FIXED), both, strict=True))


def model(process: type, arithmetic: str, *ports: str) -> Callable[[type], type]:
    """Decorate a class as the model of a process in one arithmetic, with ports of its type."""

    def finished(cls: type) -> type:
        for port in ports:
            setattr(cls, port, _port(port, arithmetic))
        return implements(process, LoihiProtocol)(requires(CPU)(tag(arithmetic)(cls)))

    return finished


def _port(name: str, arithmetic: str) -> LavaPyType:
    """Return the type of a port; its name says what it carries, and whether in or out."""
    kind = PyInPort.VEC_DENSE if name.endswith("_in") else PyOutPort.VEC_DENSE
    if name.startswith(("token", "verdict")):
        return LavaPyType(kind, np.int32)
    if arithmetic == FLOAT:
        return LavaPyType(kind, float)
    return LavaPyType(kind, np.int32, precision=24 if name.startswith("s_") else None)
