"""Published success rates, in percent of the seeds, to stand beside ours.

Sources: [1] Madsen and Johansen, "Neural Arithmetic Units", arXiv:2001.05016, tables of its code (100 seeds, 5 million
iterations); [2] the same, read off its figures, to about half a point (50 seeds); [3] the NALM benchmark,
arXiv:2101.09530, its code's notes of 2023, read off their figures (25 seeds, 50,000 iterations).
"""

DATASET = {
    "add": "100 (NAU, NAC+) [1]",
    "subtract": "100 (NAU, NAC+) [1]",
    "multiply": "100 (NAC•,σ), 98 (NMU), 0 (NALU) [1]",
    "divide": "0 (all eleven modules) [1]",
    "square": "100 (NMU), 0 (NALU) [1]",
    "sqrt": "7 (NAC•), 0 (NMU) [1]",
}
"""Operation → the best published modules on U[1,2]."""

MULTIPLY_BY_RANGE = {
    "-2:-1": "100 (NMU) [2]",
    "-2:2": "78 (NMU), 0 (others) [2]",
    "0:1": "100 (NMU) [2]",
    "0.1:0.2": "100 (NAC•,σ), 84 (NMU) [2]",
    "1:2": "100 (NMU) [2]",
    "1.1:1.2": "0 (all) [2]",
    "10:20": "100 (NMU) [2]",
}
"""Range → the best published modules for × in the arithmetic dataset task."""

MULTIPLY_BY_HIDDEN_SIZE = dict(zip(range(2, 11), (100, 88, 92, 97, 72, 77, 73, 59, 63), strict=True))
"""Hidden size → NMU [2]."""

MULTIPLY_BY_OVERLAP = {0.0: 100, 0.1: 100, 0.25: 100, 0.5: 100, 0.75: 72, 1.0: 100}
"""Overlap ratio → NMU [2]."""

MULTIPLY_BY_SUBSET = {0.05: 100, 0.1: 100, 0.25: 100, 0.5: 84}
"""Subset ratio → NMU [2]."""

MULTIPLY_BY_INPUTS = {300: "78 (NMU) [2]"}
"""Inputs → NMU [2]; all other sizes have 90 to 100."""

SINGLE_MULTIPLY = {
    "-0.2:-0.1": 100,
    "-1.2:-1.1": 68,
    "-2:-1": 80,
    "-2:2": 100,
    "-20:-10": 100,
    "0.1:0.2": 100,
    "1:2": 100,
    "1.1:1.2": 100,
    "10:20": 100,
}
"""Range → NMU for × on two inputs [3]."""
