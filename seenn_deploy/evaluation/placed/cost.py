"""What a run costs on a chip, as a cost like any other: ``--cost loihi1-placed``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seenn_deploy import costs, ir
from seenn_deploy._typing import Array
from seenn_deploy.compiler.mapping.place import map_to_chip
from seenn_deploy.costs.model import Cost, Ran
from seenn_deploy.errors import DataError
from seenn_deploy.evaluation.placed.run import PlacedRun, run_placed, steps_between
from seenn_deploy.io.images.image_set import Images

SUFFIX = "-placed"


@dataclass(frozen=True, eq=False)
class PlacedCost(Cost):
    """The prices of a chip for what its cores did; it prices runs of the same samples alone.

    Energy of a unit goes to its layer: what its neurons took, and what their spikes sent and met.
    The tokens that end a sample are the readout's, at the first timestep.

    Parameters
    ----------
    run : PlacedRun

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> from seenn_deploy.evaluation.placed.cost import PlacedCost
    >>> files = sd.example()
    >>> program = sd.compile(sd.import_model(files.network, T=4), precision="int8")
    >>> placement = sd.map_to_chip(program, "loihi1")
    >>> cost = PlacedCost(sd.run_placed(program, placement, files.images))
    >>> run = sd.simulate(program, files.images)
    >>> run.energy(cost).shape
    (50,)
    """

    run: PlacedRun

    no_ann = "cores that hold spikes have no figure for a conventional network"

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"{self.run.placement.chip.name}{SUFFIX}"

    def spent(self, run: Ran) -> Array:
        """Joules of each timestep and layer under the schedule of `run`, float64 (N, T, L).

        Raises
        ------
        DataError
            When `run` is not of the samples and layers that were counted.
        """
        terms = self.run.step_energy(steps_between(run.timing))
        by_unit = sum(terms.values(), np.zeros(()))
        n, _, T = by_unit.shape
        layers = {unit.layer for unit in self.run.units if unit.neurons}
        if run.counts.ac.shape != (n, len(run.layers), T) or layers != set(run.layers):
            raise DataError(
                f"cost {self.name}: was counted for {n} samples of another run; place and run the "
                "same images of the same program"
            )
        found = np.zeros((n, len(run.layers), T))
        for unit, spent in zip(self.run.units, by_unit.swapaxes(0, 1), strict=True):
            # The host's messages go to the first layers.
            found[:, run.layers.index(unit.layer) if unit.neurons else 0] += spent
        found[:, -1, 0] += self.run.token_energy
        return found.swapaxes(1, 2)


def resolved(
    cost: str, program: ir.Program, images: Images, threads: int | None = None
) -> costs.Priced:
    """Take the name of a cost model, or of a chip and ``-placed``, for whose cores images run.

    Raises
    ------
    DataError
        When there is no such model or chip, or the chip has no energies.
    ProgramError
        When the chip cannot compute the program.
    """
    if not cost.endswith(SUFFIX) or cost in costs.names():
        costs.load(cost)
        return cost
    placement = map_to_chip(program, cost.removesuffix(SUFFIX))
    if not placement.chip.energy:
        raise DataError(
            f"cost {cost}: nobody has published what an operation costs on "
            f"{placement.chip.name}; its file has no energies"
        )
    return PlacedCost(run_placed(program, placement, images, threads=threads))
