"""Policy networks of SEENN-II: run in numpy, written to ONNX and read from it."""
