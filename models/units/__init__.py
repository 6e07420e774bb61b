"""Arithmetic units, one file each, with the formula and its source in the docstring."""

from models.units.arithmetic_unit import ArithmeticUnit, UnitError
from models.units.linear import LinearUnit
from models.units.nac import NAC
from models.units.nalu import NALU
from models.units.nau import NAU
from models.units.nmu import NMU
from models.units.real_npu import RealNPU
from models.units.recurrent_arithmetic import RecurrentArithmetic
from models.units.signed_power import SignedPower

__all__ = [
    "NAC",
    "NALU",
    "NAU",
    "NMU",
    "ArithmeticUnit",
    "LinearUnit",
    "RealNPU",
    "RecurrentArithmetic",
    "SignedPower",
    "UnitError",
]
