"""Models of PolicySource."""

from __future__ import annotations

from typing import Any

from processes.image_source_models import PORTS, Sending
from processes.models import models
from processes.policy_source import PolicySource


class Choosing(Sending):
    """The model of a source that asks the policy network once per sample."""

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.policy, self.images = proc_params["policy"], proc_params["images"]

    def choose(self, sample: int) -> int:
        return int(self.policy.timesteps(self.images[sample : sample + 1])[0])


PyPolicySourceFloat, PyPolicySourceFixed = models(PolicySource, Choosing, *PORTS)
