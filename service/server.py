"""`nalu serve`: a listening socket, the models, and the server processes."""

import errno
import json
import shlex
import signal
import socket
from functools import partial

from fastapi import FastAPI
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from uvicorn import Config, Server
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from service.api.protocol import PredictProtocol
from service.api.schemas import example_request
from service.app import create_app, create_worker_app, load_models
from service.errors import StartError
from service.inference.registry import Registry
from service.logging import configure_logging
from service.settings import Settings

_BACKLOG = 2048
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - how to reach a server that listens everywhere
_PREFERRED_EXAMPLE = "multiply"


def serve_models(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight are answered first.

    Raises:
        StartError: When the port is taken or the address is not this machine's.
        RepositoryError: When the repository cannot be read.
        ProviderError: When the provider is not available.
    """
    configure_logging(settings.log_level, settings.log_format)
    with _bind(settings.host, settings.port) as listener:
        registry = load_models(settings)
        _announce(settings, registry, listener.getsockname()[1])
        if settings.workers == 1:
            app = partial(create_app, settings, registry)
            # The server raises the signal that stopped it once more when it is done, to exit as an unhandled one
            # would; a stop that was asked for is a success.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda _number, _frame: None)
            Server(_config(settings, app)).run(sockets=[listener])
        else:
            supervisor = Multiprocess(_config(settings, partial(create_worker_app, settings)), sockets=[listener])
            supervisor.run()
            if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
                msg = "every worker must start, however one failed; the log above says why"
                raise StartError(msg)


def check(settings: Settings) -> None:
    """Print what was resolved and load every model, without listening.

    Raises:
        StartError: When a model could not be loaded, or there is none.
        RepositoryError: When the repository cannot be read.
        ProviderError: When the provider is not available.
    """
    console = Console(highlight=False)
    resolved = Table(title="Settings", title_justify="left", box=None, header_style="bold")
    for heading in ("setting", "value"):
        resolved.add_column(heading)
    for name, value in settings.model_dump(mode="json").items():
        resolved.add_row(f"NALU_{name.upper()}", escape(str(value)))
    resolved.add_row("threads per model run", str(settings.threads))
    resolved.add_row("model repository at", escape(str(settings.model_repository.resolve())))
    console.print(resolved)
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
        http=PredictProtocol if settings.http == "protocol" else "auto",
        workers=settings.workers,
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
        msg = f"the service must be able to listen on {host}:{port}, however {error.strerror}; {_remedy(error)}"
        raise StartError(msg) from error
    listener.set_inheritable(True)
    return listener


def _remedy(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "stop what listens there, or choose another port with --port"
    if error.errno == errno.EACCES:
        return "ports below 1024 need privileges; choose another with --port"
    return "choose another address with --host"


def _announce(settings: Settings, registry: Registry, port: int) -> None:
    """Say which URL to open and one request to try."""
    host = _ANY_ADDRESS.get(settings.host, settings.host)
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]NALU serving[/] at [bold]{url}[/] (interface: {url}/docs; stop with Ctrl-C)")
    answering = [name for name in registry.names if registry.versions(name).latest in registry.versions(name).loaded]
    console.print(f"Models: {', '.join(answering) or 'none'}")
    for fault in registry.faults():
        console.print(f"[yellow]Not ready:[/] {escape(fault)}")
    if answering:
        bodies = {name: json.dumps(example_request(registry.get(name).manifest)) for name in answering}
        body = shlex.quote(bodies.get(_PREFERRED_EXAMPLE, min(bodies.values(), key=len)))
        console.print(f"Try:\n  curl {url}/predict -H 'Content-Type: application/json' -d {escape(body)}")
