"""What onnxruntime computes of an ONNX file, in a process of its own: a file can make it crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.errors import ModelError
from seenn_deploy.io import isolated

# What onnxruntime says of types and shapes that contradict each other. Its other failures to load
# are kernels and versions that it lacks, which say nothing of the file.
_CONTRADICTIONS = ("Type Error", "ShapeInferenceError")


def run(path: Path, images: Array, seconds: int, memory: int) -> tuple[Array | None, str]:
    """Run images (N, C, H, W), one by one, and return the first output, (N, M).

    `seconds` of processor time and bytes of `memory` are what one image may take. Where onnxruntime
    does not know what is in the file, there is no output but the reason.

    Raises
    ------
    ModelError
        When onnxruntime finds types or shapes that contradict each other, fails on an image, or
        breaks off.
    """
    module, missing = "seenn_deploy.io.onnx.running", "running it needs onnxruntime"
    found = isolated.read(module, path, missing, "running it in onnxruntime", images=images,
                          seconds=seconds * len(images), memory=memory)  # fmt: skip
    return found["logits"], found["why"]


def contents(path: Path, images: Array, seconds: int, memory: int) -> dict[str, Any]:
    """Return the logits of every image, float32 (N, M), or why there are none."""
    import onnxruntime

    isolated.limit([path], seconds, memory)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it would say is in the error
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
    except Exception as error:  # onnxruntime raises kinds of its own
        if any(words in str(error) for words in _CONTRADICTIONS):
            raise ModelError(f"onnxruntime refuses it ({_first_line(error)})") from None
        return {"logits": None, "why": f"onnxruntime cannot run it ({_first_line(error)})"}
    # Sample by sample, because many exported networks take a batch of one alone.
    batch = given.shape[0] if isinstance(given.shape[0], int) else 1
    isolated.limit([path], batch * seconds, batch * memory)
    rows = [np.repeat(image[None], batch, axis=0) for image in images]
    try:
        results = [session.run(None, {given.name: row})[0][0] for row in rows]
    except Exception as error:
        raise ModelError(f"onnxruntime does not run it ({_first_line(error)})") from None
    return {"logits": np.stack(results).reshape(len(images), -1), "why": ""}


def _first_line(error: Exception) -> str:
    return str(error).split("\n", maxsplit=1)[0]


if __name__ == "__main__":
    isolated.answer(contents)
