"""Networks: stacks of units that take raw units in and give raw units out."""

from models.networks.arithmetic import ArithmeticNetwork
from models.networks.tabular import TabularNetwork

__all__ = ["ArithmeticNetwork", "TabularNetwork"]
