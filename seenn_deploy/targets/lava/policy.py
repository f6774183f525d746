"""A policy network's ONNX file as plain operations that a Lava process can run."""

from __future__ import annotations

from pathlib import Path

from seenn_deploy.errors import ModelError, ProgramError
from seenn_deploy.exits import ExitRule
from seenn_deploy.exits.policy_network.forward import PolicyNetwork
from seenn_deploy.exits.policy_network.reading import read_network
from seenn_deploy.io.onnx import read_onnx


def lower(rule: ExitRule) -> PolicyNetwork | None:
    """The policy network of an exit rule, None for a rule that has none.

    Raises
    ------
    ProgramError
        When the network holds an operator that the pre-stage does not run.
    """
    stored = rule.to_dict()
    if stored["rule"] != "policy":
        return None
    file = Path(getattr(rule, "onnx", ""))
    try:
        return read_network(read_onnx(file), stored["choices"])
    except (ModelError, ValueError) as error:
        raise ProgramError(f"{file}: the Lava target cannot run this policy: {error}") from None
