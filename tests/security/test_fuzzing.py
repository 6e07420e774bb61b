"""The short forms of the fault runs: what a minute of them would find, the tests find in a second."""

from pathlib import Path

from benchmarks.faults import fuzz_bodies, fuzz_files, slow_clients
from tests.published import publish_all


def test_bodies_from_the_grammar_are_answered_alike_or_refused(tmp_path: Path) -> None:
    found = fuzz_bodies.run(publish_all(tmp_path), 3000, seed=1)

    assert found["failures"] == []
    assert found["n_bodies"] == 3000
    assert found["n_by_the_short_path"] > 300
    assert len(found["outcomes"]) >= 7


def test_a_failure_of_a_reader_would_be_found(tmp_path: Path) -> None:
    fuzzed = fuzz_bodies.Fuzzed(publish_all(tmp_path), seed=1)
    fuzzed.quick = None  # type: ignore[assignment]
    fuzzed.run(10, 60)

    assert any("the quick reader failed" in failure for failure in fuzzed.failures)


def test_broken_files_are_refused_with_a_reason(tmp_path: Path) -> None:
    found = fuzz_files.run(publish_all(tmp_path), 150, seed=2)

    assert found["failures"] == []
    assert found["n_files"] == 150
    assert set(found["changed"]) == {"bytes of a manifest", "a manifest", "bytes of a graph", "a graph"}
    assert {"ManifestError", "UnsafeModelError"} <= set(found["outcomes"])


def test_healthy_clients_are_answered_among_slow_ones(tmp_path: Path) -> None:
    found = slow_clients.run(publish_all(tmp_path), 120, n_rounds=1, seconds=1.0, ramp_s=0.2)

    assert found["n_wrong"] == 0
    assert found["n_connections"] >= 110
    assert found["counts"]["bytes"] > 20
    assert found["n_healthy"] > 20
