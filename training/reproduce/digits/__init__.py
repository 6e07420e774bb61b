"""Arithmetic over images of digits: counts, sums and products of sequences, learned from their results alone."""
