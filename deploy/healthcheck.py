"""Exit 0 when the service in this container is ready to predict; the slim image has no curl."""

import sys
import urllib.request


def main() -> None:
    """Ask for readiness once; an unready service answers 503, which raises."""
    try:
        urllib.request.urlopen("http://127.0.0.1:8000/health/ready", timeout=3).close()
    except OSError as error:
        sys.exit(f"not ready: {error}")


if __name__ == "__main__":
    main()
