"""Bytes on disk to plain arrays and back: folders, images, state dicts, ONNX and NIR files.

Nothing here knows what a neuron is.
"""
