"""Thin adapters: what other platforms send, answered by the same models; a file for each."""
