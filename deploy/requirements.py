"""Print the requirements of extras, so that an image layer can hold them apart from the code: requirements.py EXTRAS.

Changing the code then rebuilds in seconds, without installing the dependencies again.
"""

import sys
import tomllib
from pathlib import Path


def main() -> None:
    """Read pyproject.toml in the working folder and write one requirement per line."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [project["optional-dependencies"][extra] for extra in sys.argv[1:]]
    requirements = [*project["dependencies"], *(line for extra in extras for line in extra)]
    sys.stdout.write("\n".join(requirements) + "\n")


if __name__ == "__main__":
    main()
