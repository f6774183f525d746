from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import seenn_deploy as sd
from seenn_deploy.errors import DataError, ModelError, ProgramError, SeennError, TrainingError
from seenn_deploy.exits.policy import Policy
from seenn_deploy.training import loop, models
from seenn_deploy.training.data import (
    Normalization,
    augmented,
    batches,
    cut_out,
    find_kind,
    load,
)
from seenn_deploy.training.distillation import distillation_loss, teacher_of
from seenn_deploy.training.loop import Recipe
from seenn_deploy.training.models.resnet import ResNet
from seenn_deploy.training.tasks import (
    Architecture,
    train_joint,
    train_policy,
    train_snn,
)
from seenn_deploy.training.weights import load_weights
from tests.io.test_events import recordings

TINY = Architecture("resnet8", width=0.25, T=2)
RECIPE = Recipe(epochs=3, batch_size=16, lr=0.05, seed=3)


def shapes(folder: Path, n: int = 96, seed: int = 0, **changes: Any) -> Path:
    """Two classes of 8x8 pictures: bright above, or bright below."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = rng.integers(0, 120, (n, 8, 8, 3))
    for image, label in zip(x, y, strict=True):
        image[4 * label : 4 * label + 4] += 100
    arrays = {"x": x.astype(np.uint8), "y": y} | changes
    path = folder / f"shapes{seed}.npz"
    np.savez(path, **arrays)
    return path


def weights(folder: Path, name: str = "model.pth") -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(folder / name, weights_only=True)
    return found


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def program_of(checkpoint: Path, rule: Any = None, T: int = 2) -> sd.Program:
    return sd.compile(sd.import_model(checkpoint, T=T, input_size=8), rule or sd.exits.Fixed())


# --- SEENN-I -------------------------------------------------------------------------------------


def test_a_tiny_run_learns_and_what_it_writes_compiles(tmp_path: Path) -> None:
    test = shapes(tmp_path, 64, seed=1)
    log = train_snn(
        shapes(tmp_path), tmp_path / "run", TINY, replace(RECIPE, epochs=6, augment="none"),
        test=test,
    )  # fmt: skip
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert log[-1]["accuracy_by_step"][-1] > 0.9
    assert [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    run = sd.simulate(program_of(tmp_path / "run/model.pth"), test, full_trace=True)
    np.testing.assert_allclose(
        run.accuracy_by_step(), log[-1]["accuracy_by_step"], rtol=0, atol=0.02
    )


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = shapes(tmp_path)
    train_snn(data, tmp_path / "whole", TINY, RECIPE)

    def cut(task: Any, *args: Any) -> None:
        written(task, *args)
        if len(args[-1]) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        written = loop._save
        patch.setattr(loop, "_save", cut)
        with pytest.raises(KeyboardInterrupt):
            train_snn(data, tmp_path / "cut", TINY, RECIPE)
    assert not equal(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    seen: list[int] = []
    log = train_snn(data, tmp_path / "cut", TINY, RECIPE, resume=True, progress=seen.append)
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert len(log) == 3 and sum(seen) == 3 * 96
    assert train_snn(data, tmp_path / "cut", TINY, RECIPE, resume=True) == log  # nothing left to do


def test_seeds_decide_the_weights(tmp_path: Path) -> None:
    data, short = shapes(tmp_path), replace(RECIPE, epochs=1)
    for name, recipe in (("a", short), ("b", short), ("c", replace(short, seed=4))):
        train_snn(data, tmp_path / name, TINY, recipe)
    assert equal(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not equal(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_bf16_trains_float32_weights(tmp_path: Path) -> None:
    log = train_snn(shapes(tmp_path), tmp_path / "run", TINY, replace(RECIPE, epochs=2, bf16=True))
    assert log[1]["loss"] < log[0]["loss"]
    state = weights(tmp_path / "run")
    assert all(v.dtype == torch.float32 for v in state.values() if v.is_floating_point())


def test_a_loss_that_diverges_stops_the_run_and_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = shapes(tmp_path)
    with pytest.raises(TrainingError, match="epoch 1, step 2; nothing was written; lower the"):
        train_snn(data, tmp_path / "at once", TINY, replace(RECIPE, lr=1e30))
    assert not (tmp_path / "at once").exists()
    train_snn(data, tmp_path / "one", TINY, replace(RECIPE, epochs=1))
    monkeypatch.setattr(Recipe, "rate", lambda self, done: 0.05 if done < 1 / 3 else float("nan"))
    with pytest.raises(TrainingError, match="epoch 2, step 2; the checkpoint of epoch 1 is kept"):
        train_snn(data, tmp_path / "later", TINY, RECIPE)
    kept = weights(tmp_path / "later")
    assert all(torch.isfinite(v).all() for v in kept.values())
    program_of(tmp_path / "later/model.pth")


def test_event_recordings_train_a_network_that_compiles(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n, per = 12, 40
    arrays = {k: rng.integers(0, 16, n * per).astype(np.uint8) for k in ("x", "y")}
    arrays["x"][-1] = arrays["y"][-1] = 15
    data = recordings(
        tmp_path, **arrays, p=rng.integers(0, 2, n * per), t_us=np.tile(np.arange(per), n),
        offsets=np.arange(n + 1) * per, labels=np.arange(n) % 3,
    )  # fmt: skip
    net = Architecture("vggsnn", width=1 / 16, T=3)
    log = train_snn(data, tmp_path / "run", net, replace(RECIPE, epochs=1, augment="crop"))
    assert np.isfinite(log[0]["loss"])
    program = sd.compile(sd.import_model(tmp_path / "run/model.pth", T=3))
    assert program.graph.source.shape == (2, 16, 16)
    assert sd.simulate(program, data).summary()["accuracy"] is not None


# --- SEENN-II ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained network in ``snn`` and data in ``shapes0.npz``."""
    folder = tmp_path_factory.mktemp("trained")
    train_snn(shapes(folder), folder / "snn", TINY, replace(RECIPE, epochs=2, augment="none"))
    return folder


def test_a_policy_follows_beta_and_runs_with_its_program(trained: Path, tmp_path: Path) -> None:
    program, data = program_of(trained / "snn/model.pth"), trained / "shapes0.npz"
    for beta in (0.0, 3.0):
        log = train_policy(
            program, data, tmp_path / f"{beta}", RECIPE, beta=beta, test=data, test_limit=32
        )
        assert {"accuracy", "mean_exit_step", "reward"} <= log[-1].keys()
    rule = Policy(tmp_path / "0.0" / "policy.onnx")
    assert (rule.T, rule.classes, rule.input_shape, rule.choices) == (2, 2, (3, 8, 8), (1, 2))
    run = sd.simulate(program.with_exit(rule), data)
    assert run.exit_step.mean() == 1  # a wrong answer costs nothing: why wait
    assert run.summary()["policy_mac"] == rule.dense_macs > 0


def test_the_entropy_of_a_policy_is_part_of_its_run(trained: Path, tmp_path: Path) -> None:
    program, data = program_of(trained / "snn/model.pth"), trained / "shapes0.npz"
    logs = [
        train_policy(program, data, tmp_path / f"{weight}", RECIPE, beta=0.6, entropy_weight=weight)
        for weight in (0.0, 5.0)
    ]
    assert logs[1][-1]["loss"] < logs[0][-1]["loss"] - 5 * 0.5  # of at most ln 2 nats
    with pytest.raises(ProgramError, match=r"entropy 5\.0, not 1"):
        train_policy(
            program, data, tmp_path / "5.0", RECIPE, beta=0.6, entropy_weight=1, resume=True
        )
    with pytest.raises(ProgramError, match="entropy = -1"):
        train_policy(program, data, tmp_path / "x", RECIPE, entropy_weight=-1)


def test_the_policy_s_figures_are_those_of_the_simulator(trained: Path, tmp_path: Path) -> None:
    program, data = program_of(trained / "snn/model.pth"), trained / "shapes0.npz"
    log = train_policy(program, data, tmp_path / "p", RECIPE, beta=0.6, test=data)
    run = sd.simulate(program.with_exit(Policy(tmp_path / "p/policy.onnx")), data)
    assert run.summary()["accuracy"] == pytest.approx(log[-1]["accuracy"])
    assert run.exit_step.mean() == pytest.approx(log[-1]["mean_exit_step"])


def test_joint_training_writes_a_program_and_its_policy(trained: Path, tmp_path: Path) -> None:
    data, out = trained / "shapes0.npz", tmp_path / "joint"
    net = replace(TINY, init=str(trained / "snn/model.pth"))
    log = train_joint(data, out, net, replace(RECIPE, lr=0.01, augment="none"), beta=0.5, test=data)
    assert log[-1]["loss"] < log[0]["loss"]
    program = program_of(out / "model.pth", Policy(out / "policy.onnx"))
    run = sd.simulate(program, data)
    assert run.summary()["accuracy"] == pytest.approx(log[-1]["accuracy"], abs=0.03)
    again = train_joint(
        data, tmp_path / "more", net, replace(RECIPE, epochs=1),
        policy_init=out / "policy.pth", choices=(1, 2),
    )  # fmt: skip
    assert len(again) == 1


# --- data ----------------------------------------------------------------------------------------


def test_pixels_stay_what_they_were_and_folders_are_read(tmp_path: Path) -> None:
    path = shapes(tmp_path)
    data = load(path, 2)
    with np.load(path) as stored:
        np.testing.assert_array_equal(data.samples.numpy(), stored["x"].transpose(0, 3, 1, 2))
        for label in (0, 1):
            (tmp_path / "pictures" / f"class{label}").mkdir(parents=True)
            for i in np.flatnonzero(stored["y"] == label)[:3]:
                Image.fromarray(stored["x"][i]).save(tmp_path / f"pictures/class{label}/{i}.png")
    assert load(tmp_path / "pictures", 2).samples.shape == (6, 3, 8, 8)
    assert find_kind(tmp_path / "pictures") == find_kind(path)


def test_crops_and_flips_move_pixels_and_nothing_else() -> None:
    samples = torch.arange(1, 201, dtype=torch.uint8).view(2, 1, 10, 10)
    many = samples.repeat(50, 1, 1, 1)
    random = torch.Generator().manual_seed(0)
    moved = augmented(many, "crop", random)
    assert moved.dtype == torch.uint8 and moved.shape == many.shape
    for before, after in zip(many[:, 0], moved[:, 0], strict=True):
        values = after[after > 0]
        r, c = divmod(int(after.flatten().nonzero()[0]), 10)
        first = int(before.flatten()[0])
        at = int(after[r, c]) - first
        dy, dx = at // 10 - r, at % 10 - c
        assert abs(dy) <= 4 and abs(dx) <= 4
        assert len(values) == (10 - abs(dy)) * (10 - abs(dx))
    flipped = augmented(many, "crop-flip", random)
    rises = (flipped[:, 0, 4, 5].int() - flipped[:, 0, 4, 4].int()).sign()
    assert set(rises.tolist()) == {1, -1}
    assert torch.equal(augmented(many, "none", random), many)


def test_batches_meet_every_sample_once(tmp_path: Path) -> None:
    data = load(shapes(tmp_path), 2)
    random = torch.Generator().manual_seed(0)
    rows = torch.cat([rows for _, _, rows in batches(data, 20, random, "crop-flip")])
    assert sorted(rows.tolist()) == list(range(96)) and rows.tolist() != list(range(96))


def test_normalization_is_what_the_compiler_assumes(tmp_path: Path) -> None:
    kind = find_kind(shapes(tmp_path))
    assert Normalization.of(kind).mean == (0.4914, 0.4822, 0.4465)
    assert Normalization.of(replace(kind, pixels=False)) == Normalization()


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"y": np.zeros(96, int)}, {}, "all 96 labels are 0; training needs two classes"),
        ({"y": np.arange(96) % 3}, {"classes": 2}, "is 2; this program has 0..1"),
        ({"y": np.full(96, -1)}, {}, "is -1"),
        ({"x": np.zeros((96, 8, 8), np.uint8)}, {}, "holds signals .N, T, C."),
        ({"x": np.zeros((95, 8, 8, 3), np.uint8)}, {}, "96"),
    ],
)
def test_data_that_cannot_be_trained_on(
    tmp_path: Path, changes: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    with pytest.raises((DataError, ModelError), match=words):
        train_snn(shapes(tmp_path, **changes), tmp_path / "run", TINY, RECIPE, **options)
    assert not (tmp_path / "run").exists()


def test_images_of_mixed_size_and_data_without_labels(tmp_path: Path) -> None:
    for name, size in (("a", 8), ("b", 9)):
        (tmp_path / "mixed" / name).mkdir(parents=True)
        Image.new("RGB", (size, size)).save(tmp_path / "mixed" / name / "1.png")
    with pytest.raises(DataError, match="is 9x9"):
        load(tmp_path / "mixed", 2)
    np.savez(tmp_path / "bare.npz", x=np.zeros((4, 8, 8, 3), np.uint8))
    with pytest.raises(DataError, match="no labels to train on"):
        load(tmp_path / "bare.npz", 2)
    for missing in ("none.npz", "none"):
        with pytest.raises(DataError, match="training data comes as"):
            load(tmp_path / missing, 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 0}, "epochs = 0"),
        ({"batch_size": 1}, "batch_size = 1"),
        ({"lr": 0}, "lr = 0"),
        ({"augment": "mixup"}, "crop-flip, crop, none"),
        ({"device": "cuda"}, "no CUDA device"),
        ({"cutout": -1}, "cutout = -1"),
        ({"average": 1.0}, "average = 1.0"),
        ({"sizes": ((24, 0.5), (32, 0.4))}, "shares add up to 1"),
        ({"sizes": ((0, 1.0),)}, "sizes and shares lie above 0"),
    ],
)
def test_recipes_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    if options.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(DataError, match=words):
        Recipe(**options)


def test_resuming_something_else_is_refused(trained: Path, tmp_path: Path) -> None:
    data, done = trained / "shapes0.npz", trained / "snn"
    same = replace(RECIPE, epochs=2, augment="none")
    for changed, recipe, resume, words in (
        (TINY, same, False, "add --resume"),
        (replace(TINY, width=0.5), same, True, "is a run with width 0.25, not 0.5"),
        (replace(TINY, model="resnet20"), same, True, "is a run with model resnet8, not resnet20"),
        (replace(TINY, T=3), same, True, "is a run with T 2, not 3"),
        (TINY, replace(same, lr=0.1), True, "is a run with lr 0.05, not 0.1"),
    ):
        with pytest.raises(ProgramError, match=words):
            train_snn(data, done, changed, recipe, resume=resume)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/mine.txt").write_text("x")
    with pytest.raises(ProgramError, match="holds no training run"):
        train_snn(data, tmp_path / "notes", TINY, RECIPE)


def test_a_damaged_state_cannot_be_resumed(trained: Path, tmp_path: Path) -> None:
    short = replace(RECIPE, epochs=1)
    train_snn(trained / "shapes0.npz", tmp_path / "run", TINY, short)
    (tmp_path / "run/state.pt").write_bytes(b"cut")
    with pytest.raises(ProgramError, match=r"state\.pt: cannot be resumed"):
        train_snn(trained / "shapes0.npz", tmp_path / "run", TINY, short, resume=True)


def test_weights_of_another_architecture_are_refused(trained: Path, tmp_path: Path) -> None:
    torch.save(models.build("resnet20", 2, width=0.25).state_dict(), tmp_path / "other.pth")
    net = replace(TINY, init=str(tmp_path / "other.pth"))
    with pytest.raises(ModelError, match=r"other\.pth: of another .* has no layer1\.1"):
        train_snn(trained / "shapes0.npz", tmp_path / "run", net, RECIPE)
    wide = replace(net, width=0.5)
    found = r"other\.pth: of another .*: conv1\.weight has shape \(4, 3, 3, 3\), .* \(8, 3, 3, 3\)"
    with pytest.raises(ModelError, match=found):
        train_snn(trained / "shapes0.npz", tmp_path / "run", wide, RECIPE)


def test_weights_need_one_name_each_and_no_count_of_batches(tmp_path: Path) -> None:
    """The files in checkpoints/ leave out the second names of SEENN's batch norms."""
    torch.manual_seed(3)
    full = {k: v.half() for k, v in models.build("resnet20", 2, width=0.25).state_dict().items()}
    short = {k: v for k, v in full.items() if ".seqbn." not in k and "num_batches" not in k}
    assert len(short) < len(full)
    torch.save(short, tmp_path / "short.pth")
    network = models.build("resnet20", 2, width=0.25)
    load_weights(network, tmp_path / "short.pth")
    loaded = network.state_dict()
    assert all(torch.equal(loaded[k].half(), v) for k, v in full.items() if "num_batches" not in k)
    torch.save({k: v for k, v in short.items() if k != "bn.bn.weight"}, tmp_path / "less.pth")
    with pytest.raises(
        ModelError, match=r"less\.pth: of another architecture: it has no bn\.bn\.w"
    ):
        load_weights(network, tmp_path / "less.pth")


def test_policies_need_a_program_that_shows_images(trained: Path, tmp_path: Path) -> None:
    data = trained / "shapes0.npz"
    plain = sd.compile(
        sd.import_model(trained / "snn/model.pth", T=2, input_size=8, normalize=False)
    )
    cases: list[tuple[sd.Program, dict[str, Any], str]] = [
        (plain, {}, "normalisation is not part of this program"),
        (program_of(trained / "snn/model.pth"), {"choices": (1, 3)}, "between 1 and T = 2"),
    ]
    for program, options, words in cases:
        with pytest.raises(SeennError, match=words):
            train_policy(program, data, tmp_path / "run", RECIPE, **options)


def test_a_gradient_that_is_not_finite_stops_the_run_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = models.build

    def broken(*arguments: Any, **options: Any) -> torch.nn.Module:
        net = built(*arguments, **options)
        net.get_submodule("conv1").weight.register_hook(lambda g: g * float("nan"))
        return net

    monkeypatch.setattr(models, "build", broken)
    with pytest.raises(TrainingError, match="no longer finite in epoch 1, step 1; nothing"):
        train_snn(shapes(tmp_path), tmp_path / "run", TINY, RECIPE)
    assert not (tmp_path / "run").exists()


# --- faster, and with a teacher -------------------------------------------------------------------


def test_a_compiled_run_is_the_same_and_goes_on_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real = torch.compile

    def traced(net: Any, **options: Any) -> Any:
        # Everything but the C++ compiler, which takes minutes.
        asked.append(id(net))
        return real(net, backend="eager", **options)

    monkeypatch.setattr(torch, "compile", traced)
    data, recipe = shapes(tmp_path, 40), replace(RECIPE, epochs=2, compile=True)
    log = train_snn(data, tmp_path / "run", TINY, recipe)
    assert len(asked) == 1  # the batch of 8 that is left over, and no other, runs uncompiled
    plain = train_snn(data, tmp_path / "plain", TINY, replace(recipe, compile=False))
    assert log[-1]["loss"] == pytest.approx(plain[-1]["loss"], rel=1e-3)
    short = tmp_path / "short"
    monkeypatch.setattr(loop, "_check_finite", _stop_after(1, loop._check_finite))
    with pytest.raises(KeyboardInterrupt):
        train_snn(data, short, TINY, recipe)
    monkeypatch.undo()
    monkeypatch.setattr(torch, "compile", traced)
    train_snn(data, short, TINY, recipe, resume=True)
    assert equal(weights(short), weights(tmp_path / "run"))
    assert all(v.is_contiguous() for v in weights(short).values())


def test_a_missing_compiler_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor.exc import InvalidCxxCompiler

    def broken(net: Any, **options: Any) -> Any:
        def call(samples: torch.Tensor) -> torch.Tensor:
            raise InvalidCxxCompiler

        return call

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(TrainingError, match=r"No working C\+\+ compiler .* leave out --compile"):
        train_snn(shapes(tmp_path), tmp_path / "run", TINY, replace(RECIPE, compile=True))


def _stop_after(epochs: int, check: Any) -> Any:
    def checked(network: Any, epoch: int, out: Path) -> None:
        if epoch == epochs:
            raise KeyboardInterrupt
        check(network, epoch, out)

    return checked


def test_adamw_warms_up_and_goes_on_exactly(tmp_path: Path) -> None:
    recipe = replace(RECIPE, optimizer="adamw", lr=0.01, warmup=0.25, epochs=2)
    assert [recipe.rate(x) for x in (0, 0.125, 0.25, 1)] == pytest.approx([0, 0.005, 0.01, 0])
    data = shapes(tmp_path)
    whole = train_snn(data, tmp_path / "whole", TINY, recipe)
    assert whole[1]["loss"] < whole[0]["loss"]
    state = torch.load(tmp_path / "whole/state.pt", weights_only=True)
    assert "exp_avg" in state["optimizer"]["state"][0]


def test_muon_goes_on_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, data = replace(RECIPE, optimizer="muon", lr=2e-3, epochs=2), shapes(tmp_path)
    whole = train_snn(data, tmp_path / "whole", TINY, recipe)
    assert whole[1]["loss"] < whole[0]["loss"]
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_save", _once(loop._save))
        with pytest.raises(KeyboardInterrupt):
            train_snn(data, tmp_path / "cut", TINY, recipe)
    train_snn(data, tmp_path / "cut", TINY, recipe, resume=True)
    assert equal(weights(tmp_path / "cut"), weights(tmp_path / "whole"))


def test_sizes_cutout_and_the_mean_of_weights_go_on_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(
        RECIPE, epochs=3, cutout=3, average=0.9, sizes=((4, 0.4), (8, 0.6)), augment="none"
    )
    assert [recipe.size(x) for x in (0, 0.39, 0.4, 1)] == [4, 4, 8, 8]
    data, test = shapes(tmp_path), shapes(tmp_path, 32, seed=1)
    log = train_snn(data, tmp_path / "whole", TINY, recipe, test=test, label_smoothing=0.1)
    ema = torch.load(tmp_path / "whole/state.pt", weights_only=True)
    mean = {k.removeprefix("module."): v for k, v in ema["average"].items()}
    written = weights(tmp_path / "whole")
    assert equal(written, {k: mean[k] for k in written})
    assert not equal(written, ema["network"])
    rows = list(csv.DictReader((tmp_path / "whole/log.csv").open()))
    assert [float(row["accuracy_by_step_2"]) for row in rows] == [
        line["accuracy_by_step"][1] for line in log
    ]
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_save", _once(loop._save))
        with pytest.raises(KeyboardInterrupt):
            train_snn(data, tmp_path / "cut", TINY, recipe, test=test, label_smoothing=0.1)
    with pytest.raises(ProgramError, match=r"is a run with label_smoothing 0\.1, not None"):
        train_snn(data, tmp_path / "cut", TINY, recipe, test=test, resume=True)
    train_snn(data, tmp_path / "cut", TINY, recipe, test=test, label_smoothing=0.1, resume=True)
    assert equal(weights(tmp_path / "cut"), written)
    with pytest.raises(DataError, match=r"sizes: the network cannot take samples of 5x5 \("):
        train_snn(data, tmp_path / "no", TINY, replace(recipe, sizes=((5, 1.0),)))


def _once(save: Any) -> Any:
    """Save the first epoch, and stop in the second."""

    def saved(out: Path, about: Any, files: Any, state: Any, log: Any) -> None:
        if len(log) > 1:
            raise KeyboardInterrupt
        save(out, about, files, state, log)

    return saved


@pytest.mark.parametrize("side", [1, 3, 4])
def test_cutout_hides_a_square_and_nothing_else(side: int) -> None:
    samples = torch.ones(1000, 2, 7, 9)
    hidden = cut_out(samples, side, torch.Generator().manual_seed(0)) == 0
    assert torch.equal(hidden[:, 0], hidden[:, 1])
    heights, widths = hidden[:, 0].any(2).sum(1), hidden[:, 0].any(1).sum(1)
    assert torch.equal(hidden[:, 0].sum((1, 2)), heights * widths)  # a rectangle
    assert heights.max() == widths.max() == side
    assert hidden.any(0).all()  # everywhere, sometimes
    assert min(heights.min(), widths.min()) >= 1


def test_a_teacher_s_logits_are_learned(tmp_path: Path) -> None:
    # A teacher that knows no image but says class 1 of all: the network shall say it, too.
    teacher = ResNet((4, 8, 16), (1, 1, 1), 2, 3, 1, torch.nn.ReLU)
    with torch.no_grad():
        teacher.fc1.module.weight.zero_()
        teacher.fc1.module.bias.copy_(torch.tensor([-4.0, 4.0]))
    torch.save(teacher.state_dict(), tmp_path / "teacher.pth")
    test = shapes(tmp_path, 64, seed=1)
    log = train_snn(
        shapes(tmp_path), tmp_path / "run", TINY, replace(RECIPE, epochs=4), test=test,
        teacher=tmp_path / "teacher.pth", teacher_weight=1.0,
    )  # fmt: skip
    share = float((np.load(test)["y"] == 1).mean())
    assert log[-1]["accuracy_by_step"] == pytest.approx([share, share])
    about = json.loads((tmp_path / "run/train.json").read_text())["task"]
    assert about["teacher_weight"] == 1.0
    with pytest.raises(ModelError, match="3 channels in 2 classes; the data has 3 and 4"):
        train_snn(
            shapes(tmp_path), tmp_path / "no", TINY, RECIPE, classes=4,
            teacher=tmp_path / "teacher.pth",
        )  # fmt: skip
    other = tmp_path / "other.pth"
    torch.save({"w": torch.ones(1)}, other)
    with pytest.raises(ModelError, match="a teacher is one with ReLU"):
        train_snn(shapes(tmp_path), tmp_path / "no", TINY, RECIPE, teacher=other)


def test_a_teacher_sees_images_or_what_the_network_sees(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = ResNet((4, 8, 16), (1, 1, 1), 2, 3, 1, torch.nn.ReLU).eval()
    path = tmp_path / "teacher.pth"
    torch.save(net.state_dict(), path)
    data, norm = load(shapes(tmp_path), 1), Normalization((0.5,) * 3, (0.2,) * 3)
    rows = torch.tensor([4, 0, 9])
    batch = data.as_float(data.samples[rows]).flip(3)  # mirrored
    for views, seen in ((True, batch), (False, data.as_float(data.samples[rows]))):
        teacher = teacher_of(path, data, 2, norm, RECIPE, views)
        with torch.no_grad():
            expected = net(norm.apply(seen))[:, 0]
        torch.testing.assert_close(teacher(batch, rows), expected, atol=1e-5, rtol=1e-4)
    run = train_snn(
        shapes(tmp_path), tmp_path / "run", TINY, RECIPE, teacher=path, teacher_views=True
    )
    assert np.isfinite(run[-1]["loss"])
    with pytest.raises(ProgramError, match="is a run with teacher_views True, not None"):
        train_snn(shapes(tmp_path), tmp_path / "run", TINY, RECIPE, teacher=path, resume=True)


def test_distillation_loss_is_the_divergence_at_each_timestep() -> None:
    torch.manual_seed(0)
    logits, teacher = torch.randn(5, 3, 4).double(), torch.randn(5, 4).double()
    p = (teacher / 2).softmax(1)[:, None]
    q = (logits / 2).softmax(2)
    by_hand = 4 * (p * (p / q).log()).sum(2).mean()
    torch.testing.assert_close(distillation_loss(logits, teacher), by_hand)
    same = distillation_loss(teacher[:, None].repeat(1, 3, 1), teacher)
    assert float(same) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("wrong", [{"warmup": 1.0}, {"optimizer": "adam"}])
def test_recipes_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=next(iter(wrong))):
        replace(RECIPE, **wrong)
