"""Products that serve models, each in an environment of its own that is made on demand.

Mosec alone: it was the fastest product measured on a machine of this kind, and it is two megabytes. An environment
sees this one's packages behind its own, so that the runtime is the same.
"""

import os
import site
import subprocess
import venv
from pathlib import Path

MOSEC = "Mosec, batches of up to 16"
_MOSEC_VERSION = "0.9.8"


def mosec_command(folder: Path, port: int) -> list[str]:
    """Return what starts Mosec on a port, installed in a folder where it is not there yet.

    Args:
        folder: Where environments are kept.
        port: Port to listen on.
    """
    environment = folder / f"mosec-{_MOSEC_VERSION}"
    python = environment / "bin" / "python"
    if not python.exists():
        venv.create(environment, with_pip=True)
        (packages,) = (environment / "lib").glob("python*/site-packages")
        (packages / "behind.pth").write_text("\n".join(site.getsitepackages()) + "\n", encoding="utf-8")
        subprocess.run([python, "-m", "pip", "install", "--quiet", f"mosec=={_MOSEC_VERSION}"], check=True)
    server = Path(__file__).with_name("mosec_server.py")
    return [str(python), str(server), "--address", "127.0.0.1", "--port", str(port), "--log-level", "error"]


def default_folder() -> Path:
    """Return where environments are kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "nalu-serving" / "peers"
