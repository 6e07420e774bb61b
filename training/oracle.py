"""An oracle in plain NumPy: what a network must answer, written from the formulas and not from the torch code.

It shares no code with `models.units` and `models.networks`; it reads their parameters by name. Parity with it catches
what parity with torch cannot: a fault in the torch module itself.
"""

from typing import cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from models.networks import ArithmeticNetwork, TabularNetwork
from models.preprocessing import TablePreprocessing
from models.units import NAC, NALU, NAU, NMU, LinearUnit, RealNPU, SignedPower

Floats = NDArray[np.floating]
Codes = NDArray[np.int64]
State = dict[str, Floats]


def answer(network: nn.Module, numeric: Floats | None, codes: Codes | None = None) -> Floats:
    """Return what `network` must answer for raw columns, in the type of its parameters.

    Args:
        network: An arithmetic or a tabular network.
        numeric: Number columns, shape (n_rows, d_numeric), missing values as NaN.
        codes: Category codes, shape (n_rows, d_categorical).

    Raises:
        TypeError: When the oracle does not know the network.
    """
    with np.errstate(all="ignore"):
        if isinstance(network, ArithmeticNetwork) and numeric is not None:
            for unit in network.units:
                numeric = _unit(unit, numeric)
            return numeric
        if isinstance(network, TabularNetwork):
            return _tabular(network, numeric, codes)
    msg = f"the oracle must know the network's kind, however: {type(network).__name__}"
    raise TypeError(msg)


def _state(module: nn.Module) -> State:
    return {
        name: tensor.detach().cpu().numpy() for name, tensor in (*module.named_parameters(), *module.named_buffers())
    }


def _sigmoid(x: Floats) -> Floats:
    return cast("Floats", 1 / (1 + np.exp(-x)))


def _nac_weight(state: State, prefix: str = "") -> Floats:
    """Eq. 1 of arXiv:1808.00508: W = tanh(Ŵ) ⊙ σ(M̂)."""
    return cast("Floats", np.tanh(state[prefix + "W_hat"]) * _sigmoid(state[prefix + "M_hat"]))


def _unit(unit: nn.Module, x: Floats) -> Floats:
    state = _state(unit)
    if isinstance(unit, NAC):
        return x @ _nac_weight(state).T
    if isinstance(unit, NAU):
        return cast("Floats", x @ np.clip(state["W"], -1, 1).T)
    if isinstance(unit, NMU):
        return _nmu(np.clip(state["W"], 0, 1), x)
    if isinstance(unit, NALU):
        return _nalu(unit, state, x)
    if isinstance(unit, RealNPU):
        return _real_npu(unit, state, x)
    if isinstance(unit, LinearUnit):
        return _linear(state, x)
    if isinstance(unit, SignedPower):
        return _signed_power(unit.parity_tolerance, state["P"], x)
    msg = f"the oracle must know the unit's kind, however: {type(unit).__name__}"
    raise TypeError(msg)


def _nmu(weight: Floats, x: Floats) -> Floats:
    """Product over i of W_i x_i + 1 − W_i (arXiv:2001.05016)."""
    result = np.ones((len(x), len(weight)), dtype=x.dtype)
    for i in range(x.shape[1]):
        result = result * (x[:, i : i + 1] * weight[:, i] + (1 - weight[:, i]))
    return cast("Floats", result)


def _nalu(unit: NALU, state: State, x: Floats) -> Floats:
    """Eq. 2 of arXiv:1808.00508: g ⊙ a + (1 − g) ⊙ m."""
    additive = _nac_weight(state, "additive.")
    multiplicative = _nac_weight(state, "multiplicative.") if unit.multiplicative is not None else additive
    gate = _sigmoid(x @ state["G"].T) if "G" in state else _sigmoid(state["g_hat"])
    product = np.exp(np.log(np.abs(x) + x.dtype.type(unit.epsilon)) @ multiplicative.T)
    return cast("Floats", gate * (x @ additive.T) + (1 - gate) * product)


def _real_npu(unit: RealNPU, state: State, x: Floats) -> Floats:
    """Product of magnitudes' powers times the cosine of the turned angles (arXiv:2006.01681), k = π where x < 0."""
    weight = np.clip(state["W"], -1, 1) if unit.clip_weights else state["W"]
    gate = np.clip(state["g"], 0, 1)
    magnitude = gate * (np.abs(x) + x.dtype.type(unit.epsilon)) + (1 - gate)
    angle = np.where(x < 0, x.dtype.type(np.pi) * gate, x.dtype.type(0))
    return cast("Floats", np.exp(np.log(magnitude) @ weight.T) * np.cos(angle @ weight.T))


def _linear(state: State, x: Floats) -> Floats:
    result = np.zeros((len(x), len(state["W"])), dtype=x.dtype) + state.get("b", x.dtype.type(0))
    for i in range(x.shape[1]):
        result = result + x[:, i : i + 1] * state["W"][:, i]
    return result


def _signed_power(tolerance: float, powers: Floats, x: Floats) -> Floats:
    """Product of powers; a negative number takes the parity of a power next to an integer, elsewhere it has none."""
    result = np.ones((len(x), len(powers)), dtype=x.dtype)
    for k, row in enumerate(powers):
        for i in np.flatnonzero(row):
            integer = np.rint(row[i])
            real = abs(row[i] - integer) <= tolerance
            sign = np.nan if not real else -1 if integer % 2 else 1
            result[:, k] *= np.where(x[:, i] < 0, x.dtype.type(sign), 1) * np.abs(x[:, i]) ** row[i]
    return result


def _tabular(network: TabularNetwork, numeric: Floats | None, codes: Codes | None) -> Floats:
    state = _state(network)
    linear, clamped, positive = _features(network.preprocessing, state, numeric, codes)
    y = linear @ state["linear.weight"].T + state["linear.bias"]
    if network.power is not None:
        y = y + _real_npu(network.power, _state(network.power), positive) @ state["power_weight"].T
    if network.residual is not None:
        weights = [state[name] for name in state if name.startswith("residual.") and name.endswith(".weight")]
        biases = [state[name] for name in state if name.startswith("residual.") and name.endswith(".bias")]
        hidden = clamped
        for weight, bias in zip(weights[:-1], biases, strict=True):
            hidden = np.tanh(hidden @ weight.T + bias)
        y = y + hidden @ weights[-1].T
    return state["target_mean"] + state["target_scale"] * y


def _features(
    preprocessing: TablePreprocessing, state: State, numeric: Floats | None, codes: Codes | None
) -> tuple[Floats, Floats, Floats]:
    get = {name.removeprefix("preprocessing."): values for name, values in state.items()}
    n_rows = len(numeric) if numeric is not None else len(codes) if codes is not None else 0
    dtype = get["fill"].dtype
    if numeric is None:
        numeric = np.zeros((n_rows, 0), dtype=dtype)
    missing = np.isnan(numeric)
    filled = np.where(missing, get["fill"], numeric)
    shared = [missing[:, [j]].astype(dtype) for j in preprocessing.missing_columns]
    for j, n in enumerate(preprocessing.n_levels):
        block = np.zeros((n_rows, n), dtype=dtype)
        for i in range(n_rows):
            code = -1 if codes is None else int(codes[i, j])
            if 0 <= code < n:
                block[i, code] = 1
        shared.append(block)
    linear = np.concatenate([(filled - get["mean"]) / get["scale"], *shared], axis=1)
    held = np.clip(filled, get["lower"], get["upper"])
    clamped = np.concatenate([(held - get["mean"]) / get["scale"], *shared], axis=1)
    columns = filled[:, list(preprocessing.positive_columns)]
    return linear, clamped, np.maximum(columns, get["floor"]) / get["geometric_mean"]
