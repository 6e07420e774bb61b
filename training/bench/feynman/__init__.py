"""The benchmark on physics equations: our search and its peers, inside and outside the ranges, exact formulas counted."""
