"""ONNX files as plain Python: nodes with their attributes, constant tensors, one input and output.

Nothing here hands out an object of the ``onnx`` package, which only the child process imports.
"""

from seenn_deploy.io.onnx.model import OnnxModel, OnnxNode, read_onnx
from seenn_deploy.io.onnx.operators import OLDEST_OPSET

__all__ = ["OLDEST_OPSET", "OnnxModel", "OnnxNode", "read_onnx"]
