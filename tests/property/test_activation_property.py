"""Any sequence of changes of a pointer, beside a list of what was chosen kept by hand."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from models.contract.activation import MAX_HISTORY, Activation, parse_activation
from models.contract.errors import ActivationError

VERSIONS = (1, 2, 3, 4, 5)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("activate"), st.sampled_from([None, *VERSIONS])),
        st.tuples(st.just("roll back"), st.none()),
        st.tuples(st.just("alias"), st.sampled_from(VERSIONS)),
        st.tuples(st.just("remove"), st.sampled_from(VERSIONS)),
    ),
    max_size=80,
)


@given(CHANGES)
def test_what_is_chosen_is_what_was_asked_for_last_and_going_back_goes_back(
    changes: list[tuple[str, int | None]],
) -> None:
    activation = Activation()
    there = list(VERSIONS)
    before: list[int] = []
    chosen: int | None = None
    for generation, (what, version) in enumerate(changes, 1):
        newest = max(there)
        now = newest if chosen is None else chosen
        try:
            if what == "activate":
                if version is not None and version not in there:
                    continue
                activation = activation.activated("law", version, there)
                if now != version:
                    before.append(now)
                chosen = version
            elif what == "roll back":
                activation = activation.rolled_back("law", there)
                while before and (before[-1] not in there or before[-1] == now):
                    before.pop()
                chosen = before.pop() if before else max(one for one in there if one < now)
                before = [one for one in before if one in there]
            elif what == "alias" and version in there:
                activation = activation.aliased("law", "champion", version, there)
            elif what == "remove" and version in there and len(there) > 1:
                activation = activation.without("law", version, there)
                there.remove(version)
                before = [one for one in before if one != version]
        except ActivationError:
            if what == "roll back":
                assert not [one for one in before if one in there and one != now]
                assert not [one for one in there if one < now]
            else:
                assert version in (chosen, activation.aliases.get("champion"))
            continue

        assert activation.active == chosen
        assert activation.generation <= generation
        candidates = activation.candidates(there)
        assert candidates[0] == (max(there) if chosen is None else chosen)
        assert set(candidates) <= set(there)
        assert len(set(candidates)) == len(candidates)
        if chosen is not None:
            assert not [one for one in candidates if one > chosen and one not in before]
        assert parse_activation(activation.to_json()) == activation
        assert len(activation.history) <= MAX_HISTORY


@given(
    st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(repr).map(str.encode)
)
def test_any_bytes_are_a_pointer_or_told(raw: bytes) -> None:
    with contextlib.suppress(ActivationError):  # anything else would end a look at the repository
        found = parse_activation(raw)
        assert parse_activation(found.to_json()) == found
