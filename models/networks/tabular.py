"""A network for tables: an arithmetic trunk that extrapolates and a residual that does not."""

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.preprocessing import TablePreprocessing
from models.units import RealNPU

D_HIDDEN = 2
"""Hidden layers of the residual."""


class TabularNetwork(nn.Module):
    r"""Predicts targets from raw table columns.

    .. math:: y = \mu + \sigma (A f + V \exp(W \log r) + \rho(\bar f))

    with :math:`f` the standardised features, :math:`r` the positive ones over their geometric mean, :math:`\bar f` the
    features held inside the range seen in training, :math:`\mu, \sigma` mean and scale of the targets. The trunk
    (linear terms and products of powers, the latter by a Real NPU) carries the extrapolation; the residual
    :math:`\rho`, a small tanh network on clamped inputs, is constant where every number is outside the range.

    Args:
        preprocessing: Learned on the training rows.
        target_mean: Mean of each target, shape (d_outputs,).
        target_scale: Positive scale of each target, shape (d_outputs,).
        n_power_terms: Products of powers in the trunk; 0 for a linear trunk.
        d_residual: Width of the residual's hidden layers; 0 for none.

    Shape:
        - numeric: (batch, d_numeric), missing values as NaN, or None
        - codes: (batch, d_categorical), int64, or None
        - predictions: (batch, d_outputs)

    Raises:
        ValueError: When a count is negative or a scale is not positive.
    """

    target_mean: Tensor
    target_scale: Tensor

    def __init__(
        self,
        preprocessing: TablePreprocessing,
        *,
        target_mean: NDArray[np.float64],
        target_scale: NDArray[np.float64],
        n_power_terms: int,
        d_residual: int,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if n_power_terms < 0 or d_residual < 0:
            msg = f"counts must not be negative, however: n_power_terms={n_power_terms}, d_residual={d_residual}"
            raise ValueError(msg)
        if not bool((target_scale > 0).all()):
            msg = f"target scales must be positive, however: {target_scale.tolist()}"
            raise ValueError(msg)
        d_outputs = target_mean.shape[0]
        self.preprocessing = preprocessing
        self.register_buffer("target_mean", torch.as_tensor(target_mean, dtype=torch.float64))
        self.register_buffer("target_scale", torch.as_tensor(target_scale, dtype=torch.float64))
        self.linear = nn.Linear(preprocessing.d_linear, d_outputs, dtype=torch.float64)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.power: RealNPU | None = None
        self.power_weight: nn.Parameter | None = None
        if n_power_terms and preprocessing.d_positive:
            self.power = RealNPU(preprocessing.d_positive, n_power_terms, epsilon=0.0, dtype=torch.float64)
            self.power.reset_parameters(generator)
            self.power_weight = nn.Parameter(torch.zeros(d_outputs, n_power_terms, dtype=torch.float64))
        self.residual: nn.Sequential | None = None
        if d_residual:
            widths = [preprocessing.d_linear, *[d_residual] * D_HIDDEN]
            layers: list[nn.Module] = []
            for d_in, d_out in pairwise(widths):
                layer = nn.Linear(d_in, d_out, dtype=torch.float64)
                nn.init.xavier_uniform_(layer.weight, generator=generator)
                nn.init.zeros_(layer.bias)
                layers += [layer, nn.Tanh()]
            last = nn.Linear(d_residual, d_outputs, bias=False, dtype=torch.float64)
            nn.init.zeros_(last.weight)
            self.residual = nn.Sequential(*layers, last)

    def forward(self, numeric: Tensor | None, codes: Tensor | None = None) -> Tensor:
        """Predict raw targets from raw columns."""
        features = self.preprocessing(numeric, codes)
        y: Tensor = self.linear(features.linear)
        if self.power is not None and self.power_weight is not None:
            y = y + self.power(features.positive) @ self.power_weight.T
        if self.residual is not None:
            y = y + self.residual(features.clamped)
        return self.target_mean + self.target_scale * y

    def regulariser(self) -> Tensor:
        """Return the mean absolute power of the trunk's products, a scalar: few powers, small ones."""
        if self.power is None:
            return self.target_mean.new_zeros(())
        return self.power.effective_weight().abs().mean()

    def project_(self) -> None:
        """Hold the power unit's weights inside its constraints, in place."""
        if self.power is not None:
            self.power.project_()
