"""Training losses, one per file. The file name is the loss's name; its class has it in CamelCase.

======== ==========================================================================================
tet      every timestep learns the label (SEENN-I's)
mixed    parts of the network run for random numbers of timesteps
distill  every timestep learns the mean logits of the timesteps that are right
gap      the label's accumulated logit leads the others by a margin
rcs      every timestep's response points where the mean response points
======== ==========================================================================================

Each file states its paper, and what it takes from it. A loss needs torch, so it is imported when
it is asked for.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from seenn_deploy import plugins
from seenn_deploy.errors import DataError

if TYPE_CHECKING:
    from seenn_deploy.training.losses.base import Loss

_ROOM = "training/losses"


def names() -> list[str]:
    """List the names of all losses."""
    return plugins.names(_ROOM, without=("base",))


def named(name: str, **options: Any) -> Loss:
    """Make a loss; `options` are its parameters, of which it has a default for each.

    Raises
    ------
    DataError
        When there is no such loss, or it has no such parameter.
    """
    if name not in names():
        raise DataError(f"loss {name!r} does not exist; there are {', '.join(names())}")
    kind: type[Loss] = getattr(plugins.load(_ROOM, name), name.title())
    known = [field.name for field in fields(kind)]
    for option in options:
        if option not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise DataError(f"loss {name} has no parameter {option!r}; {has}")
    return kind(**options)


__all__ = ["named", "names"]
