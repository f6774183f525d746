"""The policy networks of SEENN-II, which are run in numpy, written to ONNX and read from it."""
