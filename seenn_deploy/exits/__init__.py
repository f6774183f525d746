"""Exit rules, one per file. The file name is the rule's name; its class has it in CamelCase.

``exits.Confidence`` and its siblings are imported when they are asked for.

Examples
--------
>>> import numpy as np
>>> import seenn_deploy as sd
>>> "margin" in sd.exits.names()
True
>>> logits = np.array([[[0.0, 1.0], [0.0, 5.0]]])  # one sample, two timesteps, two classes
>>> sd.exits.Confidence(0.9).exit_steps(logits)
array([2])
"""

from __future__ import annotations

from typing import Any

from seenn_deploy import plugins

from .base import ExitRule, make, rule_of

_HELPERS = ("base", "family", "integer", "points", "policy_network")


def names() -> list[str]:
    """List the names of all rules."""
    return plugins.names("exits", without=_HELPERS)


def tunable() -> list[str]:
    """List the rules with a number that a sweep varies and a calibration finds."""
    return [name for name in names() if rule_class(name).parameter]


def rule_class(name: str) -> type[ExitRule]:
    """Return the class of a rule that `names` lists."""
    return rule_of(plugins.load("exits", name))


def from_dict(stored: dict[str, Any]) -> ExitRule:
    """Make a rule from what ``ExitRule.to_dict`` returned.

    Raises
    ------
    ValueError
        When there is no such rule, or a parameter is out of range.
    """
    name = stored.get("rule")
    if name not in names():
        raise ValueError(f"exit rule {name!r} does not exist; there are {', '.join(names())}")
    return make(rule_class(str(name)), stored)


def __getattr__(name: str) -> Any:
    if name.lower() in names():
        return getattr(plugins.load("exits", name.lower()), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *(rule_class(name).__name__ for name in names())})


__all__ = ["ExitRule", "from_dict", "names", "tunable"]
