"""Whether rows are like the training rows in all columns together, and in what the model answers for them."""

import numpy as np
from numpy.typing import NDArray

from models.contract.trust import JointRange


class JointLimits:
    """The limits of one model, as arrays.

    Args:
        joint: From its manifest.
    """

    def __init__(self, joint: JointRange) -> None:
        self._limit = joint.limit
        self._low, self._high = np.array(joint.answers).T

    def inside(self, values: NDArray[np.float64], distance: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return whether each row is inside, shape (n_rows,).

        Args:
            values: The model's answers, shape (n_rows, d_outputs).
            distance: What its graph says of each row, shape (n_rows, 1).
        """
        within = ((values >= self._low) & (values <= self._high)).all(axis=1)
        return np.asarray(within & (distance[:, 0] <= self._limit))
