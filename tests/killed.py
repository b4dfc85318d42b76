"""A training that dies while it writes; importable by processes that tests start."""

from __future__ import annotations

import os
import signal
import sys

import monai.bundle

KEPT = ("model.pt", "last.pt", ".csv", ".json")


def train_until_writing(moment, config_file, **options):
    """A training whose process is killed right before the ``moment``-th opening for writing or renaming of its files.

    A file that is opened a second time, to bring it to the disk, is written by then; one that is renamed is there too.
    None trains to the end.
    """
    left = moment

    def watch(event, arguments):
        nonlocal left
        if event == "os.rename" or (event == "open" and set(str(arguments[1])) & set("wa+")):
            path = str(arguments[0]).removesuffix(".part")
            if path.startswith(options["output_dir"]) and path.endswith(KEPT):
                left = None if left is None else left - 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    monai.bundle.run("training", config_file=config_file, **options)
