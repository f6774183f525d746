"""Exit rules, one a file. The file name is the rule's name, its class the same in CamelCase."""

from __future__ import annotations

from typing import Any

from seenn_deploy import plugins

from .base import ExitRule

_HELPERS = ("base", "integer", "policy_network")


def names() -> list[str]:
    """The rules there are."""
    return plugins.names("exits", without=_HELPERS)


def rule_class(name: str) -> type[ExitRule]:
    """The class of a rule that `names` lists."""
    found: type[ExitRule] = getattr(plugins.load("exits", name), name.title())
    return found


def from_dict(stored: dict[str, Any]) -> ExitRule:
    """A rule from what ``ExitRule.to_dict`` gave.

    Raises
    ------
    ValueError
        For a rule that does not exist or a parameter out of range.
    """
    parameters = dict(stored)
    name = parameters.pop("rule", None)
    if name not in names():
        raise ValueError(f"exit rule {name!r} does not exist; there are {', '.join(names())}")
    try:
        return rule_class(str(name))(**parameters)
    except TypeError as error:
        raise ValueError(f"exit rule {name}: {error}") from None


def __getattr__(name: str) -> Any:
    """``exits.Confidence`` and its siblings, imported when they are asked for."""
    if name.lower() in names():
        return getattr(plugins.load("exits", name.lower()), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["ExitRule", "from_dict", "names"]
