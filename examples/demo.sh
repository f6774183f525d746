#!/usr/bin/env bash
# From a trained checkpoint to Lava: compile, look, simulate, and compare images spike for spike.
# Gated, so that early exit saves energy on Loihi-style hardware: simulate shows every schedule.
# Run by `make demo`; by hand: in an environment with seenn-deploy, after `seenn setup-lava`.
set -euo pipefail
cd "$(dirname "$0")/.."

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

network="examples/resnet19_w025_T4_cifar10.safetensors --mean .4914,.4822,.4465 --std .2470,.2435,.2616"

run seenn-compile $network --target lava --exit confidence --alpha 0.9 --schedule gated -o build/demo --force
run seenn inspect build/demo
run seenn simulate build/demo --data examples/cifar10_200.npz
run seenn-compile $network --policy examples/policy_resnet19_cifar10.onnx --schedule pipelined -o build/policy --force
run seenn simulate build/policy --data examples/cifar10_200.npz
run seenn verify build/demo --device lava --data examples/cifar10_200.npz --limit 2
run seenn-compile $network --precision int8 --target lava --alpha 0.9 -o build/int8 --force
run seenn verify build/int8 --device lava --data examples/cifar10_200.npz --limit 2

# The edge: C for a microcontroller, here and, where the tools are, on an emulated Cortex-M4 with its instructions.
run seenn-compile examples/edge_net.py:trained --example 1,3,32,32 --mean .4914,.4822,.4465 --std .2023,.1994,.2010 --alpha 0.9 --precision int8 --target c --board stm32l432 -o build/edge --force
run seenn verify build/edge --device c --data examples/cifar10_200.npz --limit 5
if command -v qemu-system-arm > /dev/null && command -v arm-none-eabi-gcc > /dev/null; then
    run seenn verify build/edge --device qemu-cortex-m4 --data examples/cifar10_200.npz --limit 5
    run python benchmarks/edge.py --layers edge --images 5
else
    printf '\nleft out: the emulated Cortex-M4; apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm\n'
fi
