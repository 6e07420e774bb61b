"""The benchmark on physics equations: exact formulas counted, and errors inside and outside the ranges."""
