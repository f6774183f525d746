"""Integer against float policy: how often the choice is the same, and what that changes.

python benchmarks/policy.py cifar10/test.npz [--calibration cifar10/train.npz]

One run of the int8 program to T has the accuracy at every choice, so both policies are told from
the same logits.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import seenn_deploy as sd
from seenn_deploy.ir import policy as integer_policy
from seenn_deploy.ir.inputs import for_program

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
BATCH = 64
CALIBRATED_ON = 256  # images; the first ones


def main() -> None:
    """Print a line for each way to choose."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", nargs="?", type=Path, default=EXAMPLES / "cifar10_200.npz")
    parser.add_argument("--calibration", type=Path)
    args = parser.parse_args()
    graph = sd.import_model(EXAMPLES / "resnet20_T4_cifar10.pth", T=4)
    rule = sd.exits.Policy(EXAMPLES / "policy_resnet20_cifar10.onnx")
    program = sd.compile(graph, rule, precision="int8")
    images = for_program(program, args.data)
    source, policies = program.graph.source, {"integer, made-up images": program.policy}
    if args.calibration:
        few = for_program(program, args.calibration, limit=CALIBRATED_ON)
        found = integer_policy.lowered(rule, source, few.batches(BATCH))
        policies[f"integer, {CALIBRATED_ON} calibration images"] = found
    run = sd.simulate(program, images, full_trace=True)
    right = run.logits.argmax(axis=2) == run.needed_labels[:, None]
    floats = np.concatenate([rule.steps(list(x)) for x in images.batches(BATCH)])
    tell("float", floats, floats, right)
    for name, policy in policies.items():
        chosen = [
            policy.timesteps(policy.scores(source.integers(x))) for x in images.batches(BATCH)
        ]
        tell(name, np.concatenate(chosen), floats, right)


def tell(name: str, chosen: np.ndarray, floats: np.ndarray, right: np.ndarray) -> None:
    """Print how often the choice is that of the float network, and the mean step and accuracy."""
    accuracy = right[np.arange(len(chosen)), chosen - 1].mean()
    print(
        f"{name}: {np.count_nonzero(chosen == floats):,} of {len(chosen):,} choices as in float, "
        f"{chosen.mean():.4f} steps, {100 * accuracy:.2f} %"
    )


if __name__ == "__main__":
    main()
