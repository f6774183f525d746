"""Spiking layers of other frameworks, told as neurons of ours: one small file per framework."""
