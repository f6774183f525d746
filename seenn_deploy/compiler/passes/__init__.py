"""The compiler passes, one per file; ``compiler.pipeline`` has their order."""
