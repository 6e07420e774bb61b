"""Our recurrent arithmetic unit on programs: its law found from training programs and their values alone."""

from dataclasses import dataclass

from models.networks import SequenceNetwork
from training.errors import FitError
from training.fitting.automaton_law import simplest_law
from training.fitting.hankel import FoundAutomaton, find_automaton
from training.fitting.word_law import WordLaw
from training.reproduce.number_words.laws import law_network
from training.reproduce.programs.judging import judge
from training.tasks.programs import CHARACTERS, ProgramSplit, evaluate, tokens

_N_FIRST = 2
"""Characters of the beginnings whose states may become registers."""


@dataclass(frozen=True)
class FittedUnit:
    """The unit of a split; it gives every training and validation program its value exactly.

    Attributes:
        found: The automaton found.
        law: The same as a law of registers.
        network: The law as a network.
    """

    found: FoundAutomaton
    law: WordLaw
    network: SequenceNetwork


def fit_unit(split: ProgramSplit, seed: int) -> FittedUnit:
    """Find the law of the training programs, without a character's meaning being told.

    Raises:
        FitError: When none is found, or it does not give every training and validation program its value.
    """
    words = [tokens(program) for program in split.train]
    values = [evaluate(program)[0] for program in split.train]
    found = find_automaton(words, values, len(CHARACTERS), seed=seed)
    beginnings = {word[:cut] for word in words for cut in range(1, _N_FIRST + 1)}
    law = simplest_law(found.automaton, sorted(beginnings, key=lambda word: (len(word), word)))
    network = law_network(law)
    off = judge(network, [*split.train, *split.validation]).worst
    if off:
        msg = f"a law must give every training and validation program its value, however it is off by {off:g}"
        raise FitError(msg)
    return FittedUnit(found, law, network)
