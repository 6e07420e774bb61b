"""`nalu serve`: a listening socket, the models, and the server processes."""

import asyncio
import gc
import json
import shlex
import signal
import socket
from collections.abc import Callable
from functools import partial

from fastapi import FastAPI
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from uvicorn import Config, Server

from service.api.connections import LimitedProtocol
from service.api.patience import allow_files
from service.api.protocol import PredictProtocol
from service.api.schemas import example_request
from service.app import create_app, load_models, open_repository
from service.authentication import check_authentication
from service.closing import accept_the_last, begin_nothing_new
from service.errors import StartError
from service.inference.registry import Registry
from service.key_file import read_records
from service.key_limits import Ledger
from service.logging import LOGGER, configure_logging, drop_standard_output
from service.metrics import Counts
from service.rpc_port import remedy, reserved_rpc_port, rpc_address
from service.settings import Settings
from service.supervisor import Channel, Supervisor

_BACKLOG = 2048
_STOP_MARGIN_S = 5.0
"""Time beyond drain and grace after which a worker that was told to stop is killed."""

_COLLECTIONS = (700, 10, 100)
"""A collection of everything stops a worker with 5,000 connections for some 30 ms, and finds next to nothing: what a
request leaves in a circle is young. Python's own last number is 10."""

_LINGER_S = 0.5
"""Time in which connected clients may still ask, once the port is closed; idle connections are closed after it."""

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - how to reach a server that listens everywhere
_PREFERRED_EXAMPLE = "multiply"


def serve_models(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight are answered first.

    Raises:
        StartError: When the port is taken, the address is not this machine's, a worker cannot start, or others reach
            the address and there are no keys.
        KeyFileError: When there is a keys file that cannot be read.
        RepositoryError: When the repository cannot be read.
        ProviderError: When the provider is not available.
    """
    configure_logging(settings.log_level, settings.log_format)
    n_workers = settings.n_workers
    with _bind(settings.host, settings.port) as listener, reserved_rpc_port(settings) as settings:
        check_authentication(settings)  # an address that is none is told first
        if n_workers == 1:
            _serve(settings, listener, Counts(), None, 0)
            return
        open_repository(settings).names()  # one that cannot be read is told once, not by each worker
        counts = Counts(n_workers + 1)
        ledger = Ledger(n_workers + 1) if settings.keys_file is not None else None

        def forget(number: int) -> None:
            counts.slot(number).clear_gauges()
            if ledger is not None:
                ledger.clear_worker(number)

        def work(number: int, channel: Channel) -> None:
            first = number == 0 and not counts.slot(0).used
            _serve(settings, listener, counts, ledger, number, channel=channel, announced=not first)

        supervisor = Supervisor(
            n_workers,
            work,
            on_end=forget,
            stop_s=settings.drain_s + settings.shutdown_grace_s + _STOP_MARGIN_S,
        )
        gc.collect()
        gc.freeze()  # what is shared is not touched by the workers' collections

        def stop_listening() -> None:
            if not settings.drain_s:  # until it is over, connections are taken on
                begin_nothing_new(listener)
            listener.close()

        supervisor.run(on_stop=stop_listening)


def _serve(
    settings: Settings,
    listener: socket.socket,
    counts: Counts,
    ledger: Ledger | None,
    worker: int,
    *,
    channel: Channel | None = None,
    announced: bool = False,
) -> None:
    """Load the models and serve them in this process until it is told to stop."""
    allow_files(settings.max_connections * settings.n_ports)
    registry = load_models(settings)
    if not announced:
        try:
            _announce(settings, registry, listener.getsockname()[1])
        except OSError as error:  # a full disk or a closed pipe is no reason not to serve
            LOGGER.warning("how to reach the service cannot be told on standard output: %s", error.strerror)
            drop_standard_output()
    config = _config(settings, partial(create_app, settings, registry, counts, worker, ledger))
    if channel is not None:
        channel.loaded(ready=not registry.faults())
    server = _Server(config, channel)
    # Once it has stopped, the server raises the signal that stopped it again, to end as an unhandled one would; a stop
    # that was asked for is a success.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTIONS)
    server.run(sockets=[listener])


class _Server(Server):
    """Uvicorn's server, in touch with the supervisor where there is one.

    Args:
        config: How to serve.
        channel: The line to the supervisor.
    """

    def __init__(self, config: Config, channel: Channel | None) -> None:
        super().__init__(config)
        self._channel = channel
        self._beside: asyncio.Future[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, tell the supervisor, and stop when that one is gone."""
        await super().startup(sockets)
        if self._channel is not None:
            loop = asyncio.get_running_loop()
            loop.add_reader(self._channel.fileno(), self._stop_alone, loop, self._channel.fileno())
            self._channel.serving()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more, answer what those who are connected ask meanwhile, each for the last time, and end.

        Uvicorn closes connections on which no request is being answered at once, and with them requests that are on
        their way: the first one of a new connection, or the next one of a busy one.
        """
        kept = [listener.dup() for listener in sockets or ()]
        if self._channel is None:  # where there are other workers, they may go on
            for listener in kept:
                begin_nothing_new(listener)
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        await accept_the_last(kept, self._protocol)
        if (beside := self.lifespan.state.get("rpc")) is not None:
            self._beside = asyncio.ensure_future(beside.stop())  # the lifespan's end waits for it
        loop = asyncio.get_running_loop()
        closing = loop.time() + min(_LINGER_S, self.config.timeout_graceful_shutdown or 0)
        while self.server_state.connections and loop.time() < closing and not self.force_exit:
            await asyncio.sleep(_LINGER_S / 50)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        make: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def _stop_alone(self, loop: asyncio.AbstractEventLoop, line: int) -> None:
        loop.remove_reader(line)
        self.should_exit = True


def check(settings: Settings) -> None:
    """Print what was resolved and load every model, without listening.

    Raises:
        StartError: When a model could not be loaded, or there is none, or others reach the address and there are no
            keys.
        KeyFileError: When there is a keys file that cannot be read.
        RepositoryError: When the repository cannot be read.
        ProviderError: When the provider is not available.
    """
    check_authentication(settings)
    console = Console(highlight=False)
    resolved = Table(title="Settings", title_justify="left", box=None, header_style="bold")
    for heading in ("setting", "value"):
        resolved.add_column(heading)
    for name, value in settings.model_dump(mode="json").items():
        resolved.add_row(f"NALU_{name.upper()}", escape(str(value)))
    resolved.add_row("worker processes", str(settings.n_workers))
    resolved.add_row("threads per model run", str(settings.threads))
    resolved.add_row("model repository at", escape(str(settings.model_repository.resolve())))
    console.print(resolved)
    if settings.keys_file is not None:
        keys = read_records(settings.keys_file)
        console.print(f"{len(keys)} API keys, {sum(key.has_expired for key in keys)} of them expired")
    registry = load_models(settings)
    models = Table(title="Models", title_justify="left", box=None, header_style="bold")
    for heading in ("model", "version", "state"):
        models.add_column(heading)
    n_failed = 0
    for name in registry.names:
        versions = registry.versions(name)
        n_failed += len(versions.failed)
        for number in sorted((*versions.loaded, *versions.failed)):
            loaded = versions.loaded.get(number)
            state = f"ok, on {loaded.provider}" if loaded else f"[red]failed:[/] {escape(versions.failed[number])}"
            models.add_row(name, str(number), state)
    console.print(models)
    if n_failed or not registry.names:
        what = f"{n_failed} versions could not be loaded" if n_failed else registry.faults()[0]
        msg = f"every published model must load, however: {what}"
        raise StartError(msg)


def _config(settings: Settings, app: partial[FastAPI]) -> Config:
    return Config(
        app,
        factory=True,
        http=PredictProtocol if settings.http == "protocol" and settings.tracing == "off" else LimitedProtocol,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=settings.shutdown_grace_s,
    )


def _bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to the address; it listens once the server runs.

    Raises:
        StartError: When the port is taken or the address is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        msg = f"the host to listen on must be an address of this machine, however: {host!a} ({error})"
        raise StartError(msg) from error
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        msg = (
            f"the service must be able to listen on {host}:{port}, however {error.strerror}; {remedy(error, '--port')}"
        )
        raise StartError(msg) from error
    listener.set_inheritable(True)
    return listener


def _announce(settings: Settings, registry: Registry, port: int) -> None:
    """Say which URL to open and one request to try."""
    host = _ANY_ADDRESS.get(settings.host, settings.host)
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    console = Console(highlight=False, soft_wrap=True)
    is_open = settings.keys_file is None or settings.open_docs  # a browser sends no key
    interface = f"interface: {url}/docs; " if is_open else ""
    console.print(f"[bold]NALU serving[/] at [bold]{url}[/] ({interface}stop with Ctrl-C)")
    answering = [name for name in registry.names if registry.versions(name).default is not None]
    if settings.grpc_port is not None:
        console.print(f"gRPC at [bold]{rpc_address(host, settings.grpc_port)}[/] (Open Inference Protocol)")
    console.print(f"Models: {', '.join(answering) or 'none'}")
    for fault in registry.faults():
        console.print(f"[yellow]Not ready:[/] {escape(fault)}")
    if answering:
        bodies = {name: json.dumps(example_request(registry.get(name).manifest)) for name in answering}
        body = shlex.quote(bodies.get(_PREFERRED_EXAMPLE, min(bodies.values(), key=len)))
        key = " -H 'X-API-Key: YOUR KEY'" if settings.keys_file is not None else ""
        console.print(f"Try:\n  curl {url}/predict{key} -H 'Content-Type: application/json' -d {escape(body)}")
