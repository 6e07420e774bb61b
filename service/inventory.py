"""What a model repository holds, for people and for scripts."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from models.contract.errors import (
    ActivationError,
    ContractError,
    ModelNotFoundError,
    NaluError,
    RepositoryError,
)
from models.contract.manifest import (
    CategoryColumn,
    Certificate,
    Column,
    DateColumn,
    ImagesColumn,
    ModelManifest,
    NumberColumn,
    SequenceColumn,
    StepsColumn,
    TextColumn,
)
from models.contract.names import LATEST
from models.contract.repository import CARD_PAGE, ModelRepository
from service.terminal import line_console

_MAX_SHOWN = 12
"""Levels or versions shown in a cell; the rest are counted."""

_MAX_FORMULA = 600
"""Characters of a formula shown."""

_MAX_NAMED = 3
"""Columns named in the list; more are counted."""


@dataclass(frozen=True)
class Listed:
    """One model of a repository.

    Attributes:
        name: Its name.
        versions: Its versions, ascending.
        active: The version that is to answer: the one chosen, else the latest.
        aliases: Alias → version.
        kind: Kind of the active version, or None where its manifest cannot be read; likewise the following.
        inputs: Names of the inputs.
        outputs: Names of the outputs.
        dtype: Floating-point type of the graph.
        fault: Why the pointer or the manifest of the active version cannot be read, or None.
    """

    name: str
    versions: tuple[int, ...]
    active: int | None = None
    aliases: dict[str, int] = field(default_factory=dict)
    kind: str | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    dtype: str | None = None
    fault: str | None = None

    def as_json(self) -> dict[str, object]:
        """Return the facts as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Verified:
    """One version of a model, verified.

    Attributes:
        name: Its name.
        version: Its version.
        fault: Why it cannot be served, or None.
    """

    name: str
    version: int
    fault: str | None = None

    def as_json(self) -> dict[str, object]:
        """Return the facts as plain JSON values."""
        return asdict(self)


def list_models(repository: ModelRepository) -> list[Listed]:
    """Return the models of a repository, by name.

    Raises:
        RepositoryError: When the folder cannot be read.
    """
    listed = []
    for name in repository.names():
        versions = tuple(repository.versions(name))
        try:
            activation = repository.activation(name)
            active = activation.chosen(versions)
            manifest = repository.manifest(name, active)
        except ContractError as error:
            listed.append(Listed(name, versions, fault=str(error)))
        else:
            listed.append(
                Listed(
                    name,
                    versions,
                    active,
                    dict(activation.aliases),
                    manifest.kind,
                    tuple(column.name for column in manifest.inputs),
                    tuple(column.name for column in manifest.outputs),
                    manifest.graph.dtype,
                )
            )
    return listed


def verify_models(repository: ModelRepository, name: str | None = None) -> Iterator[Verified]:
    """Verify versions as a service would on loading them: checksum, graph, runtime, and the answer to the sample.

    Args:
        repository: Where they are published.
        name: Model to verify; None for all.

    Raises:
        ModelNotFoundError: When there is no model of that name.
        RepositoryError: When the repository holds no model at all.
    """
    from service.inference.loading import warm_up
    from service.inference.session import load_session

    names = repository.names() if name is None else [repository.path(name).parent.name]
    if not names:
        msg = (
            f"a repository must hold a model to verify, however {repository.root} holds none; "
            "publish one, or name another with --repository"
        )
        raise RepositoryError(msg)
    for one in names:
        for version in repository.versions(one):
            try:
                warm_up(load_session(repository.load(one, version), "cpu"))
            except NaluError as error:
                yield Verified(one, version, str(error))
            else:
                yield Verified(one, version)


def numbered(repository: ModelRepository, name: str, version: str) -> int:
    """Return the number of a version given by its number, an alias or `latest`.

    Raises:
        ModelNotFoundError: When there is no such model, version or alias.
        ActivationError: When the model's pointer cannot be read.
    """
    versions = repository.versions(name)
    if version.isascii() and version.isdigit() and int(version) in versions:
        return int(version)
    aliases = repository.activation(name).aliases
    wanted = max(versions, default=None) if version == LATEST else aliases.get(version)
    if wanted is None:
        raise ModelNotFoundError(name, version[:100] if versions else None, (*versions, *aliases))
    return wanted


def check_loads(repository: ModelRepository, name: str, version: int) -> None:
    """Load a version as a service would.

    Raises:
        ActivationError: When it cannot be.
    """
    from service.inference.loading import Loader

    found = Loader(repository, "cpu").load(name, version)
    if isinstance(found, str):
        msg = (
            f"a version must be one that can be loaded to be activated, however {name}/{version} is not: {found}; "
            "activate it nevertheless with --unverified"
        )
        raise ActivationError(msg)


def models_table(models: list[Listed], root: Path) -> RenderableType:
    """Return the list of models, drawn."""
    if not models:
        return Text(f"no model is published at {root}")
    table = Table(title=f"models at {root}", title_justify="left")
    chosen = any(model.aliases or model.active not in (None, model.versions[-1]) for model in models)
    for heading in ("name", "versions", *(("answers",) if chosen else ()), "kind", "inputs", "outputs", "dtype"):
        table.add_column(heading, overflow="fold")
    for model in models:
        told = [Text(model.name), _some(map(str, model.versions)), *((_answering(model),) if chosen else ())]
        if model.fault is not None:
            table.add_row(*told, Text(f"fault: {model.fault}", style="red"))
            continue
        table.add_row(
            *told,
            Text(model.kind or ""),
            _few(model.inputs),
            _few(model.outputs),
            Text(model.dtype or ""),
        )
    return table


def _answering(model: Listed) -> Text:
    """Return the version that answers, and what the aliases stand for."""
    active = [] if model.active is None else [str(model.active)]
    return Text("; ".join([*active, *(f"{alias}: {one}" for alias, one in model.aliases.items())]))


def model_card(manifest: ModelManifest, folder: Path) -> RenderableType:
    """Return what a manifest says, drawn."""
    provenance = manifest.provenance
    facts = Table.grid(padding=(0, 2))
    for what, value in (
        ("description", manifest.description),
        ("kind", f"{manifest.kind}, {manifest.graph.dtype}, opset {manifest.graph.opset}"),
        ("formula", _short(manifest.formula.text) if manifest.formula else None),
        *(_proof(manifest.certificate) if manifest.certificate else []),
        ("trained on", f"{provenance.task}, {provenance.n_rows} rows, seed {provenance.seed}"),
        ("published", provenance.created),
        ("note", provenance.note),
        ("graph", f"{manifest.graph.n_bytes} bytes, sha256 {manifest.graph.sha256}"),
        ("range", _joint_range(manifest)),
        ("intervals", _intervals(manifest)),
        ("folder", str(folder)),
        ("model card", str(folder / CARD_PAGE) if (folder / CARD_PAGE).is_file() else None),
    ):
        if value is not None:
            facts.add_row(Text(what, style="bold"), Text(value))
    return Group(
        Text(f"{manifest.name} version {manifest.version}", style="bold"),
        facts,
        _inputs_table(manifest),
        _outputs_table(manifest),
        *((_errors_table(manifest),) if manifest.metrics else ()),
        *((_importance_table(manifest),) if manifest.importance else ()),
        *((_certificate_table(manifest.certificate),) if manifest.certificate else ()),
    )


def print_json(value: object) -> None:
    """Print JSON to standard output as it is, unwrapped and uncoloured."""
    line_console().print(json.dumps(value, indent=2))


def _inputs_table(manifest: ModelManifest) -> Table:
    limited = any(column.domain for column in manifest.numbers)
    table = Table(title="inputs", title_justify="left")
    table.add_column("name", no_wrap=True)
    for heading in ("kind", "unit", "seen in training", "missing", *(("no answer",) if limited else ())):
        table.add_column(heading, overflow="fold")
    for column in manifest.inputs:
        for name, kind, unit, seen, missing, refused in _input_rows(column):
            cells = (Text(name), kind, Text(unit), seen, missing)
            table.add_row(*cells, *((Text(refused),) if limited else ()))
    return table


def _input_rows(column: Column) -> Iterator[tuple[str, str, str, Text, str, str]]:
    """Yield name, kind, unit, what was seen in training, missing values and values without an answer."""
    match column:
        case NumberColumn():
            yield _number_row(column, column.name)
        case CategoryColumn():
            seen = _some(column.categories)
            if column.unseen == "other":
                seen += Text("; any other is answered as one")
            yield column.name, column.kind, "", seen, _missing(column.may_be_missing), ""
        case DateColumn():
            seen = Text(" to ".join(column.span or ()))
            yield column.name, column.kind, "", seen, _missing(column.may_be_missing), ""
            for number in column.numbers:
                yield _number_row(number, f"  {number.name}")
        case TextColumn():
            seen = Text(f"{_lengths(column)} {column.split}, of these: ") + _some(column.vocabulary)
            yield column.name, column.kind, "", seen, _missing(False), ""
        case StepsColumn():
            yield column.name, column.kind, "", Text(f"{_lengths(column)} steps"), _missing(False), ""
            for number in column.columns:
                yield _number_row(number, f"  {number.name}")
        case ImagesColumn():
            seen = Text(f"{_lengths(column)} images of {column.height} × {column.width} pixels")
            yield column.name, column.kind, "", seen, _missing(False), ""


def _number_row(column: NumberColumn, name: str) -> tuple[str, str, str, Text, str, str]:
    seen = Text(f"{column.minimum:g} to {column.maximum:g}")
    refused = column.domain.reason if column.domain else ""
    return name, column.kind, column.unit or "", seen, _missing(column.may_be_missing), refused


def _missing(allowed: bool) -> str:
    return "allowed" if allowed else "refused"


def _lengths(column: SequenceColumn) -> str:
    if column.minimum_length == column.maximum_length:
        return str(column.minimum_length)
    return f"{column.minimum_length} to {column.maximum_length}"


def _outputs_table(manifest: ModelManifest) -> Table:
    table = Table(title="outputs", title_justify="left")
    table.add_column("name", no_wrap=True)
    for heading in ("unit", "seen in training"):
        table.add_column(heading, overflow="fold")
    for output in manifest.outputs:
        table.add_row(Text(output.name), Text(output.unit or ""), f"{output.minimum:g} to {output.maximum:g}")
    return table


def _errors_table(manifest: ModelManifest) -> Table:
    """Return the errors measured: a row for each output and region, a column for each metric."""
    measured = [
        (output, region, values)
        for region, by_output in manifest.metrics.items()
        for output, values in by_output.items()
    ]
    metrics = list(dict.fromkeys(metric for _, _, values in measured for metric in values))
    table = Table(title="errors measured", title_justify="left")
    table.add_column("output", no_wrap=True)
    for heading in ("training range", *metrics):
        table.add_column(Text(heading), overflow="fold")
    for output, region, values in measured:
        cells = ("" if metric not in values else f"{values[metric]:.4g}" for metric in metrics)
        table.add_row(Text(output), Text(region), *cells)
    return table


def _short(text: str) -> str:
    return text if len(text) <= _MAX_FORMULA else f"{text[:_MAX_FORMULA]}… (whole with --json)"


def _joint_range(manifest: ModelManifest) -> str | None:
    joint = manifest.joint_range
    if joint is None:
        return None
    return f"rows are outside also where new in all columns together; {joint.share:.1%} of known ones are marked"


def _intervals(manifest: ModelManifest) -> str | None:
    intervals = manifest.intervals
    if intervals is None:
        return None
    return f"up to a level of {intervals.largest_level:g}, calibrated on {intervals.n_rows} rows"


def _importance_table(manifest: ModelManifest) -> Table:
    """Return how much worse the model gets when a column is shuffled: the most important columns."""
    table = Table(title="importance", title_justify="left", caption="rise of the RMSE when shuffled / target's spread")
    table.add_column("column", no_wrap=True)
    for output in manifest.outputs:
        table.add_column(Text(output.name), justify="right", overflow="fold")
    for one in manifest.importance[:_MAX_SHOWN]:
        table.add_row(Text(one.column), *(f"{rise:.3f}" for rise in one.rise))
    return table


def _proof(certificate: Certificate) -> list[tuple[str, str]]:
    """Return what a certificate says beyond its figures."""
    evidence = certificate.evidence
    smallest, largest = certificate.magnitudes
    return [
        ("exact", f"weights lay within {certificate.sparsity_error_before:.2g} of simple values before snapping"),
        (
            "evidence",
            f"{evidence.n_rows} rows, noise {evidence.noise:.2g}, {evidence.outlier_share:.2%} of them not explained",
        ),
        *(("holds for", f"{one.name}: {one.holds_for}") for one in certificate.inputs[:_MAX_SHOWN]),
        *(("needs", condition) for condition in certificate.conditions[:_MAX_SHOWN]),
        ("magnitudes", f"0, and {smallest:g} to {largest:g}"),
    ]


def _certificate_table(certificate: Certificate) -> Table:
    """Return the comparisons with arbitrary precision: a row for each region."""
    table = Table(title=f"exactness in {certificate.dtype}", title_justify="left", caption=Text(certificate.bound))
    for heading in ("training range", "rows", "largest relative error", "share of the bound"):
        table.add_column(heading, overflow="fold")
    for region in certificate.regions:
        figures = (region.max_relative_error, region.max_share_of_bound)
        cells = ("" if figure is None else f"{figure:.2g}" for figure in figures)
        table.add_row(f"{region.factor:g} times", str(region.n_rows), *cells)
    return table


def _some(names: Iterable[str]) -> Text:
    given = list(names)
    more = len(given) - _MAX_SHOWN
    return Text(", ".join(given[:_MAX_SHOWN]) + (f" and {more} more" if more > 0 else ""))


def _few(names: Sequence[str]) -> Text:
    return Text(", ".join(names)) if len(names) <= _MAX_NAMED else Text(f"{len(names)} columns")
