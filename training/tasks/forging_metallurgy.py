"""Formulas of the synthetic forging data: from a recorded heat, forging and heat treatment to mean properties.

The data is synthetic. Published relations stand with their source; what joins them is marked "ours": its form is what
the field describes, its coefficients are chosen to give plausible values, and no claim is made about any real steel.

Compositions are in % by mass, gases in ppm by mass, temperatures in °C, times in hours, lengths in mm, strengths in
MPa, energies in J. Every function works on arrays, element by element.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

HEAT_TRANSFER = {"air": 60.0, "oil": 600.0, "polymer": 1200.0, "water": 2500.0}
"""Cooling medium → mean heat transfer coefficient in W/(m² K): orders of magnitude from quenching practice."""

_HEAT_CAPACITY = 7800.0 * 650.0  # J/(m³ K), steel around 650 °C
_DIFFUSIVITY = 5.9e-6  # m²/s, that of 30 W/(m K)
_FIRST_ROOT_SQUARED = 5.783  # of the Bessel function J0, for a long cylinder

ROOM_TEMPERATURE = 20.0


@dataclass(frozen=True)
class Properties:
    """Mean properties at room temperature, before scatter.

    Attributes:
        tensile: Tensile strength in MPa.
        yielding: Yield strength in MPa.
        impact: Absorbed energy of a Charpy V specimen in J.
    """

    tensile: Floats
    yielding: Floats
    impact: Floats


def dissolved_hydrogen(initial_ppm: Floats, vacuum_pa: Floats, minutes: Floats) -> Floats:
    """Return hydrogen after vacuum treatment, in ppm.

    Equilibrium by Sieverts' law, 24.7 ppm at 1 atm and 1600 °C (Turkdogan, Fundamentals of Steelmaking, 1996), reached
    by first-order kinetics with 0.09 / min (ours: a few tenths of a ppm above equilibrium after half an hour).
    """
    equilibrium = 24.7 * np.sqrt(vacuum_pa / 101_325.0)
    return equilibrium + (initial_ppm - equilibrium) * np.exp(-0.09 * minutes)


def cooling_rate(section_mm: Floats, heat_transfer: Floats) -> Floats:
    """Return the cooling rate at the axis at 700 °C, in °C/h.

    Time constant of a long cylinder: sum of its limits for weak surface cooling (lumped) and for strong surface cooling
    (first term of the series), Carslaw and Jaeger, Conduction of Heat in Solids, 1959.
    """
    radius = section_mm / 2000.0
    seconds = _HEAT_CAPACITY * radius / (2.0 * heat_transfer) + radius**2 / (_FIRST_ROOT_SQUARED * _DIFFUSIVITY)
    return 3600.0 * (700.0 - ROOM_TEMPERATURE) / seconds


def hollomon_jaffe(temperature: Floats, hours: Floats) -> Floats:
    """Return the tempering parameter T (20 + log10 t) / 1000 with T in kelvin.

    Source: Hollomon and Jaffe, Trans. AIME 162 (1945) 223.
    """
    return (temperature + 273.15) * (20.0 + np.log10(hours)) / 1000.0


def hardness_martensite(x: Mapping[str, Floats], rate: Floats) -> Floats:
    """Return HV of martensite; rate in °C/h at 700 °C.

    Source: Maynier, Jungmann and Dollet, in Hardenability Concepts with Applications to Steel, AIME 1978, 518.
    """
    decades: Floats = np.log10(rate)
    return 127 + 949 * x["C"] + 27 * x["Si"] + 11 * x["Mn"] + 8 * x["Ni"] + 16 * x["Cr"] + 21 * decades


def hardness_bainite(x: Mapping[str, Floats], rate: Floats) -> Floats:
    """Return HV of bainite; rate in °C/h at 700 °C (Maynier et al. 1978, as above)."""
    slope = 89 + 53 * x["C"] - 55 * x["Si"] - 22 * x["Mn"] - 10 * x["Ni"] - 20 * x["Cr"] - 33 * x["Mo"]
    level = -323 + 185 * x["C"] + 330 * x["Si"] + 153 * x["Mn"] + 65 * x["Ni"] + 144 * x["Cr"] + 191 * x["Mo"]
    return level + slope * np.log10(rate)


def hardened_share(x: Mapping[str, Floats], rate: Floats) -> Floats:
    """Return the share of the structure that is no ferrite and pearlite.

    A sigmoid in the logarithm of the rate over a critical one that falls with alloying; the form of the critical rate,
    with the square root of molybdenum, is that of Maynier et al. 1978, its coefficients are rounded (ours).
    """
    critical = 5.4 - (
        0.4 * x["C"] + 0.5 * x["Mn"] + 0.8 * x["Ni"] + 0.3 * x["Cr"] + 0.4 * x["Mo"] + 2.0 * np.sqrt(x["Mo"])
    )
    return _sigmoid((np.log10(rate) - critical) / 0.35)


def martensite_share(x: Mapping[str, Floats], rate: Floats) -> Floats:
    """Return the share of the hardened structure that is martensite (ours, of the same form)."""
    critical = 8.0 - (4.1 * x["C"] + 0.9 * x["Mn"] + 0.6 * x["Ni"] + 0.4 * x["Cr"] + 0.9 * x["Mo"])
    return _sigmoid((np.log10(rate) - critical) / 0.3)


def tempered_hardness(x: Mapping[str, Floats], hardened: Floats, parameter: Floats) -> Floats:
    """Return HV after tempering.

    Falls from the hardened value to that of the softened alloy along a sigmoid in the Hollomon–Jaffe parameter.
    Molybdenum, vanadium and chromium hold it back, as Grange, Hribal and Porter, Metall. Trans. A 8 (1977) 1775 found;
    coefficients ours.
    """
    soft = 110 + 120 * x["C"] + 15 * x["Mn"] + 30 * x["Si"] + 12 * x["Cr"] + 8 * x["Ni"] + 55 * x["Mo"] + 110 * x["V"]
    halfway = 16.8 + 1.6 * x["Mo"] + 0.35 * x["Cr"] + 4.0 * x["V"]
    return soft + np.maximum(hardened - soft, 0.0) * _sigmoid((halfway - parameter) / 1.1)


def austenite_grain(x: Mapping[str, Floats]) -> Floats:
    """Return the austenite grain diameter in mm.

    Grows with temperature and with a power of time (Beck et al., Trans. AIME 175 (1948) 372), is held back by aluminium
    nitride (Gladman, Proc. R. Soc. A 294 (1966) 298) and refined by forging; coefficients ours.
    """
    nitride = np.minimum(x["Al"] / 0.02, 1.0) * np.minimum(x["N"] / 70.0, 1.0)
    grown = 0.03 * np.exp((x["austenitizing_temperature"] - 870.0) / 120.0) * (x["austenitizing_time"] / 5.0) ** 0.2
    return grown * (1.0 - 0.35 * nitride) * (x["forging_ratio"] / 4.0) ** -0.12


def ferrite_grain(austenite_mm: Floats, rate: Floats) -> Floats:
    """Return the ferrite grain diameter in mm: the finer, the finer the austenite and the faster the cooling (ours)."""
    result: Floats = 0.5 * austenite_mm * (rate / 500.0) ** -0.12
    return result


def ferrite_pearlite(x: Mapping[str, Floats], grain_mm: Floats) -> tuple[Floats, Floats, Floats]:
    """Return yield strength, tensile strength and impact transition temperature of ferrite with pearlite.

    Source: Pickering and Gladman, ISI Special Report 81 (1963) 10, and Pickering, Physical Metallurgy and the Design of
    Steels, 1978. Ours: the pearlite term of the yield strength (theirs is for low carbon), 125 % pearlite per % carbon,
    and free nitrogen as what 0.03 % aluminium leaves.
    """
    pearlite = np.minimum(125.0 * x["C"], 100.0)
    free_nitrogen = x["N"] * 1e-4 * (1.0 - 0.9 * np.minimum(x["Al"] / 0.03, 1.0))
    by_grain = grain_mm**-0.5
    root_nitrogen = np.sqrt(free_nitrogen)
    yielding = 15.4 * (3.5 + 2.1 * x["Mn"] + 5.4 * x["Si"] + 23.0 * root_nitrogen + 1.13 * by_grain + 0.06 * pearlite)
    tensile = 15.4 * (19.1 + 1.8 * x["Mn"] + 5.4 * x["Si"] + 0.25 * pearlite + 0.5 * by_grain)
    transition = -19.0 + 44.0 * x["Si"] + 700.0 * root_nitrogen + 2.2 * pearlite - 11.5 * by_grain
    return yielding, tensile, transition


def residual_strengthening(x: Mapping[str, Floats]) -> Floats:
    """Return solid-solution strengthening by residual elements in MPa (Pickering and Gladman 1963)."""
    return 678.0 * x["P"] + 39.0 * x["Cu"] + 120.0 * x["Sn"]


def embrittlement(x: Mapping[str, Floats]) -> Floats:
    """Return the rise of the transition temperature by temper embrittlement, in °C.

    Proportional to the J-factor (Si + Mn)(P + Sn)·10⁴ (Watanabe and Murakami 1981; of the kind that Bruscato, Weld. J.
    49 (1970) 148s introduced for P, Sb, Sn and As), the more the slower a thick section cools, the less the more
    molybdenum there is (McMahon, ASTM STP 407 (1968) 127); coefficients ours.
    """
    j_factor = (x["Si"] + x["Mn"]) * (x["P"] + x["Sn"]) * 1e4
    return 0.35 * j_factor * np.minimum(x["section_size"] / 800.0, 1.0) * (1.0 - 0.6 * np.minimum(x["Mo"] / 0.5, 1.0))


def upper_shelf(x: Mapping[str, Floats], tensile: Floats) -> Floats:
    """Return the energy of a fully ductile fracture in J.

    Falls with strength, sulphides and oxides (Pickering 1978), with hydrogen above about 2 ppm, where flakes are to be
    feared (Fruehan, A Review of Hydrogen Flaking, 1997), and rises as forging closes the ingot's pores; numbers ours.
    """
    flakes = 14.0 * np.logaddexp(0.0, 4.0 * (x["H"] - 2.0)) / 4.0
    closed = 22.0 * (1.0 - np.exp(-0.6 * (x["forging_ratio"] - 1.0)))
    inclusions = 2600.0 * x["S"] + 0.9 * np.maximum(x["O"] - 8.0, 0.0)
    return np.maximum(185.0 - 0.09 * (tensile - 700.0) + closed - inclusions - flakes, 30.0)


def absorbed_energy(transition: Floats, shelf: Floats) -> Floats:
    """Return the energy at room temperature: a hyperbolic tangent between two shelves.

    Source: Oldfield, ASTM Standardization News 3 (1975) 24; lower shelf 12 J and width 55 °C ours.
    """
    return 12.0 + (shelf - 12.0) / 2.0 * (1.0 + np.tanh((ROOM_TEMPERATURE - transition) / 55.0))


def furnace_offset(days: Floats) -> Floats:
    """Return how much hotter the tempering furnace is than its record, in °C: the slow drift of the process (ours)."""
    return 5.0 * np.sin(2.0 * np.pi * days / 900.0) + 3.0 * days / 3650.0


def mean_properties(x: Mapping[str, Floats]) -> Properties:
    """Return mean properties of recorded rows.

    Args:
        x: Elements ("C" … "Sn" in %, "H", "N", "O" in ppm), "ingot_weight" (t), "forging_ratio", "section_size" (mm),
            "austenitizing_temperature", "austenitizing_time", "heat_transfer" (W/(m² K)), "tempering_temperature",
            "tempering_time" and "days", each of shape (n_rows,), none missing.
    """
    # the larger the ingot, the more carbon at its axis (macrosegregation: Lesoult, Mater. Sci. Eng. A 413 (2005) 19)
    local = {**x, "C": x["C"] * (1.0 + 0.03 * np.log1p(x["ingot_weight"] / 20.0))}
    rate = cooling_rate(x["section_size"], x["heat_transfer"])
    share = hardened_share(local, rate)
    martensite = martensite_share(local, rate)
    quenched = martensite * hardness_martensite(local, rate) + (1.0 - martensite) * hardness_bainite(local, rate)
    parameter = hollomon_jaffe(x["tempering_temperature"] + furnace_offset(x["days"]), x["tempering_time"])
    hardness = tempered_hardness(local, quenched, parameter)
    grain = austenite_grain(local)
    soft_yield, soft_tensile, soft_transition = ferrite_pearlite(local, ferrite_grain(grain, rate))
    # hardness to strength: Pavlina and Van Tyne, J. Mater. Eng. Perform. 17 (2008) 888; grain: Hall 1951, Petch 1953
    refinement = 10.0 * (grain**-0.5 - 5.0)
    hard_tensile = -99.8 + 3.734 * hardness + 0.5 * refinement
    hard_yield = -90.7 + 2.876 * hardness + refinement
    residual = residual_strengthening(local)
    tensile = share * hard_tensile + (1.0 - share) * soft_tensile + residual
    yielding = share * hard_yield + (1.0 - share) * soft_yield + residual
    hard_transition = -105.0 + 0.12 * (hard_yield - 600.0) - 14.0 * x["Ni"] - 11.5 * (grain**-0.5 - 5.0)
    transition = share * hard_transition + (1.0 - share) * soft_transition + embrittlement(local)
    return Properties(tensile, yielding, absorbed_energy(transition, upper_shelf(local, tensile)))


def _sigmoid(z: Floats) -> Floats:
    result: Floats = 1.0 / (1.0 + np.exp(-z))
    return result
