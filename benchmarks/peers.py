"""Throwaway environments for the peers that claims are measured against."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def install(folder: Path, *packages: str, optional: tuple[str, ...] = ()) -> str:
    """Make an environment with some packages in it, and with optional ones where there are any.

    Parameters
    ----------
    folder : Path
        Where the environment is made, as ``peer``.
    *packages, optional : str
        As pip takes them.

    Returns
    -------
    str
        Its interpreter.
    """
    names = ", ".join(packages)
    print(f"installing {names} into a throwaway environment ...", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", folder / "peer"], check=True)
    python = str(folder / "peer" / "bin" / "python")
    pip = [python, "-m", "pip", "install", "-q"]
    subprocess.run([*pip, *packages], check=True, stdout=2)
    for package in optional:
        subprocess.run([*pip, package], check=False, stdout=2)
    return python
