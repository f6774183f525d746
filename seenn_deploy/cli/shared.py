"""The steps that several commands share: open a program and its data, run it, write figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seenn_deploy.errors import SeennError

if TYPE_CHECKING:
    from seenn_deploy.exits import ExitRule
    from seenn_deploy.io.images.image_set import ImageSet
    from seenn_deploy.ir.program import Program
    from seenn_deploy.simulator.result import RunResult


def load_program(build: Path, rule: ExitRule | None) -> Program:
    """Load a program, with another exit rule if one was asked for."""
    import seenn_deploy as sd

    program = sd.Program.load(build)
    # The weights do not depend on it, so that one build can be tried under any rule.
    return program.with_exit(rule) if rule else program


def need_labels(images: ImageSet) -> None:
    """Refuse images without labels before they are run."""
    if images.labels is None:
        raise SeennError("the images have no labels; give `y` in the .npz, or class folders")


def check_resume(resume: bool, folder: Path | None, option: str) -> None:
    """Refuse --resume without the folder, which `option` names."""
    if resume and folder is None:
        raise SeennError(f"--resume goes on with a run folder; name it with {option}")


def check_schedule(schedule: str | None, *targets: str) -> None:
    """Refuse a --schedule that does not exist, or that a target's hardware cannot follow."""
    from seenn_deploy.ir.program import schedules_of
    from seenn_deploy.ir.schedule import check_name

    if schedule is None:
        return
    check_name(schedule)
    for target in targets:
        if (takes := schedules_of(target)) and schedule not in takes:
            raise SeennError(
                f"target {target} cannot follow a {schedule} schedule, its timesteps enter a "
                f"pipeline; --schedule {', '.join(takes)}"
            )


def full_run(
    program: Program,
    images: ImageSet,
    threads: int | None,
    out: Path | None = None,
    resume: bool = False,
    client: Any = None,
    device: str | None = None,
) -> RunResult:
    """Run every image to T."""
    import seenn_deploy as sd

    return sd.simulate(
        program, images, full_trace=True, threads=threads, out=out, resume=resume, client=client,
        device=device,
    )  # fmt: skip


def write_json(path: Path | None, value: dict[str, Any]) -> None:
    """Write --json, if it was given; '-' is standard output."""
    from seenn_deploy.io import folders

    if path == Path("-"):
        print(json.dumps(value, indent=1))
    elif path is not None:
        folders.write_json(path, value)
