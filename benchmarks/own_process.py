"""A measurement in a process of its own, so that nothing of another one is still in memory."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from typing import Any

_KILOBYTES = 1024  # of a megabyte; ru_maxrss counts kilobytes


def measure_apart(script: str, options: argparse.Namespace, **changes: Any) -> Any:
    """Run a script again with some options changed.

    Args:
        script: its file; the last line that it prints is JSON.
        options: as this process was given them.
        changes: of the options, by name.

    Returns:
        What the line says.
    """
    command = [sys.executable, script]
    for name, value in {**vars(options), **changes}.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            command += [flag] if value else []
        elif value is not None:
            values = value if isinstance(value, list) else [value]
            command += [flag, *map(str, values)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def peak_megabytes() -> float:
    """Tell the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KILOBYTES
