"""Spiking layers of other frameworks as neurons of ours: one small file per framework."""
