"""Each process alone, both models: tokens, holding, resets, verdicts, graded sums."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seenn_deploy.ir.program import write
from tests.targets.lava import graphs

NONE, FIRST, SECOND = [0, 2, 0], [1, 2, 0], [2, 2, 0]  # tokens: t, last, sample
TAGS = ("floating_pt", "fixed_pt")


def lif(tag: str, tokens: list[Any], currents: list[Any], **more: Any) -> dict[str, Any]:
    """Two neurons of threshold 1 (fixed: 64), tau 1/2, with a bias on the second."""
    fixed = tag == "fixed_pt"
    parameters = {
        "shape": [2], "dv": 2048 if fixed else 0.5, "vth": 64 if fixed else 1.0,
        "v_init": 0, "bias": [0, 1024 if fixed else 0.25], **more,
    }  # fmt: skip
    scale = 64 if fixed else 1
    inputs = [["token_in", tokens], ["a_in", (scale * np.array(currents)).astype(int).tolist()]]
    if not fixed:
        inputs[1] = ["a_in", currents]
    return {
        "kind": "lif", "tag": tag, "parameters": parameters, "inputs": inputs,
        "outputs": ["s_out", "token_out"],
    }  # fmt: skip


def cases() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for tag in TAGS:
        fixed = tag == "fixed_pt"
        waves = [FIRST, NONE, SECOND, FIRST, NONE, NONE]
        rising = [[0.75, 0.5], [0, 0], [0.75, 0.375], [0.75, 0.5], [0, 0], [3, 3]]
        for holds in (False, True):
            found[f"{tag} {'holds' if holds else 'runs'}"] = lif(tag, waves, rising, holds=holds)
        steady = [FIRST] + [SECOND] * 4
        exact = [[1, 1], [1, 1], [2.5, 0], [0.5, 0], [0, 0]]
        for reset in ("hard", "soft"):
            for comparison in (">", ">="):
                found[f"{tag} {reset} {comparison}"] = lif(
                    tag, steady, exact, reset=reset, comparison=comparison, bias=[0, 0],
                    dv=0 if fixed else 0.0, v_init=32 * 64 if fixed else 0.5,
                )  # fmt: skip
        big = 2**22 if fixed else 5
        messages = [[[0, 1], [1, big], [2, 3]], [[1, 1], [0, big], [-5, 0]]]
        found[f"{tag} add"] = {
            "kind": "add", "tag": tag, "parameters": {"shape": [2]},
            "inputs": [["s_in", m] for m in messages], "outputs": ["s_out"],
        }  # fmt: skip
        found[f"{tag} controller"] = controller(tag)
    return found


def controller(tag: str) -> dict[str, Any]:
    """Sample 0 is sure at t = 2 of 3, sample 1 at its end t = 2; nothing in between."""
    tokens = [[0, 0, -1], [1, 3, 0], [0, 3, 0], [2, 3, 0], [3, 3, 0], [1, 2, 1], [2, 2, 1], [0] * 3]
    currents = [[9999, 0], [100, 0], [9999, 0], [500, 0], [0, 0], [0, 10], [0, 10], [0, 0]]
    parameters = {
        "shape": [2], "bias": [1, 0], "rule": {"rule": "confidence", "alpha": 0.9},
        "length": [4] * 9,
    }  # fmt: skip
    if tag == "floating_pt":
        currents = (np.array(currents) / 100).tolist()
        parameters["bias"] = [0.01, 0.0]
    return {
        "kind": "controller", "tag": tag, "parameters": parameters,
        "inputs": [["token_in", tokens], ["a_in", currents]], "outputs": ["verdict_out"],
    }  # fmt: skip


@pytest.fixture(scope="module")
def sent(lava: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What every process of :func:`cases` sent, from one Lava interpreter."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "bundle").mkdir()
    write("lava", graphs.program(graphs.small()), folder / "bundle")
    (folder / "cases.json").write_text(json.dumps(cases()))
    script = Path(__file__).with_name("process_runs.py")
    files = [folder / "bundle", folder / "cases.json", folder / "sent.npz"]
    done = subprocess.run(
        [str(lava), str(script), *map(str, files)],
        capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(np.load(folder / "sent.npz"))


@pytest.mark.parametrize("tag", TAGS)
def test_a_token_leaves_one_step_later_and_resets(tag: str, sent: dict[str, np.ndarray]) -> None:
    tokens = sent[f"{tag} runs/token_out"].tolist()
    assert tokens == [[0, 0, -1], FIRST, NONE, SECOND, FIRST, NONE]
    # neuron 0: .75, .375, .9375, reset .75, .375, 3.1875*; neuron 1 with its bias of .25:
    # .75, .625, .9375, reset .75, .625, 3.5625*
    assert sent[f"{tag} runs/s_out"].astype(int).tolist() == [[0, 0]] * 5 + [[1, 1]]


@pytest.mark.parametrize("tag", TAGS)
def test_neurons_hold_between_waves(tag: str, sent: dict[str, np.ndarray]) -> None:
    # the second wave meets .75 and .75, not what a step of leak and bias would have left
    assert sent[f"{tag} holds/s_out"].astype(int).tolist() == [
        [0, 0], [0, 0], [1, 0], [0, 0], [0, 0], [0, 0],
    ]  # fmt: skip


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize(
    ("kind", "neuron_0"),
    [
        # from .5 without leak, threshold 1, currents 1, 1, 2.5, .5, 0
        ("hard >", [1, 0, 1, 0, 0]),  # 1.5* 1 3.5* .5 .5
        ("hard >=", [1, 1, 1, 0, 0]),  # 1.5* 1* 2.5* .5 .5
        ("soft >", [1, 1, 1, 1, 1]),  # 1.5* 1.5* 3* 2.5* 1.5*
        ("soft >=", [1, 1, 1, 1, 1]),
    ],
)
def test_resets_and_comparisons(
    tag: str, kind: str, neuron_0: list[int], sent: dict[str, np.ndarray]
) -> None:
    assert sent[f"{tag} {kind}/s_out"][:, 0].astype(int).tolist() == neuron_0


@pytest.mark.parametrize("tag", TAGS)
def test_a_soft_reset_keeps_what_is_above_the_threshold(
    tag: str, sent: dict[str, np.ndarray]
) -> None:
    # neuron 1: from .5, currents 1, 1, 0, 0, 0
    rows = {k: sent[f"{tag} {k}/s_out"][:, 1].astype(int).tolist() for k in ("soft >", "soft >=")}
    assert rows["soft >"] == [1, 1, 0, 0, 0]  # 1.5* 1.5* .5 ..
    assert rows["soft >="] == [1, 1, 0, 0, 0]


def test_graded_messages_add_up(sent: dict[str, np.ndarray]) -> None:
    assert sent["floating_pt add/s_out"].tolist() == [[1, 2], [1, 10], [-3, 3]]
    limit = 2**23 - 1  # of a message of 24 bits: saturates
    assert sent["fixed_pt add/s_out"].tolist() == [[1, 2], [1, limit], [-3, 3]]


@pytest.mark.parametrize("tag", TAGS)
def test_verdicts(tag: str, sent: dict[str, np.ndarray]) -> None:
    """Sample, timestep, stopped, class; a step after the wave."""
    nothing = [-1, 0, 0, 0]
    assert sent[f"{tag} controller/verdict_out"].tolist() == [
        nothing,
        nothing,
        [0, 1, 0, 0],  # z = 1.01, 0: .73
        nothing,
        [0, 2, 1, 0],  # 6.02, 0: .998
        [0, 3, 1, 0],
        [1, 1, 0, 1],  # .01, .1
        [1, 2, 1, 1],  # its last
    ]
