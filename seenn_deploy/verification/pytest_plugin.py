"""Hardware in the loop with pytest: a program on a device, compared with the simulator in a test.

pytest finds it by itself (entry point ``pytest11``) once seenn-deploy is installed::

    def test_my_network(assert_same_spikes):
        assert_same_spikes("build/", "images.npz")

runs on Lava, and with ``pytest --seenn-device qemu-cortex-m4`` on that device.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from seenn_deploy.io.images.image_set import Images
    from seenn_deploy.ir.program import Program
    from seenn_deploy.verification.report import VerifyReport


class AssertSameSpikes(Protocol):
    """What the fixture of the same name is."""

    def __call__(
        self, program: Program | str | Path, images: Images, **options: Any
    ) -> VerifyReport:
        """Fail the test, with the first difference, unless device and simulator are equal.

        Parameters
        ----------
        program : Program, or the folder of one
            Of a folder that holds what was written for the device, that is what runs.
        images : array, ImageSet, or a path
            As for ``sd.verify``.
        **options
            As for ``sd.verify``: `full_trace`, `timeout`, and the device's own.

        Returns
        -------
        VerifyReport
        """


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--seenn-device``."""
    parser.getgroup("seenn-deploy").addoption(
        "--seenn-device",
        default="lava",
        metavar="NAME[:ARGUMENT]",
        help="device on which assert_same_spikes runs programs (default: lava)",
    )


@pytest.fixture
def seenn_device(request: pytest.FixtureRequest) -> str:
    """The device that ``--seenn-device`` names."""
    return str(request.config.getoption("--seenn-device"))


@pytest.fixture
def assert_same_spikes(seenn_device: str) -> AssertSameSpikes:
    """Return a function that compares a program on the device with the simulator."""

    def compare(program: Program | str | Path, images: Images, **options: Any) -> VerifyReport:
        # Imported by the test that needs it: every pytest run of a project loads this file.
        from seenn_deploy.errors import SeennError
        from seenn_deploy.ir.program import Program
        from seenn_deploy.verification.verify import verify

        options["progress"] = False
        try:
            if isinstance(program, Program):
                report = verify(program, images, seenn_device, **options)
            else:
                options["bundle"] = _deployed(Path(program), seenn_device)
                report = verify(Program.load(program), images, seenn_device, **options)
            told = "" if report.ok else _told(report)
        except SeennError as error:
            told = f"{seenn_device}: {error}"
        # Outside of the handler, or pytest would show the fault twice.
        if told:
            pytest.fail(told, pytrace=False)
        return report

    return compare


def _deployed(build: Path, device: str) -> Path | None:
    """The folder, where it holds what was written for a device; None has it written anew."""
    from seenn_deploy.targets.devices import find

    return build if (build / find(device).target).is_dir() else None


def _told(report: VerifyReport) -> str:
    """The first difference in one line, which is what a table of test results shows."""
    wrong = [d for d in report.first_differences if d.kind != "tie"]
    if not wrong:
        found = f"{report.wrong_logits} wrong logits, {report.wrong_latencies} wrong latencies"
        return f"{report.device} differs from the simulator: {found}"
    first = wrong[0]
    where = f"sample {first.sample}, step {first.step}, {first.layer}{list(first.neuron)}"
    values = f"{first.quantity} {first.simulated:g}, on {report.device} {first.device:g}"
    samples = f"{len(wrong)} of {report.samples} samples differ"
    return f"{report.device} differs from the simulator: {where}: {values}; {samples}"


__all__ = ["AssertSameSpikes", "assert_same_spikes", "pytest_addoption", "seenn_device"]
