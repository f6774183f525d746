"""Every public name has an example, and every example gives what its docstring says it gives."""

from __future__ import annotations

import doctest
import re
import sys
from inspect import isfunction, signature
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import seenn_deploy as sd
from seenn_deploy.evaluation import activity

EXAMPLES = {name: getattr(sd, name) for name in sd.__all__}
EXAMPLES |= {"seenn_deploy": sd, "raster": activity.raster}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if name == "convert":
        write_ann(tmp_path / "ann.onnx")
    text = EXAMPLES[name].__doc__ or ""
    assert name == "seenn_deploy" or re.search(r"^ *Examples\n *--------\n *>>> ", text, re.M)
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert example.examples
    found = doctest.DocTestRunner().run(example, out=sys.stdout.write)
    assert not found.failed


@pytest.mark.parametrize("name", [name for name, found in EXAMPLES.items() if isfunction(found)])
def test_every_parameter_is_described(name: str) -> None:
    text = EXAMPLES[name].__doc__ or ""
    described = re.search(r"\n *Parameters\n *-+\n(.*?)\n\n", text, re.S)
    assert described
    for parameter in signature(EXAMPLES[name]).parameters:
        assert re.search(rf"\b{parameter}\b", described.group(1)), parameter


def write_ann(path: Path) -> None:
    """A flat ANN of one clipped layer, for 8x8 images of 3 channels."""
    rng = np.random.default_rng(0)
    tensors = [
        numpy_helper.from_array(rng.normal(0, 0.1, shape).astype(np.float32), name)
        for name, shape in {"w1": (192, 16), "w2": (16, 4)}.items()
    ] + [numpy_helper.from_array(np.float32(x), name) for name, x in {"low": 0, "high": 1}.items()]
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w1"], ["hidden"]),
        helper.make_node("Clip", ["hidden", "low", "high"], ["clipped"]),
        helper.make_node("Gemm", ["clipped", "w2"], ["logits"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 4])
    graph = helper.make_graph(nodes, "ann", [image], [logits], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
