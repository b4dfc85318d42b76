"""A real MONAI Label server, started by tests of what it answers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

# Python runs a module of this name at every start: all that the server and its trainings connect to is written down.
WATCH = """
import sys
def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        with open({path!r}, "a") as file:
            print(event, arguments[1] if event == "socket.connect" else arguments[0], file=file)
sys.addaudithook(hook)
"""


class Server:
    def __init__(self, url, folder):
        self.url, self.folder = url, folder

    def infer(self, image="", text=None, params=None, output="image", **files):
        """An answer to a sentence, or to the whole of params; files are opened by path."""
        requests = pytest.importorskip("requests")
        data = json.dumps({} if text is None else {"text": text}) if params is None else params
        opened = {name: (Path(path).name, Path(path).read_bytes()) for name, path in files.items()}
        query = {"image": image, "output": output}
        parts = {"params": (None, data), **opened}
        return requests.post(f"{self.url}/infer/textdiff", params=query, files=parts, timeout=300)

    def call(self, method, path, **options):
        requests = pytest.importorskip("requests")
        answer = requests.request(method, self.url + path, timeout=300, **options)
        assert answer.ok, answer.text
        return answer.json()

    def log(self):
        return (self.folder / "server.log").read_text()

    def train(self, **options):
        """Train and wait; returns what the server says of the task."""
        self.call("POST", "/train/textdiff", json=options)
        return self.trained()

    def trained(self):
        def ended():
            task = self.call("GET", "/train/")
            return task if task["status"] not in ("SUBMITTED", "RUNNING") else None

        return wait_for(ended, 300)


@contextmanager
def running(command, folder, url, **variables):
    (folder / "watch").mkdir()
    (folder / "watch" / "sitecustomize.py").write_text(WATCH.format(path=str(folder / "connections.txt")))
    environment = (
        os.environ | {"PYTHONPATH": str(folder / "watch"), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"} | variables
    )
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    server = Server(url, folder)
    try:
        wait_for(lambda: process.poll() is not None or listens(url), 600)
        assert process.poll() is None, server.log()
        yield server
    finally:
        process.terminate()
        process.wait(30)
    connections = folder / "connections.txt"
    seen = connections.read_text().splitlines() if connections.exists() else []
    assert not [line for line in seen if "127.0.0.1" not in line and "None" not in line], seen


def wait_for(until, seconds):
    end = time.monotonic() + seconds
    while not (found := until()):
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        time.sleep(0.3)
    return found


def listens(url):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rsplit(":", 1)[1]))) == 0


def free_url():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
