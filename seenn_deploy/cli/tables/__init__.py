"""Figures as tables of at most 80 columns: one file per kind of result."""
