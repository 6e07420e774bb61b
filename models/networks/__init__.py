"""Networks: stacks of units that take raw units in and give raw units out."""

from models.networks.arithmetic import ArithmeticNetwork
from models.networks.gated_cells import GRUCell, HiddenPart, LSTMCell, RNNCell
from models.networks.sequence import AfterEveryStep, SequenceError, SequenceNetwork
from models.networks.tabular import TabularNetwork
from models.networks.unit_cell import UnitCell

__all__ = [
    "AfterEveryStep",
    "ArithmeticNetwork",
    "GRUCell",
    "HiddenPart",
    "LSTMCell",
    "RNNCell",
    "SequenceError",
    "SequenceNetwork",
    "TabularNetwork",
    "UnitCell",
]
