"""The service's settings: one frozen object, read once from `NALU_*` variables and the command line, then passed in."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.contract.names import MAX_NAME, NAME
from service.errors import SettingsError, quote
from service.machine import has_cuda_runtime, usable_cores

PREFIX = "NALU_"

_ORIGIN = re.compile(r"https?://[A-Za-z0-9._-]+(:\d{1,5})?")

OTHER_VARIABLES = frozenset({"NALU_DATA_DIR", "NALU_SIGN_KEY"})
"""Variables with our prefix that are not the service's: NALU_DATA_DIR is where the training side finds data sets,
NALU_SIGN_KEY the key with which it signs what it publishes."""

_MAX_DERIVED_WORKERS = 8
"""Eight answer some 100,000 small requests a second; whoever has more to answer has measured, and sets the number."""

_MAX_DERIVED_THREADS = 2
"""Two threads halve the time of 10,000 rows (639 against 1,171 µs, platform measurements); more give little, and every
loaded model has its own."""


class Settings(BaseSettings):
    """How the service runs.

    Each field is also an environment variable: NALU_ and its name in capitals. Command-line options win over variables.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    host: Annotated[str, Field(min_length=1)] = Field(
        default="127.0.0.1",
        description="Address to listen on. The default is reached from this machine only. With any other the service "
        "does not start before there are API keys, or it is told to do without (0.0.0.0 in a container).",
    )
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=8000, description="TCP port to listen on; 0 takes a free one. 8000 is what ASGI servers use by custom."
    )
    grpc_port: Annotated[int, Field(ge=0, le=65535)] | None = Field(
        default=None,
        description="TCP port of the Open Inference Protocol over gRPC; 0 takes a free one, none leaves it out. Off by "
        "default: a second open port is a decision to take, and it needs the extra grpc. 8001 is the port by custom, "
        "which the image sets.",
    )
    grpc_max_calls: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=256,
        description="Calls over gRPC that each worker takes on at once, streams included; more are refused with "
        "RESOURCE_EXHAUSTED before their message is read. Each may hold a message of the largest body's size.",
    )
    grpc_connection_s: Annotated[float, Field(ge=1, le=30 * 86_400, allow_inf_nan=False)] = Field(
        default=3600.0,
        description="Seconds after which a connection over gRPC is told to go; its calls, streams too, have 5 minutes "
        "to finish then. Clients connect again by themselves and lose no call. It spreads them anew over the workers, "
        "and ends the calls of those who never read their answers.",
    )
    model_repository: Path = Field(
        default=Path("model_repository"),
        description="Folder of published models. The default is where a fresh clone keeps its starter models.",
    )
    reload_s: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = Field(
        default=1.0,
        description="Seconds between two looks of each worker at the repository, to follow what is published, "
        "activated, rolled back or removed. A look takes 0.1 ms with the starter models; 0 looks never.",
    )
    signature_keys_file: Path | None = Field(
        default=None,
        description="File of public keys, PEM, of which one must have signed every model that is loaded. None by "
        "default: who may write to the repository may publish.",
    )
    keep_versions: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=8,
        description="Newest versions of each model that are loaded, beside the active one, the one to roll back to and "
        "those with an alias. Enough to compare recent ones, and bounded where a trainer publishes day and night.",
    )
    auth: Literal["auto", "required", "off"] = Field(
        default="auto",
        description="Whether requests need an API key: auto where there is a keys file, which there must be unless "
        "only this machine reaches the address; required always; off never, for where the network lets in only those "
        "who may ask anything.",
    )
    keys_file: Path | None = Field(
        default=None,
        description="File of API keys, made by `nalu keys`; read anew within a second of a change. None by default: a "
        "key that everybody knows would be none.",
    )
    open_metrics: bool = Field(
        default=False,
        description="Whether /metrics is told without a key. Not by default: it names models and says how busy they "
        "are; a Prometheus can send a key.",
    )
    open_docs: bool = Field(
        default=False,
        description="Whether the pages for people, the OpenAPI document and reflection over gRPC are shown without a "
        "key. Not by default; a browser sends no key by itself, so a service whose pages are to be seen opens them.",
    )
    cors_origins: str = Field(
        default="",
        description="Origins whose pages may call the service from a browser, separated by commas, such as "
        "https://dash.example. None by default: another site's page has no business here.",
    )
    default_model: Annotated[str, Field(max_length=MAX_NAME, pattern=f"^{NAME}$")] | None = Field(
        default=None,
        description="Model that answers at /invocations, where SageMaker and MLflow name none. None takes the only one "
        "there is.",
    )
    provider: Literal["auto", "cpu", "cuda"] = Field(
        default="auto",
        description="Execution provider: cpu, cuda (refuses to start where it does not work), or auto for CUDA where "
        "it works and the CPU elsewhere.",
    )
    cuda_device: Annotated[int, Field(ge=0, le=1023)] = Field(
        default=0,
        description="Number of the GPU to run on, counted from 0 among those that this process sees; "
        "CUDA_VISIBLE_DEVICES says which these are.",
    )
    cuda_memory_bytes: Annotated[int, Field(ge=0, le=1024**4)] = Field(
        default=0,
        description="Most memory of the GPU that a session takes, in bytes: one for each version of a model in each "
        "worker. 0 sets no limit; where others use the GPU too, a run beyond the limit fails instead of theirs.",
    )
    workers: Annotated[int, Field(ge=0, le=64)] = Field(
        default=0,
        description="Server processes that share the port. 0 takes one for each core that this process may use (its "
        "affinity and its container's quota), at most 8, and a single one on CUDA, of which each would hold a context "
        "of its own. Each has its own copy of the models, and bounds of its own for what it takes on.",
    )
    session_threads: Annotated[int, Field(ge=0, le=256)] = Field(
        default=0,
        description="Threads of one model run. 0 derives it, so that workers × threads fits the cores that this "
        "process may use, at most 2: more give little.",
    )
    max_body_bytes: Annotated[int, Field(ge=1024, le=1024**3)] = Field(
        default=16 * 1024**2,
        description="Largest request body, in bytes. 16 MiB hold 20,000 rows of 30 columns as JSON records.",
    )
    max_rows: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        default=100_000,
        description="Most rows in one request. 100,000 rows of 2 columns fill the default body limit about a quarter; "
        "larger tables are for `nalu predict`.",
    )
    max_bulk_bytes: Annotated[int, Field(ge=1024, le=64 * 1024**3)] = Field(
        default=256 * 1024**2,
        description="Largest table in a request's body, in bytes, once decompressed. It is predicted as it arrives and "
        "held nowhere; a batch of Arrow is held whole. 256 MiB hold a million rows of 30 numbers.",
    )
    max_bulk_rows: Annotated[int, Field(ge=1, le=1_000_000_000)] = Field(
        default=1_000_000,
        description="Most rows of such a table. Their predictions are held until the last row is known to be answered: "
        "9 MB for each million of one output.",
    )
    bulk_deadline_s: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] = Field(
        default=300.0,
        description="Seconds in which such a table must have arrived, had its turn and been predicted: 256 MiB at "
        "1 MiB/s.",
    )
    max_length: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        default=10_000,
        description="Most steps of one sequence: words, characters, rows of numbers or images. The default is ten "
        "times the longest of the field's tests; a small cell takes 0.5 to 9 µs a step.",
    )
    max_steps: Annotated[int, Field(ge=1, le=100_000_000)] = Field(
        default=500_000,
        description="Most steps of all sequences of one request together. The default is 100,000 texts of five words; "
        "where all lengths differ, so that no two rows run together, it is some seconds of one core.",
    )
    max_pixels: Annotated[int, Field(ge=1, le=1_000_000_000)] = Field(
        default=16 * 1024**2,
        description="Most pixels of all images of one request together, once decoded. The default is 21,000 digits of "
        "28 × 28 pixels, 64 MiB as float32.",
    )
    max_head_bytes: Annotated[int, Field(ge=1024, le=1024**2)] = Field(
        default=32 * 1024,
        description="Largest head of a request, in bytes: its line and headers, of which there may be 100; also "
        "most of what stands between two parts of a body in chunks, and behind the last. The default is what nginx "
        "takes with its own.",
    )
    max_connections: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=8192,
        description="Most connections of each worker. Where one more comes, one that keeps the service waiting, or "
        "else an idle one, is closed for it; where there is none, it is refused with 503. As many over gRPC, where one "
        "more is closed. The default takes some 100 MB at most.",
    )
    receive_timeout_s: Annotated[float, Field(ge=0.1, le=3600, allow_inf_nan=False)] = Field(
        default=30.0,
        description="Seconds in which a connection must bring its first request, a head must have arrived, and a body "
        "beside one second for each 4 KiB of it; also those in which a client must read on of its answer. Half of what "
        "nginx waits by custom. Slow clients that come back cost the more the sooner they are ended, and where places "
        "are short they are closed first in any case.",
    )
    keep_alive_s: Annotated[int, Field(ge=1, le=3600)] = Field(
        default=75,
        description="Seconds after which a connection between two requests is closed. The default is nginx's own, and "
        "above the 60 s after which load balancers by custom close theirs, so that none sends a request into a "
        "connection that is being closed; behind one that keeps them longer, set it above that.",
    )
    max_queue: Annotated[int, Field(ge=0, le=10_000)] = Field(
        default=16,
        description="Large requests that may arrive or wait for their turn in each worker, beside the two that it "
        "works on; more are refused with 503. Each may hold a body in memory: 18 of the largest take 288 MiB.",
    )
    deadline_s: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = Field(
        default=30.0,
        description="Seconds in which a large request must have arrived, had its turn and been answered; beyond them "
        "it is answered with 504. Half of what load balancers wait by custom, so that a client hears it from here.",
    )
    http: Literal["protocol", "asgi"] = Field(
        default="protocol",
        description="Where small predictions are answered: protocol for the HTTP protocol itself, at half the "
        "cost, asgi for the application. Both give the same answers.",
    )
    shutdown_grace_s: Annotated[int, Field(ge=0, le=3600)] = Field(
        default=8,
        description="Seconds that requests in flight get to finish after SIGTERM. The default ends before Docker's "
        "10 s are over and it kills the process.",
    )
    drain_s: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)] = Field(
        default=0.0,
        description="Seconds between SIGTERM and closing the port, in which readiness is already false and requests "
        "are still answered. 0 suits a terminal; behind a load balancer set it to the interval of its probe.",
    )
    tracing: Literal["off", "otlp"] = Field(
        default="off",
        description="Whether requests, over HTTP and gRPC, are traced and sent with OTLP over HTTP to the collector "
        "that the standard OTEL_* variables name (extra otel). Off by default: a traced request costs several times "
        "an untraced one.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Least severe lines to log; info has one line per request except good health probes, warning none.",
    )
    log_format: Literal["plain", "json"] = Field(
        default="plain", description="Log lines for people, or one JSON object per line for a collector."
    )

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_origins(cls, value: str) -> str:
        for origin in filter(None, (one.strip() for one in value.split(","))):
            if not _ORIGIN.fullmatch(origin):
                msg = f"an origin must be like https://dash.example or http://localhost:3000, however: {quote(origin)}"
                raise ValueError(msg)
        return value

    @property
    def allowed_origins(self) -> list[str]:
        """Origins of `cors_origins`."""
        return [one.strip() for one in self.cors_origins.split(",") if one.strip()]

    @property
    def n_ports(self) -> int:
        """Ports that a worker listens on: HTTP's, and gRPC's where there is one."""
        return 1 if self.grpc_port is None else 2

    @property
    def n_workers(self) -> int:
        """Server processes, derived where `workers` is 0."""
        if self.workers:
            return self.workers
        on_cuda = self.provider == "cuda" or (self.provider == "auto" and has_cuda_runtime())
        return 1 if on_cuda else min(_MAX_DERIVED_WORKERS, usable_cores())

    @property
    def threads(self) -> int:
        """Threads of one model run, derived where `session_threads` is 0."""
        return self.session_threads or max(1, min(_MAX_DERIVED_THREADS, usable_cores() // self.n_workers))


def read_settings(given: Mapping[str, object] | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Args:
        given: Values that win over variables, by field name; None values are left out.
        environment: Variables, by default the process's own; looked through for names that are no setting.

    Raises:
        SettingsError: When a `NALU_*` variable is no setting, or a value is out of bounds.
    """
    names = os.environ if environment is None else environment
    known = {PREFIX + name.upper() for name in Settings.model_fields} | OTHER_VARIABLES
    if unknown := sorted(name for name in names if name.upper().startswith(PREFIX) and name.upper() not in known):
        msg = (
            f"every {PREFIX}* variable must be a setting, however: {', '.join(map(quote, unknown))}; "
            f"known are: {', '.join(sorted(known))}"
        )
        raise SettingsError(msg)
    try:
        return Settings(**{name: value for name, value in (given or {}).items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        faults = "; ".join(
            f"{PREFIX}{str(fault['loc'][0]).upper()}: {fault['msg']}, however: {quote(str(fault['input']))}"
            for fault in error.errors()
        )
        msg = f"settings must be within their bounds; {faults}"
        raise SettingsError(msg) from error
