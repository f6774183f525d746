"""Float graph in, program out. One pass a file; ``pipeline.compile`` runs them in order."""
