"""Write environment.yml from pyproject.toml, so that the two cannot disagree.

``python tools/sync_env.py`` writes the file; ``--check`` only says whether it is up to date.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# conda-forge's name where it differs from PyPI's.
CONDA_NAMES = {"duckdb": "python-duckdb", "TA-Lib": "ta-lib"}
# No conda-forge name is known to us for these: pip installs them into the conda environment.
PIP_ONLY = {"alphalens-reloaded", "nbval", "playwright", "xgboost-cpu"}

HEADER = """\
# Generated from pyproject.toml by tools/sync_env.py; change pyproject.toml, not this file.
# A test keeps it equal to pyproject.toml. It was never solved by us: conda's names are unverified.
"""


def split(requirement: str) -> tuple[str, str]:
    """Cut a requirement into its name and its specifiers.

    >>> split("numpy>=2.3,<2.5")
    ('numpy', '>=2.3,<2.5')
    """
    found = re.fullmatch(r"([A-Za-z0-9._-]+)([<>=!~].*)", requirement.replace(" ", ""))
    if not found:
        raise SystemExit(f"sync_env: {requirement!r} needs a name followed by a floor and a cap.")
    return found[1], found[2]


def render(pyproject: dict) -> str:
    """Return the text of environment.yml for a parsed pyproject.toml."""
    project = pyproject["project"]
    wanted = sorted(project["dependencies"] + pyproject["dependency-groups"]["dev"], key=str.lower)
    pairs = [split(requirement) for requirement in wanted]
    conda = [
        f"{CONDA_NAMES.get(name, name)} {spec}" for name, spec in pairs if name not in PIP_ONLY
    ]
    pip = [name + spec for name, spec in pairs if name in PIP_ONLY]
    lines = ["name: alphabook", "channels:", "  - conda-forge", "dependencies:"]
    lines += [f'  - "{item}"' for item in [f"python {project['requires-python']}", "pip", *conda]]
    lines += ["  - pip:"] + [f'      - "{item}"' for item in [*pip, "-e ."]]
    return HEADER + "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Write environment.yml, or with ``--check`` return 1 where it is out of date."""
    text = render(tomllib.loads((ROOT / "pyproject.toml").read_text()))
    path = ROOT / "environment.yml"
    if "--check" in arguments:
        return int(not path.exists() or path.read_text() != text)
    path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
