"""A few equations of physics with ranges of our own, so that the benchmark runs where no file of equations is."""

from training.tasks.physics import Equation, EquationInput


def _equation(name: str, output: str, formula: str, **ranges: tuple[float, float]) -> Equation:
    return Equation(name, output, formula, tuple(EquationInput(one, *ends) for one, ends in ranges.items()))


OWN = (
    _equation("kinetic energy", "E", "m*v**2/2", m=(1, 4), v=(1, 6)),
    _equation("Coulomb's law", "F", "q1*q2/(4*pi*eps*r**2)", q1=(1, 4), q2=(1, 4), eps=(1, 3), r=(1, 3)),
    _equation("Bernoulli's equation", "p0", "p+rho*v**2/2+rho*g*h", p=(1, 5), rho=(1, 3), v=(1, 3), g=(2, 4), h=(1, 3)),
    _equation("thin lens", "f", "1/(1/g+1/b)", g=(1, 6), b=(1, 6)),
    _equation("Lorentz contraction", "L", "L0*sqrt(1-v**2/c**2)", L0=(1, 4), v=(1, 2), c=(3, 8)),
    _equation("centre of mass", "x", "(m1*x1+m2*x2)/(m1+m2)", m1=(1, 5), m2=(1, 5), x1=(1, 5), x2=(1, 5)),
    _equation("radioactive decay", "N", "N0*exp(-t/tau)", N0=(1, 5), t=(1, 4), tau=(2, 6)),
)
"""Source: textbook laws by their usual names; ranges made here."""
