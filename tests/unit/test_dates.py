"""Dates: one rule for what is read, and the numbers against Python's own calendar."""

import json
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract.dates import PART_NAMES, DateColumn, DatePart, date_numbers, date_text, moment_of, read_moments
from models.contract.errors import ManifestError
from models.contract.manifest import CategoryColumn, NumberColumn, parse_manifest, tensor_numbers
from tests.published import graded_graph, graded_manifest


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-03-01", "2026-03-01T00:00:00"),
        ("2026-03-01 14:30", "2026-03-01T14:30:00"),
        ("2026-03-01T14:30:15.987654321", "2026-03-01T14:30:15"),
        ("2026-03-01 14:30:00Z", "2026-03-01T14:30:00"),
        ("2026-03-01T00:30+02:00", "2026-02-28T22:30:00"),
        ("2026-03-01T00:30-0130", "2026-03-01T02:00:00"),
        ("1.3.2026", "2026-03-01T00:00:00"),
        ("01.03.2026 14:30:15", "2026-03-01T14:30:15"),
        ("0001-01-01", "0001-01-01T00:00:00"),
        ("9999-12-31T23:59:59", "9999-12-31T23:59:59"),
    ],
)
def test_reads_dates(text: str, same: str) -> None:
    assert moment_of(text) == moment_of(same)
    assert date_text("1970-01-01", (moment_of(text) or 0.0) / 86_400) == same


@pytest.mark.parametrize(
    "text",
    ["03/01/2026", "2026-02-30", "20260301", "2026-W09-7", "2026-03-01T25:00", "30.2.2026", "x", " 2026-03-01", "2026",
     "٢٠٢٦-03-01", "0001-01-01T00:00+14:00", "1" * 10_000],
)  # fmt: skip
def test_refuses_what_is_no_date_or_could_be_two(text: str) -> None:
    assert moment_of(text) is None


@given(st.lists(st.datetimes(datetime(1800, 1, 1), datetime(2300, 1, 1)), min_size=1, max_size=20))
def test_the_numbers_are_those_of_the_calendar(dates: list[datetime]) -> None:
    whole = [date.replace(microsecond=0) for date in dates]
    moments, unreadable = read_moments([date.isoformat() for date in dates])
    origin = datetime(2000, 2, 29, 6)

    numbers = date_numbers(moments, origin.isoformat(), PART_NAMES)

    assert not unreadable
    expected = [
        [(d - origin) / timedelta(days=1), d.year, d.month, d.weekday(), d.hour + d.minute / 60 + d.second / 3600]
        for d in whole
    ]
    np.testing.assert_allclose(numbers, expected, rtol=0, atol=1e-9)
    assert [date_text(origin.isoformat(), row[0]) for row in numbers] == [date.isoformat() for date in whole]


def test_missing_dates_are_missing_numbers_and_unreadable_ones_are_named() -> None:
    moments, unreadable = read_moments(["2026-03-01", None, "", "soon"])

    assert unreadable == [3]
    assert np.isnan(moments).tolist() == [False, True, True, True]
    assert np.isnan(date_numbers(moments, "2026-01-01", ["year", "hour"])).tolist() == [
        [False, False], [True, True], [True, True], [True, True]
    ]  # fmt: skip
    with pytest.raises(ValueError, match="origin must be a date"):
        date_numbers(moments, "soon", ["year"])


def test_a_manifest_with_dates_or_open_levels_is_told_to_older_releases_by_its_version() -> None:
    content = json.loads(graded_manifest(graded_graph()).to_json())
    number, category = content["inputs"]
    assert "unseen" not in category
    column = DateColumn(
        name="rolled",
        origin="2026-01-01T00:00:00",
        parts=(DatePart(name="elapsed_days", minimum=0, maximum=9.5), DatePart(name="month", minimum=1, maximum=2)),
    )
    date = json.loads(column.model_dump_json())
    assert column.span == ("2026-01-01T00:00:00", "2026-01-10T12:00:00")

    for inputs in ([number, date, category], [number, {**category, "unseen": "other"}]):
        with pytest.raises(ManifestError, match="must have format version 3"):
            parse_manifest(json.dumps(content | {"inputs": inputs}).encode())
        manifest = parse_manifest(json.dumps(content | {"inputs": inputs, "format_version": 3}).encode())
        assert parse_manifest(manifest.to_json()) == manifest

    after = NumberColumn(name="z", minimum=0, maximum=1)
    graded = CategoryColumn(name="g", categories=("A",))
    names = [one.name for one in tensor_numbers((column, graded, after))]
    assert names == ["rolled: elapsed days", "rolled: month", "z"]
    twin = {**number, "name": "rolled: month"}
    for faulty, message in (
        ([date, twin], "number names must be distinct"),
        ([{**date, "origin": "soon"}], "an origin must be a date"),
        ([{**date, "parts": [date["parts"][0]] * 2}], "parts must be distinct"),
        ([{**date, "parts": []}], "parts"),
    ):
        with pytest.raises(ManifestError, match=message):
            parse_manifest(json.dumps(content | {"inputs": faulty, "format_version": 3}).encode())
