"""Hardware in the loop: a device is compared with the simulator, spike for spike."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from seenn_deploy._typing import Array, checked_types
from seenn_deploy.errors import DeviceError
from seenn_deploy.io.images.image_set import Images, ImageSet
from seenn_deploy.ir.inputs import for_program
from seenn_deploy.ir.program import Program, write
from seenn_deploy.ir.schedule import initiation_interval, latency
from seenn_deploy.progress import Progress, shown
from seenn_deploy.simulator.distribute import Cluster
from seenn_deploy.simulator.engine import is_torch, simulate
from seenn_deploy.targets.base import DeviceRun, Outline, Request, checked, totals
from seenn_deploy.targets.devices import find, run
from seenn_deploy.verification.exact import ExactComparison
from seenn_deploy.verification.placed import counted
from seenn_deploy.verification.report import Difference, LayerReport, VerifyReport
from seenn_deploy.verification.rounded import RoundedComparison
from seenn_deploy.verification.spread import packed, unpacked, verify_on


@checked_types
def verify(
    program: Program,
    images: Images,
    device: str = "lava",
    *,
    bundle: str | Path | None = None,
    full_trace: bool = False,
    timeout: float | None = None,
    client: Cluster | None = None,
    progress: Progress = None,
    **options: Any,
) -> VerifyReport:
    """Simulate a program, run it on a device, and compare every spike, logit and exit step.

    The simulator adds in float32, the device in float64, so a neuron whose potential sits on its
    threshold may spike in one of them alone. Such a tie has to be proven: from the spikes that
    both agree on, the potential is recomputed in float64, and it must lie nearer to the threshold
    than float32 rounding can carry it (the bound is derived in ``replay.potentials``). What differs
    later in the same sample is a consequence only if the spikes of both, each given its own past,
    are what the equations say; everything else is a mismatch.

    An integer program has no ties: spikes, potentials, integer logits and exit steps are equal, or
    they are mismatches. Of both, each sample's start and latency must be what the schedule says.

    Parameters
    ----------
    program : Program
        Program to run; a sequential one runs under the device's own schedule.
    images : array (N, C, H, W), for event coding (N, T, C, H, W), ImageSet, or a path
        Images, as the program takes them.
    device : str
        Target that can run what it writes, as for ``sd.run``; or torch's 'cpu', 'cuda' or
        'cuda:N', as for ``sd.simulate``, which proves the ties of a float program there.
    bundle : Path, optional
        Bundle to run on the device; by default it is written for this call.
    full_trace : bool
        Whether to compare all T timesteps, also those after the exit.
    client : distributed.Client, optional
        A Dask cluster, whose workers verify chunks of the samples, each on a device of its own;
        `timeout` is that of one chunk.
    timeout, progress, **options
        As for ``sd.run``; of device 'lava' the options are `python` and `command`.

    Raises
    ------
    SeennError
        When the images do not fit, or the device is missing or fails.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> files = sd.example()
    >>> program = sd.compile(sd.import_model(files.network, T=4))
    >>> import numpy as np
    >>> image = np.load(files.images)["x"][:1].transpose(0, 3, 1, 2) / 255
    >>> report = sd.verify(program, image, device="lava")
    >>> report.ok, report.samples
    (True, 1)
    """
    torch = is_torch(device)
    if torch and (timeout is not None or any(value is not None for value in options.values())):
        raise DeviceError(f"device {device} is torch in this process: no timeout, no options")
    program = program if torch else program.for_targets(find(device).target)
    data = for_program(program, images)
    place = None if bundle is None else Path(bundle)
    if client is not None:
        files = None if place is None or torch else packed(place)
        told = {"device": device, "full_trace": full_trace, "timeout": timeout, **options}
        return verify_on(client, program, data, _verified, {"files": files, **told}, progress)
    # Whole, because a device takes all samples in one go: starting Lava takes seconds.
    stacked = data.take(0, len(data))
    exact = program.precision != "float32"
    began = time.perf_counter()
    with shown(progress, f"running on {device}", len(stacked)) as advance:
        request = Request(True, full_trace, False, timeout, advance, data.length)
        if torch:
            ran = _in_torch(program, data, device, request)
        else:
            ran = _run(program, stacked, device, place, request, options)
    seconds = time.perf_counter() - began
    # a function counts the samples of the device alone
    bar = False if callable(progress) else progress
    simulated = simulate(program, data, record=True, full_trace=full_trace or exact, progress=bar)
    # Integers must agree to the bit; float32 sums may differ by their order, and then proof
    # decides.
    compare = ExactComparison if exact else RoundedComparison
    report = compare(program, stacked, simulated, ran, full_trace).report(device, seconds)
    wrong = wrong_latencies(program, ran, full_trace, data.length)
    report = replace(report, wrong_latencies=wrong, notes=ran.notes)
    if not ran.measured:
        return report
    ours = counted(program, ran.chip, stacked, full_trace)
    return replace(report, measured=totals(ran.measured), counted=ours)


def _verified(program: Program, part: ImageSet, options: Mapping[str, Any]) -> VerifyReport:
    """Verify a chunk of the samples; this is what a worker of a cluster does."""
    given = dict(options)
    with unpacked(given.pop("files")) as bundle:
        return verify(program, part, bundle=bundle, progress=False, **given)


def wrong_latencies(
    program: Program, ran: DeviceRun, full_trace: bool, length: Array | None = None
) -> int:
    """Count samples whose start or latency does not follow from the device's own exits."""
    depth = program.depth
    ends = np.full_like(ran.exit_step, program.T) if length is None else length
    last = ends if full_trace else ran.exit_step
    schedule = program.followed_schedule
    interval = initiation_interval(schedule, last, depth, ends)
    wrong = ran.hardware_steps != latency(schedule, last, depth)
    wrong[1:] |= np.diff(ran.start) != interval[:-1]
    return int(wrong.sum())


def _in_torch(program: Program, data: ImageSet, device: str, request: Request) -> DeviceRun:
    """Run torch's engine as a device whose hardware steps are those of the schedule."""
    run = simulate(
        program, data, record=True, full_trace=request.full_trace, device=device,
        progress=request.progress or False,
    )  # fmt: skip
    last = run.ends if request.full_trace else run.exit_step
    schedule, depth = program.followed_schedule, program.depth
    interval = initiation_interval(schedule, last, depth, run.ends)
    return DeviceRun(
        run.logits,
        run.exit_step,
        latency(schedule, last, depth),
        run.spikes,
        start=np.cumsum(interval) - interval,
        injected=program.timing.injected(last, run.ends),
        v=run.v,
        integer_logits=run.integer_logits,
        policy_scores=run.policy_scores,
    )


def _run(
    program: Program,
    images: Array,
    device: str,
    bundle: Path | None,
    request: Request,
    options: dict[str, Any],
) -> DeviceRun:
    """Run a device, and check the shapes of its answer, in which its author may have erred."""
    if bundle is not None:
        asked = vars(request) | {"progress": request.progress or False}  # the bar is there already
        ran = run(bundle, images, device=device, **asked, **options)
        again = checked(ran.to_arrays(), Outline.of(program), request, len(images))
        return replace(again, notes=ran.notes, measured=ran.measured, chip=ran.chip)
    target = find(device).target
    with tempfile.TemporaryDirectory(prefix="seenn-bundle-") as folder:
        write(target, program, Path(folder))
        return _run(program, images, device, Path(folder), request, options)


__all__ = ["Difference", "LayerReport", "VerifyReport", "verify", "wrong_latencies"]
