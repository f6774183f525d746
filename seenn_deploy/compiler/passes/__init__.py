"""One compiler pass a file; ``compiler.pipeline`` is their order."""
