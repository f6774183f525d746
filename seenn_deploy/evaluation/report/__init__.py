"""The report of a run: one page with its figures, pictures and data, which needs no network."""
