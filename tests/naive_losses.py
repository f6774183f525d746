"""Training losses from their definitions, one sample, timestep and class after another."""

from __future__ import annotations

from math import exp, log, sqrt
from typing import Any

Row = list[float]


def softmax(row: Row, k: float = 1.0) -> Row:
    powers = [exp(v / k) for v in row]
    return [p / sum(powers) for p in powers]


def entropy(row: Row, label: int) -> float:
    return -log(softmax(row)[label])


def divergence(teacher: Row, row: Row, k: float) -> float:
    p, q = softmax(teacher, k), softmax(row, k)
    return k * k * sum(a * log(a / b) for a, b in zip(p, q, strict=True))


def mean(values: Any) -> float:
    found = list(values)
    return sum(found) / len(found)


def every_step(logits: Any, labels: Any) -> float:
    return mean(entropy(row, y) for sample, y in zip(logits, labels, strict=True) for row in sample)


def tet(logits: Any, labels: Any, weight: float, at: float) -> float:
    squares = mean((v - at) ** 2 for sample in logits for row in sample for v in row)
    return (1 - weight) * every_step(logits, labels) + weight * squares


def distill(logits: Any, labels: Any, weight: float, k: float) -> float:
    found = 0.0
    for sample, y in zip(logits, labels, strict=True):
        right = [row for row in sample if row.index(max(row)) == y]
        classes = range(len(sample[0]))
        own = [sum(row[j] for row in right) / len(right) if right else 0.0 for j in classes]
        found += mean(divergence(own, row, k) for row in sample)
    return every_step(logits, labels) + weight * found / len(labels)


def gap(logits: Any, labels: Any, weight: float, margin: float) -> float:
    hinges = []
    for sample, y in zip(logits, labels, strict=True):
        z = [0.0] * len(sample[0])
        for row in sample:
            z = [a + b for a, b in zip(z, row, strict=True)]
            best = max(v for j, v in enumerate(z) if j != y)
            hinges.append(max(0.0, margin - (z[y] - best)))
    return every_step(logits, labels) + weight * mean(hinges)


def mixed(logits: Any, labels: Any) -> float:
    """One pass of mixed time-step training: the entropy of the mean logits."""
    rows = ([mean(column) for column in zip(*sample, strict=True)] for sample in logits)
    return mean(entropy(row, y) for row, y in zip(rows, labels, strict=True))


def retimed(spikes: list[float], T: int) -> list[float]:
    """One neuron's spikes at another number of timesteps, by the authors' table."""
    before = len(spikes)
    fewer, more = min(before, T), max(before, T)
    owner, last = [], 0
    for i in range(fewer):
        nearest = round((i + 1) * more / fewer - 1e-5)
        owner += [i] * (nearest - last)
        last = nearest
    if before <= T:
        return [spikes[i] for i in owner]
    return [sum(s for s, o in zip(spikes, owner, strict=True) if o == i) for i in range(T)]


def response(currents: Row, tau: float, V: float) -> Row:
    """``s + max(0, v)`` of one neuron that spikes above V."""
    v, found = 0.0, []
    for a in currents:
        v = tau * v + a
        spike = v > V
        v = 0.0 if spike else v
        found.append(float(spike) + max(0.0, v))
    return found


def penalty(responses: Any, epsilon: float = 1e-5) -> float:
    """``mean_n 1 / mean_t cos(r[t], mean r)`` of one layer, responses[n][t][neuron]."""
    found = []
    for sample in responses:
        middle = [mean(column) for column in zip(*sample, strict=True)]
        size = sqrt(sum(m * m for m in middle) + epsilon)
        cosines = [
            (sum(a * b for a, b in zip(r, middle, strict=True)) + epsilon)
            / (sqrt(sum(a * a for a in r) + epsilon) * size)
            for r in sample
        ]
        found.append(1 / mean(cosines))
    return mean(found)
