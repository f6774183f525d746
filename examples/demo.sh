#!/usr/bin/env bash
# From a trained checkpoint to Lava: compile, look, simulate, and compare two images spike for spike.
# Gated, so that early exit saves energy on Loihi-style hardware: simulate shows every schedule.
# Run by `make demo`; by hand: in an environment with seenn-deploy, after `seenn setup-lava`.
set -euo pipefail
cd "$(dirname "$0")/.."

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

run seenn-compile examples/resnet20_T4_cifar10.pth --target lava --exit confidence --alpha 0.9 --schedule gated -o build/demo --force
run seenn inspect build/demo
run seenn simulate build/demo --data examples/cifar10_200.npz
run seenn-compile examples/resnet20_T4_cifar10.pth --policy examples/policy_resnet20_cifar10.onnx --schedule pipelined -o build/policy --force
run seenn simulate build/policy --data examples/cifar10_200.npz
run seenn verify build/demo --device lava --data examples/cifar10_200.npz --limit 2
run seenn-compile examples/resnet20_T4_cifar10.pth --precision int8 --target lava --alpha 0.9 -o build/int8 --force
run seenn verify build/int8 --device lava --data examples/cifar10_200.npz --limit 2
