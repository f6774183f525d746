"""Train the network of edge_net.py on CIFAR-10, with the logits of an ANN as a teacher.

    python examples/edge_train.py TRAIN.npz TEST.npz OUT.safetensors

TRAIN and TEST are what ``seenn train`` takes. The same seed and machine give the same weights.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from edge_net import EdgeNet
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from seenn_deploy.training import tet_loss
from seenn_deploy.training.data import DataSet, Normalization, batches, load
from seenn_deploy.training.models.resnet import ResNet

TEACHER = Path(__file__).parents[1] / "checkpoints/resnet19_w025_relu_cifar10.safetensors"
TEACHER_NORM = Normalization((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
TEMPERATURE, TAUGHT = 3.0, 0.6  # of the teacher's logits; their weight in the loss


def restored(net: nn.Module, path: Path) -> nn.Module:
    """A network with the weights of a file, which leaves out the second names of batch norms."""
    state = {name: values.float() for name, values in load_file(path).items()}
    lacks, unknown = net.load_state_dict(state, strict=False)
    named_once = [k for k in lacks if ".seqbn." not in k and "num_batches" not in k]
    if named_once or unknown:
        raise SystemExit(f"{path}: of another architecture ({(named_once + unknown)[0]})")
    return net.eval()


@torch.no_grad()
def taught(data: DataSet) -> Tensor:
    """The teacher's logits (N, classes) of all images, as they are."""
    teacher = restored(ResNet((32, 64, 128), (3, 3, 2), T=1, neuron=nn.ReLU), TEACHER)
    teacher = teacher.to(memory_format=torch.channels_last)
    found = []
    for block in data.samples.split(250):
        x = TEACHER_NORM.apply(data.as_float(block)).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            found.append(teacher(x).float()[:, 0])
    return torch.cat(found)


@torch.no_grad()
def accuracies(net: EdgeNet, data: DataSet, norm: Normalization) -> list[float]:
    """The share of right answers at t = 1..T, in float32."""
    net.eval()
    right = torch.zeros(net.T)
    for block, labels in zip(data.samples.split(500), data.labels.split(500), strict=True):
        z = net(norm.apply(data.as_float(block))).cumsum(1)
        right += (z.argmax(-1) == labels[:, None]).sum(0)
    net.train()
    return [round(float(r) / len(data), 4) for r in right]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, nargs=2, default=(16, 24), help="at T = 1, at T = 4")
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--start", type=Path, help="weights of an earlier run to start from")
    parser.add_argument("--stop", type=int, help="after how many epochs; the rate stays as it is")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()

    torch.set_num_threads(1)  # sums in another order would give other weights
    torch.manual_seed(given.seed)
    train, test = load(given.train, 1), load(given.test, 1)
    norm, began = Normalization.of(train.kind), time.perf_counter()
    soft = functional.softmax(taught(train) / TEMPERATURE, 1)
    print(f"teacher: {time.perf_counter() - began:.0f} s", flush=True)

    net = EdgeNet()
    if given.start:
        restored(net, given.start).train()
    net = net.to(memory_format=torch.channels_last)
    compiled = torch.compile(net)
    kernels = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim == 1]
    groups = [{"params": kernels, "weight_decay": 1e-4}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=given.lr, momentum=0.9, nesterov=True)
    epochs = sum(given.epochs)
    for epoch in range(given.stop or epochs):
        net.T = 1 if epoch < given.epochs[0] else 4
        generator, seen, total = torch.Generator().manual_seed(given.seed * 1000 + epoch), 0, 0.0
        for x, y, rows in batches(train, 128, generator, "crop-flip"):
            if len(rows) < 128:  # the last batch would be compiled anew
                continue
            done = (epoch + seen / len(train)) / epochs
            rate = given.lr * min(1.0, done * 25, (1 + math.cos(math.pi * done)) / 2)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast("cpu", torch.bfloat16):
                z = compiled(norm.apply(x).contiguous(memory_format=torch.channels_last)).float()
            steps = functional.log_softmax(z.flatten(0, 1) / TEMPERATURE, 1)
            want = soft[rows].repeat_interleave(net.T, 0)
            away = functional.kl_div(steps, want, reduction="batchmean") * TEMPERATURE**2
            loss = (1 - TAUGHT) * tet_loss(z, y) + TAUGHT * away
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen, total = seen + len(rows), total + float(loss.detach()) * len(rows)
        line = f"epoch {epoch + 1}, T = {net.T}: loss {total / seen:.4f}"
        print(line, accuracies(net, test, norm), f"{time.perf_counter() - began:.0f} s", flush=True)
        state = {k: v.half() for k, v in net.state_dict().items() if v.is_floating_point()}
        own = {k: v.contiguous() for k, v in state.items() if ".seqbn." not in k}
        save_file(own, given.out.with_suffix(".tmp"))
        given.out.with_suffix(".tmp").replace(given.out)


if __name__ == "__main__":
    main()
