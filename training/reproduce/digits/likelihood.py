"""How likely a result is when each image of a sequence stands for one of a few levels.

With z_t the level of image t and p_t its probabilities, the probability of a result r is

    P(r) = Σ over all z with z_1 ∘ … ∘ z_T = r of Π_t p_t(z_t),   ∘ an addition or a multiplication,

computed by the forward algorithm over the results that are within reach, exactly and with gradients. It learns what an
image shows from the result of a whole sequence: where the other images are read with confidence, the gradient is that
of a label.

Sources: the forward algorithm (Rabiner, Proceedings of the IEEE 77, 1989); learning from the probability of a result
over what images show, as in DeepProbLog (Manhaeve et al., arXiv:1805.10872), which sums pairs of digits.
"""

from functools import reduce

import torch
from torch import Tensor, nn

from training.reproduce.digits.task import Operation

_DOUBT = 1e-4
"""Share of the probability that is spread over all levels: no result is impossible, and no image decides alone."""

_SMALLEST = 1e-300
"""Least probability of a result; a result out of reach has it, and no gradient."""

_DECIMALS = 9
"""Results that agree to so many decimals are one result."""


class ResultLikelihood(nn.Module):
    """Negative log-likelihood of the results of sequences.

    A result of several numbers is scored number by number, as if the numbers were independent: the levels of one
    number are those of all levels added up that agree in it.

    Args:
        levels: Shape (n_levels, d_values).
        operation: What joins the images of a sequence.
        length: Images of a sequence.
    """

    def __init__(self, levels: Tensor, operation: Operation, length: int) -> None:
        super().__init__()
        self.numbers = nn.ModuleList(_OneNumber(column, operation, length) for column in levels.double().unbind(1))

    def forward(self, probabilities: Tensor, results: Tensor) -> Tensor:
        """Return the mean over sequences of the negative log-likelihood, summed over the numbers of a result.

        Args:
            probabilities: Of the levels, shape (n, length, n_levels).
            results: Shape (n, d_values).
        """
        n_levels = probabilities.shape[-1]
        doubted = (1 - _DOUBT) * probabilities.double() + _DOUBT / n_levels
        parts = zip(self.numbers, results.double().unbind(1), strict=True)
        return torch.stack([number(doubted, result) for number, result in parts]).sum(0).mean()


class _OneNumber(nn.Module):
    """The same for one number of a result: (n, length, n_levels), (n,) → (n,)."""

    groups: Tensor
    totals: Tensor

    def __init__(self, levels: Tensor, operation: Operation, length: int) -> None:
        super().__init__()
        values, group = torch.unique(levels, return_inverse=True)
        self.register_buffer("groups", torch.nn.functional.one_hot(group, len(values)).double())
        totals = torch.tensor([0.0 if operation == "add" else 1.0], dtype=torch.float64)
        self.n_reached, self.moves = [], []
        for _ in range(length):
            reached = totals[:, None] + values if operation == "add" else totals[:, None] * values
            totals, move = torch.unique(reached.round(decimals=_DECIMALS).flatten(), return_inverse=True)
            self.moves.append(move)
            self.n_reached.append(len(totals))
        self.register_buffer("totals", totals)

    def forward(self, probabilities: Tensor, result: Tensor) -> Tensor:
        steps = (probabilities @ self.groups).unbind(1)
        first = probabilities.new_ones(len(result), 1)
        reached = reduce(self._step, zip(steps, self.moves, self.n_reached, strict=True), first)
        rounded = result.round(decimals=_DECIMALS)
        position = torch.searchsorted(self.totals, rounded).clamp_max(len(self.totals) - 1)
        found = reached.gather(1, position[:, None])[:, 0] * (self.totals[position] == rounded)
        return -found.clamp_min(_SMALLEST).log()

    @staticmethod
    def _step(before: Tensor, step: tuple[Tensor, Tensor, int]) -> Tensor:
        probabilities, move, n_reached = step
        joint = (before[:, :, None] * probabilities[:, None, :]).flatten(1)
        return joint.new_zeros(len(before), n_reached).index_add(1, move, joint)
