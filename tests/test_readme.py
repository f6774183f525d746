"""The README's section on networks of one's own, run as it stands."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import seenn_deploy as sd
from seenn_deploy.cli import compile_command, seenn
from tests import checkpoints
from tests.frontends.test_onnx import resnet

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
SECTION = README.split("## Bring your own network\n")[1].split("\n## ")[0]
(PYTHON,) = re.findall(r"```python\n(.*?)```", SECTION, re.S)
COMMANDS = [line[2:] for line in SECTION.splitlines() if line.startswith("$ ")]


def test_networks_of_one_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quiet = os.environ | {"LOGURU_LEVEL": "ERROR"}
    subprocess.run([sys.executable, "-c", PYTHON], check=True, env=quiet, timeout=300)
    shutil.copy("build/own/nir/network.nir", "events.nir")
    resnet(tmp_path).rename("ann.onnx")
    np.savez("train.npz", x=checkpoints.images((4, 3, 8, 8)))
    for line in COMMANDS:
        command, *arguments = shlex.split(line)
        entry = compile_command if command == "seenn-compile" else seenn
        done = CliRunner().invoke(entry, arguments)
        assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception!r}"
    source = sd.Program.load("build/events").graph.source
    assert (source.step_us, source.counts_events) == (1000.0, True)
    assert sd.Program.load("build/converted").T == 16
    x = torch.rand(2, 3, 32, 32).numpy()
    programs = [sd.Program.load(f"build/{name}") for name in ("own", "nir")]
    own, nir = (sd.simulate(program, x, full_trace=True) for program in programs)
    np.testing.assert_allclose(own.logits, nir.logits, atol=1e-5)
