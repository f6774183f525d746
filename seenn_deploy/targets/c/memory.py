"""Where buffers lie that live for a part of a timestep: those that never meet share memory."""

from __future__ import annotations

from dataclasses import dataclass

ALIGNMENT = 8  # bytes; no type of the runtime needs more


@dataclass(frozen=True)
class Buffer:
    """Memory that is needed from the turn of layer `first` to that of layer `last`.

    Parameters
    ----------
    name : str
    ctype : str
        Type of its elements, without the final ``_t``.
    count, size : int
        Elements, and bytes of each.
    first, last : int
    """

    name: str
    ctype: str
    count: int
    size: int
    first: int
    last: int

    @property
    def bytes(self) -> int:
        """Bytes, rounded up to the alignment."""
        return -(-self.count * self.size // ALIGNMENT) * ALIGNMENT


def placed(buffers: list[Buffer]) -> tuple[dict[str, int], int]:
    """Offset of each buffer in the memory that they share, and the bytes of that.

    The largest come first, each at the lowest place where it meets no other of its time.
    """
    offsets: dict[str, int] = {}
    done: list[Buffer] = []
    for buffer in sorted(buffers, key=lambda b: (-b.bytes, b.first, b.name)):
        meets = [b for b in done if b.first <= buffer.last and buffer.first <= b.last]
        at = 0
        for other in sorted(meets, key=lambda b: offsets[b.name]):
            if at + buffer.bytes <= offsets[other.name]:
                break
            at = max(at, offsets[other.name] + other.bytes)
        offsets[buffer.name] = at
        done.append(buffer)
    return offsets, max((offsets[b.name] + b.bytes for b in buffers), default=0)
