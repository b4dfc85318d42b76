"""Downloads, from a server on this machine: gone on with, checked, and whole or not there."""

from __future__ import annotations

import hashlib
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from textdiff_monai.apps import fetch
from textdiff_monai.apps.fetch import BERT_REVISION, download, fetch_adm, fetch_bert

CONTENT = bytes(range(256)) * 4096


@pytest.fixture
def server():
    """Serves ``server.files``; breaks off after ``server.limit`` bytes; notes each request's path and range."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = self.start()
            self.wfile.write(body[: instance.limit])
            self.close_connection = self.close_connection or instance.limit is not None

        def do_HEAD(self):
            self.start()

        def start(self):
            name, wanted = self.path.rpartition("/")[2], self.headers.get("Range")
            instance.requests.append((self.command, self.path, wanted))
            body = instance.files.get(name)
            if body is None:
                self.send_error(404)
                return b""
            first = int(wanted[6:].split("-")[0]) if wanted and instance.ranges else 0
            if first >= len(body):
                self.send_error(416)
                return b""
            self.send_response(206 if first else 200)
            sha256 = hashlib.sha256(body).hexdigest()
            self.send_header("Content-Length", str(len(body) - first))
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
            self.send_header("ETag", f'"{instance.hashes.get(name, sha256)}"')
            self.send_header("X-Repo-Commit", BERT_REVISION)
            self.end_headers()
            return body[first:]

        def log_message(self, *args):
            pass

    instance = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    instance.files, instance.hashes, instance.requests = {"model.pt": CONTENT}, {}, []
    instance.limit, instance.ranges = None, True
    instance.url = f"http://127.0.0.1:{instance.server_port}"
    Thread(target=instance.serve_forever, daemon=True).start()
    yield instance
    instance.shutdown()
    instance.server_close()


def sha256_of(content):
    return hashlib.sha256(content).hexdigest()


def test_a_file_comes_whole(server, tmp_path):
    path = download(f"{server.url}/model.pt", tmp_path / "new" / "model.pt", sha256_of(CONTENT))
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]
    download(f"{server.url}/model.pt", path, sha256_of(CONTENT))
    assert len(server.requests) == 1


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_broke_off_goes_on(server, tmp_path, ranges):
    server.limit, path = 300_000, tmp_path / "model.pt"
    with pytest.raises(ConnectionError, match="run again to resume"):
        download(f"{server.url}/model.pt", path, sha256_of(CONTENT))
    assert not path.exists()
    server.limit, server.ranges = None, ranges
    assert download(f"{server.url}/model.pt", path, sha256_of(CONTENT)).read_bytes() == CONTENT
    assert server.requests[-1][2] == "bytes=300000-"


def test_a_download_that_broke_off_at_its_last_byte_is_taken(server, tmp_path):
    (tmp_path / "model.pt.part").write_bytes(CONTENT)
    assert download(f"{server.url}/model.pt", tmp_path / "model.pt", sha256_of(CONTENT)).read_bytes() == CONTENT


def test_other_contents_are_refused_and_deleted(server, tmp_path):
    with pytest.raises(ValueError, match="expected 00"):
        download(f"{server.url}/model.pt", tmp_path / "model.pt", "00")
    assert not list(tmp_path.iterdir())


def test_a_missing_file_and_a_dead_server_say_so(server, tmp_path):
    with pytest.raises(ConnectionError, match="404"):
        download(f"{server.url}/other.pt", tmp_path / "other.pt", "00")
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:9"):
        download("http://127.0.0.1:9/model.pt", tmp_path / "model.pt", "00")
    assert not list(tmp_path.iterdir())


def test_adm_is_fetched_and_converted(server, tmp_path, monkeypatch):
    server.files["adm.pt"] = b"a checkpoint"

    def convert(checkpoint, folder):
        assert checkpoint.read_bytes() == b"a checkpoint"
        folder.mkdir()
        (folder / "config.json").touch()

    monkeypatch.setattr(fetch, "import_adm", convert)
    target = fetch_adm(tmp_path / "adm-256", f"{server.url}/adm.pt", sha256_of(b"a checkpoint"))
    assert list(tmp_path.iterdir()) == [target]
    assert fetch_adm(target, f"{server.url}/adm.pt") == target
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", ["adm-256", "bio-clinicalbert"])
def test_a_folder_without_an_encoder_is_not_taken_for_one(name, tmp_path):
    with pytest.raises(FileExistsError, match="contains no encoder; remove it"):
        fetch.fetch(name, tmp_path)


def test_without_a_connection_the_manual_way_is_told(tmp_path, monkeypatch):
    with pytest.raises(ConnectionError, match=r"textdiff import-adm FILE .*adm-256"):
        fetch_adm(tmp_path / "adm-256", "http://127.0.0.1:9/adm.pt", "00")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between the hub's attempts
    with pytest.raises(ConnectionError, match=r"Without a connection: copy config.json, vocab.txt"):
        fetch_bert(tmp_path / "bert")


@pytest.fixture
def hub(server, bert_folder, monkeypatch):
    """The server as the hub, with a tiny encoder."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        server.url + "/{repo_id}/resolve/{revision}/{filename}",
        raising=False,
    )
    config = json.loads((bert_folder / "config.json").read_text())
    vocabulary = b"hello\n"
    server.files |= {"config.json": json.dumps(config).encode(), "vocab.txt": vocabulary, "pytorch_model.bin": CONTENT}
    server.hashes["vocab.txt"] = hashlib.sha1(b"blob 6\0" + vocabulary).hexdigest()
    return server


def test_bert_is_fetched_at_its_revision_and_checked(hub, tmp_path):
    target = fetch_bert(tmp_path / "bert")
    assert sorted(path.name for path in target.iterdir()) == ["config.json", "pytorch_model.bin", "vocab.txt"]
    assert (target / "pytorch_model.bin").read_bytes() == CONTENT
    assert all(f"/{BERT_REVISION}/" in path for _, path, _ in hub.requests)
    assert list(tmp_path.iterdir()) == [target]


def test_bert_of_another_hash_is_deleted(hub, tmp_path):
    hub.hashes["pytorch_model.bin"] = "0" * 64
    with pytest.raises(ValueError, match=r"pytorch_model.bin has the hash .*deleted"):
        fetch_bert(tmp_path / "bert")
    assert not list(tmp_path.iterdir())
