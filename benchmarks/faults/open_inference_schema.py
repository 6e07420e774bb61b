"""The Open Inference Protocol's public REST document driven by schemathesis against a real service.

    python -m benchmarks.faults.open_inference_schema

`open_inference.json` is what that document and its text say, `open_inference_deviations.json` where the service answers
otherwise on purpose; whatever else schemathesis has to say is a failure. The document is driven twice: as it is, where
hardly a name is one that exists, and with the names of models, versions, tensors and types for the strings that stand
for them. Last, every model is asked for its sample, which must be answered, and as the document says.
"""

import argparse
import copy
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok

from benchmarks.faults.report import CHECKOUT, Figure, keep
from tests.serving import Served, serve

DOCUMENT: Final = Path(__file__).with_name("open_inference.json")
DEVIATIONS: Final = Path(__file__).with_name("open_inference_deviations.json")

_DATATYPES: Final = (
    *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "FP32", "FP64", "BYTES"),
)

_NUMBERS: Final = re.compile(r"'[^']*'|[0-9]+")

Get = Callable[[str], Any]
"""Returns the JSON at a path of the service."""


@dataclass(frozen=True)
class Deviation:
    """An answer that is not as the document says, on purpose.

    Attributes:
        failure: Name of schemathesis's failure.
        status: Status of the answers concerned.
        error: What their `error` says, as a regular expression that is found in it.
        told: What schemathesis says, for people.
        reason: Why the service answers so.
    """

    failure: str
    status: int
    error: str
    told: str
    reason: str

    def covers(self, failure: BaseException, status: int, error: str) -> bool:
        """Tell whether a failure is this deviation.

        Args:
            failure: What schemathesis says.
            status: Status of the answer.
            error: What the answer says.
        """
        return (type(failure).__name__, status) == (self.failure, self.status) and re.search(
            self.error, error
        ) is not None


class Drive:
    """What is sent, and what schemathesis says of the answers.

    Args:
        url: Where the service is.
        listed: The deviations that are meant.
        n_examples: Most requests of each operation, for those that fit the document and those that do not.
        chosen: Which requests.

    Attributes:
        operations: Operations asked.
        statuses: Status → answers.
        deviations: What schemathesis says of a deviation → answers.
        failures: Whatever else it says → answers.
    """

    def __init__(self, url: str, listed: Sequence[Deviation], n_examples: int, chosen: int = 0) -> None:
        self._url = url
        self._listed = listed
        self._n_examples = n_examples
        self._chosen = chosen
        self.operations = set[str]()
        self.statuses = Counter[int]()
        self.deviations = Counter[str]()
        self.failures = Counter[str]()

    @property
    def n_cases(self) -> int:
        """Requests sent."""
        return self.statuses.total()

    def everywhere(self, document: Mapping[str, Any]) -> None:
        """Send requests that fit the document, and requests that do not, to each of its operations."""
        config = SchemathesisConfig.from_dict({"checks": {"positive_data_acceptance": {"expected-statuses": ["2xx"]}}})
        for result in schemathesis.openapi.from_dict(dict(document), config=config).get_all_operations():
            if not isinstance(result, Ok):
                raise result.err()
            operation = result.ok()
            self.operations.add(operation.label)
            self._drive(operation, schemathesis.GenerationMode.POSITIVE)
            if operation.body:  # any text fits a path, so that nothing else can be asked wrongly
                self._drive(operation, schemathesis.GenerationMode.NEGATIVE)

    def samples(self, document: Mapping[str, Any], wishes: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Ask models for what they must answer.

        Args:
            document: What the answers are held to.
            wishes: Model → body of a request.

        Returns:
            The models that did not answer.
        """
        schema = schemathesis.openapi.from_dict(dict(document))
        refused = []
        for model, body in wishes.items():
            for path, more in (("/infer", {}), ("/versions/{version}/infer", {"version": "1"})):
                case = schema["/v2/models/{model}" + path]["POST"].Case(
                    path_parameters={"model": model, **more}, body=dict(body), media_type="application/json"
                )
                if self._send(case) != 200:
                    refused.append(model)
        return refused

    def _drive(self, operation: Any, mode: schemathesis.GenerationMode) -> None:
        @given(case=operation.as_strategy(generation_mode=mode))
        @seed(self._chosen)
        @settings(
            max_examples=self._n_examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def drive(case: schemathesis.Case[Any]) -> None:
            self._send(case)

        drive()

    def _send(self, case: schemathesis.Case[Any]) -> int:
        answer = case.call(base_url=self._url)
        self.statuses[answer.status_code] += 1
        try:
            case.validate_response(answer)
        except FailureGroup as group:
            for failure in group.exceptions:
                self._sort(failure, case.operation.label, answer)
        return answer.status_code

    def _sort(self, failure: BaseException, label: str, answer: schemathesis.Response) -> None:
        status, error = answer.status_code, _error_of(answer)
        deviation = next((one for one in self._listed if one.covers(failure, status, error)), None)
        if deviation is not None:
            self.deviations[deviation.told] += 1
        else:
            said = str(failure).partition("\n")[0]
            self.failures[f"{label}: {type(failure).__name__} {status}: {said}: {_NUMBERS.sub('N', error)}"] += 1


def _error_of(answer: schemathesis.Response) -> str:
    """Return what an answer says is wrong, where it does as the protocol says."""
    try:
        told = answer.json()
    except ValueError:
        return ""
    return str(told.get("error", "")) if isinstance(told, dict) else ""


def read_document() -> dict[str, Any]:
    """Return the protocol's document."""
    document: dict[str, Any] = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    return document


def read_deviations() -> list[Deviation]:
    """Return the deviations that are meant."""
    listed = json.loads(DEVIATIONS.read_text(encoding="utf-8"))
    return [Deviation(**one) for one in listed]


def named(document: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the document with names that exist, and some that do not, for the strings that stand for them.

    Shapes are small and inputs given, so that requests get farther than that.

    Args:
        document: The protocol's.
        models: Model → its metadata.
    """
    focused = copy.deepcopy(dict(document))
    tensors = {one["name"] for model in models.values() for one in (*model["inputs"], *model["outputs"])}
    parts = focused["components"]
    parts["parameters"]["Model"]["schema"]["enum"] = [*sorted(models), "no-such-model"]
    parts["parameters"]["Version"]["schema"]["enum"] = ["1", "latest", "no-such-version"]
    for kind in ("Tensor", "Wish"):
        parts["schemas"][kind] = copy.deepcopy(parts["schemas"][kind])
        parts["schemas"][kind]["properties"]["name"] = {"enum": [*sorted(tensors), "no-such-tensor"]}
    tensor = parts["schemas"]["Tensor"]["properties"]
    tensor["datatype"] = {"enum": list(_DATATYPES)}
    tensor["shape"] = {"type": "array", "minItems": 1, "maxItems": 3, "items": {"enum": [1, 2, 3]}}
    parts["schemas"]["Question"]["properties"]["inputs"]["minItems"] = 1
    return focused


def wish_of(metadata: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the body that asks a model for rows.

    Args:
        metadata: The model's, as it tells it.
        rows: Column → value, row by row.
    """
    tensors = []
    for tensor in metadata["inputs"]:
        columns = (tensor.get("parameters") or {}).get("columns", [tensor["name"]])
        data = [[row[column] for column in columns] for row in rows]
        tensors.append({**_kept(tensor), "shape": [len(rows), len(columns)], "data": data})
    return {"id": "sample", "inputs": tensors, "outputs": [{"name": one["name"]} for one in metadata["outputs"]]}


def _kept(tensor: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": tensor["name"], "datatype": tensor["datatype"]}


def drive_all(url: str, get: Get, repository: Path, n_examples: int, chosen: int = 0) -> tuple[Drive, list[str]]:
    """Drive the document as it is, with names, and with samples.

    Args:
        url: Where the service is.
        get: Reads from it.
        repository: What it serves.
        n_examples: Most requests of each operation in each way.
        chosen: Which requests.

    Returns:
        What was found, and the models that did not answer their samples.
    """
    drive = Drive(url, read_deviations(), n_examples, chosen)
    document = read_document()
    models = {path.name: get(f"/v2/models/{path.name}") for path in sorted(repository.iterdir()) if path.is_dir()}
    with_names = named(document, models)
    drive.everywhere(document)
    drive.everywhere(with_names)
    refused = drive.samples(
        with_names, {name: wish_of(told, _rows(repository / name)) for name, told in models.items()}
    )
    return drive, refused


def _rows(model: Path) -> list[dict[str, Any]]:
    """Return the rows of a model's sample."""
    manifest = json.loads((model / "1" / "manifest.json").read_text(encoding="utf-8"))
    rows: list[dict[str, Any]] = manifest["sample"]["rows"]
    return rows


def getter(served: Served) -> Get:
    """Return what reads from a service."""
    return lambda path: served.request("GET", path)[2]


def _tracebacks(served: Served) -> Iterator[str]:
    return (line for line in served.lines if "Traceback" in line)


def main() -> None:
    """Run and keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=300, help="most requests of each operation in each way")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dry", action="store_true", help="keep nothing; exit code 1 where it does not hold")
    given_ = parser.parse_args()
    repository = CHECKOUT / "model_repository"
    with serve(repository, "--workers", "1", NALU_LOG_LEVEL="warning") as served:
        served.wait_until_ready()
        url = f"http://127.0.0.1:{served.port}"
        drive, refused = drive_all(url, getter(served), repository, given_.examples, given_.seed)
        tracebacks = list(_tracebacks(served))
    unlisted = drive.failures.total() + len(tracebacks)
    unseen = [one.told for one in read_deviations() if one.told not in drive.deviations]
    n_models = sum(path.is_dir() for path in repository.iterdir())
    told = (
        f"{drive.n_cases:,} requests to {len(drive.operations)} operations, {drive.statuses[200]:,} of them answered "
        f"with 200; {drive.deviations.total():,} answers deviate in the {len(drive.deviations)} ways that are listed, "
        f"{unlisted} otherwise; {n_models - len(set(refused))} of {n_models} models answered their samples"
    )
    holds = not unlisted and not refused and not unseen
    print(told, *(f"{n} × {what}" for what, n in drive.failures.most_common()), *tracebacks, sep="\n")
    print(*(f"listed, and not found: {what}" for what in unseen), sep="\n")
    print(f"load {os.getloadavg()[0]:.1f}")
    if given_.dry:
        sys.exit(not holds)
    figure = Figure(
        "the Open Inference Protocol's public REST document driven by schemathesis, all checks, all starter models",
        "no deviation that is not [listed](open-inference.md#what-differs-from-the-letter)",
        told,
        holds,
    )
    facts = {
        "schemathesis": schemathesis.__version__,
        "operations": sorted(drive.operations),
        "statuses": dict(sorted(drive.statuses.items())),
        "deviations": dict(drive.deviations),
        "failures": dict(drive.failures),
        "refused": refused,
    }
    keep("open-inference", "python -m benchmarks.faults.open_inference_schema", [figure], facts)


if __name__ == "__main__":
    main()
