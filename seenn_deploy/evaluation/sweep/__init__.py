"""Sweeps: the evaluation of every threshold of every exit rule from one full run."""
