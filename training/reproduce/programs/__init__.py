"""Arithmetic programs, evaluated character by character."""
