"""Fitting: solvers, restarts and the choice among candidates."""
