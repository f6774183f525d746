"""Files on disk become plain arrays here, and back: folders, images, state dicts, ONNX, NIR.

Nothing in this room knows what a neuron is.
"""
