"""Models of PolicySource."""

from __future__ import annotations

from typing import Any

from processes.image_source_models import PORTS, Sending
from processes.models import models
from processes.policy_source import PolicySource
from processes.waves import Recorder


class Choosing(Sending):
    """The model of a source that asks the policy network once per sample."""

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.policy, self.images = proc_params["policy"], proc_params["images"]
        self.scores = Recorder(proc_params["scores"])

    def choose(self, sample: int) -> int:
        (scores,) = self.policy.scores(self.images[sample : sample + 1])
        self.scores.write(scores)
        return int(self.policy.choices[scores.argmax()])


PyPolicySourceFloat, PyPolicySourceFixed = models(PolicySource, Choosing, *PORTS)
