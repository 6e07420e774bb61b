"""Extras that exclude each other, and constraints that pin what is tested."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

CHECKOUT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[Requirement]] = {
    extra: [Requirement(line) for line in (*PROJECT["dependencies"], *lines)]
    for extra, lines in PROJECT["optional-dependencies"].items()
}


def pins(file: str) -> dict[str, Requirement]:
    lines = (CHECKOUT / file).read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"==[^*+]+", str(requirement.specifier)) for requirement in requirements)
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def pinned(requirement: Requirement) -> Version:
    (specifier,) = requirement.specifier
    return Version(specifier.version)


def flatbuffers(extra: str) -> SpecifierSet:
    (requirement,) = [requirement for requirement in EXTRAS[extra] if requirement.name == "flatbuffers"]
    return requirement.specifier


@pytest.mark.parametrize("cpu", ["serve", "train"])
def test_no_release_of_flatbuffers_satisfies_both_runtimes(cpu: str) -> None:
    """The packages onnxruntime and onnxruntime-gpu install one module over each other."""
    both = flatbuffers(cpu) & flatbuffers("serve-cuda")
    bounds = [Version(specifier.version) for specifier in both]
    # A pair of ranges is empty when no bound, nor anything just beside one, satisfies it.
    near = [
        Version(text) for bound in bounds for text in (f"{bound}", f"{bound}.dev1", f"{bound}.post1", f"{bound}.0.1")
    ]
    extremes = [Version("0"), Version("9999")]

    assert not [candidate for candidate in (*near, *extremes) if both.contains(candidate, prereleases=True)]
    assert pinned(pins("constraints.txt")["flatbuffers"]) in flatbuffers(cpu)
    assert pinned(pins("constraints-cuda.txt")["flatbuffers"]) in flatbuffers("serve-cuda")


def test_an_extra_brings_one_runtime_or_none() -> None:
    runtimes = {
        extra: {requirement.name for requirement in requirements if requirement.name.startswith("onnxruntime")}
        for extra, requirements in EXTRAS.items()
    }

    assert runtimes == {
        "serve": {"onnxruntime"},
        "serve-cuda": {"onnxruntime-gpu"},
        "train": {"onnxruntime"},
        "grpc": set(),
        "otel": set(),
        "search": set(),
        "sign": set(),
        "peers": set(),
        "dev": set(),  # through serve and train
    }


def test_the_two_serving_extras_differ_in_the_runtime_alone() -> None:
    def besides(extra: str) -> set[str]:
        named = {requirement.name for requirement in EXTRAS[extra]}
        return named - {"flatbuffers", "onnxruntime", "onnxruntime-gpu"}

    assert besides("serve") == besides("serve-cuda")


def test_the_serving_side_asks_for_nothing_of_the_training_side() -> None:
    for extra in ("serve", "serve-cuda"):
        assert not {requirement.name for requirement in EXTRAS[extra]} & {"torch", "onnx", "onnxscript", "scikit-learn"}


@pytest.mark.parametrize(
    ("file", "extras"),
    [("constraints.txt", ("serve", "train", "dev")), ("constraints-cuda.txt", ("serve-cuda",))],
)
def test_constraints_pin_every_requirement_within_its_floor(file: str, extras: tuple[str, ...]) -> None:
    constraints = pins(file)
    for extra in extras:
        for requirement in EXTRAS[extra]:
            if requirement.name != PROJECT["name"]:
                assert pinned(constraints[canonicalize_name(requirement.name)]) in requirement.specifier


def test_constraints_are_what_is_installed_here() -> None:
    """Tests that ran on other releases than the ones pinned would vouch for the wrong ones."""
    wrong = {}
    for name, requirement in pins("constraints.txt").items():
        try:
            installed = Version(version(name)).public  # torch 2.13.0+cpu is torch 2.13.0
        except PackageNotFoundError:
            continue  # needed by another release of Python only
        if installed != str(pinned(requirement)):
            wrong[name] = installed

    assert wrong == {}


def test_shared_pins_agree() -> None:
    cpu, cuda = pins("constraints.txt"), pins("constraints-cuda.txt")

    assert {name for name in cpu.keys() & cuda.keys() if pinned(cpu[name]) != pinned(cuda[name])} == {"flatbuffers"}
