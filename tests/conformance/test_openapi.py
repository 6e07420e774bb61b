"""The OpenAPI document driven by schemathesis: a short form of `benchmarks/faults/interface.py`."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.result import Ok
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import positive_data_acceptance

from service.app import create_app
from service.key_file import KeyRecord, add_record, hash_of
from service.settings import Settings
from tests.published import publish_all

KEY = "nalu_" + "k" * 43
EXCLUDED: list[Any] = [positive_data_acceptance]
"""Which columns a model takes stands in its manifest: what follows the schema may be refused for them."""


@pytest.fixture(name="schema", scope="module")
def _schema(tmp_path_factory: pytest.TempPathFactory) -> BaseSchema:
    root = tmp_path_factory.mktemp("openapi")
    add_record(root / "keys.jsonl", KeyRecord(name="judge", role="predict", sha256=hash_of(KEY.encode()).hex()))
    app = create_app(Settings(model_repository=publish_all(root / "models"), keys_file=root / "keys.jsonl"))
    return schemathesis.openapi.from_asgi("/openapi.json", app, headers={"X-API-Key": KEY})


def test_every_operation_answers_as_its_document_says(schema: BaseSchema) -> None:
    n_operations = 0
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()

        @given(case=operation.as_strategy())
        @settings(
            max_examples=3,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def check(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate(headers={"X-API-Key": KEY}, excluded_checks=EXCLUDED)

        check()
        n_operations += 1
    assert n_operations > 30
