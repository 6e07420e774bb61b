"""How many threads a run takes, in NumPy's linear algebra and beside it. Importing this module loads nothing."""

import os

AT_A_TIME = 2
"""Pieces of work of a table's fit that go side by side, in a thread each: most of their time goes into code that leaves
the interpreter alone."""


def hold_to_one_thread() -> None:
    """Keep NumPy's linear algebra to one thread, in this process and in those it starts; before NumPy is imported.

    What the user has set stays. With a thread a core, a fit on 100 inputs took 0.5 to 6 s on busy cores instead of 0.01
    to 0.2 s: threads wait for each other in products that take microseconds. Torch's own threads are set by
    `torch.set_num_threads`, whatever is said here.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
