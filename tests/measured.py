"""What a command takes, measured in a process of its own: memory that was freed elsewhere would be taken again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_RUN = """
import json, resource, sys, time
from textdiff_monai.apps.segment import segment
start = time.monotonic()
segment(sys.argv[1], "Segment the left lung.", out=sys.argv[2], **json.loads(sys.argv[3]))
print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, time.monotonic() - start]))
"""


def segmented_apart(source: Path, out: Path, **options: Any) -> tuple[float, float]:
    """GiB at most (on Linux), and seconds, that segmenting a file takes."""
    words = [sys.executable, "-c", _RUN, str(source), str(out), json.dumps(options)]
    run = subprocess.run(words, capture_output=True, text=True, check=True)
    peak, seconds = json.loads(run.stdout.splitlines()[-1])
    return peak, seconds
