"""Tabular models: an arithmetic trunk that extrapolates and a residual of boosted trees that freezes outside."""
