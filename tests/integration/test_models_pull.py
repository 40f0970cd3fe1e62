"""``countermark models``: weights from servers on this machine, over real HTTP."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tiny_clip import write_folder
from typer.testing import CliRunner

from provenance.config import load_settings
from provenance.errors import BackendUnavailableError, ConfigError
from provenance.fingerprint import catalogue
from provenance.fingerprint.models_cli import app
from provenance.fingerprint.pulling import RemoteFile, pull, read_pin, verify_pin
from provenance.fingerprint.wiring import build_embedder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FileServer:
    """Serves bytes as the hub does: a redirect that names commit and digest, then ranges.

    Source: the hub's answers to ``/ID/resolve/REV/PATH`` (X-Repo-Commit, X-Linked-Etag).

    Attributes:
        files: Path to bytes.
        cut_after: Breaks each answer off after so many bytes, once.
        lie: Names the digest of other bytes.
        requested: (path, Range header) of each request for bytes.
    """

    def __init__(self):
        self.files, self.requested = {}, []
        self.cut_after, self.lie = None, False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def _handler(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self)

            def log_message(self, *_args):
                pass

        return Handler

    def answer(self, request):
        path = request.path.removeprefix("/cdn")
        data = self.files.get(path)
        if data is None:
            request.send_error(404)
            return
        digest = hashlib.sha256(data + b"?" * self.lie).hexdigest()
        if not request.path.startswith("/cdn"):
            request.send_response(302)
            request.send_header("Location", f"{self.address}/cdn{path}")
            request.send_header("X-Repo-Commit", COMMIT)
            request.send_header("X-Linked-Etag", f'"{digest}"')
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        wanted = request.headers.get("Range")
        self.requested.append((path, wanted))
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        start = 0
        if wanted and request.headers.get("If-Range") == tag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        request.send_response(206 if start else 200)
        request.send_header("ETag", tag)
        request.send_header("Content-Length", str(len(data) - start))
        request.end_headers()
        body = data[start:]
        if self.cut_after is not None:
            body, self.cut_after = body[: self.cut_after], None
        request.wfile.write(body)


@pytest.fixture
def server():
    running = FileServer()
    yield running
    running.stop()


@pytest.fixture
def file(server):
    server.files["/big"] = bytes(range(256)) * 20_000
    return RemoteFile("big.bin", f"{server.address}/big")


def test_a_pull_is_whole_and_pinned(server, file, tmp_path):
    seen = []
    folder = tmp_path / "models" / "big"
    pin = pull("big", (file,), folder, progress=lambda *step: seen.append(step))
    assert (folder / "big.bin").read_bytes() == server.files["/big"]
    assert pin.digests == {"big.bin": hashlib.sha256(server.files["/big"]).hexdigest()}
    assert pin.revision == COMMIT
    assert read_pin(folder) == pin
    assert seen[-1] == ("big.bin", 5_120_000, 5_120_000)
    assert [path.name for path in folder.parent.iterdir()] == ["big"]
    # Again: nothing is asked for.
    asked = len(server.requested)
    assert pull("big", (file,), folder) == pin
    assert len(server.requested) == asked


def test_a_pull_that_was_cut_off_goes_on_where_it_was(server, file, tmp_path):
    folder = tmp_path / "big"
    server.cut_after = 3_000_000
    with pytest.raises(BackendUnavailableError, match="run the same command again"):
        pull("big", (file,), folder)
    assert not folder.exists()
    pin = pull("big", (file,), folder)
    assert server.requested == [("/big", None), ("/big", "bytes=3000000-")]
    verify_pin(folder, pin)
    assert (folder / "big.bin").read_bytes() == server.files["/big"]


def test_a_pull_does_not_go_on_with_another_file(server, file, tmp_path):
    server.cut_after = 3_000_000
    with pytest.raises(BackendUnavailableError):
        pull("big", (file,), tmp_path / "big")
    server.files["/big"] = b"new edition" * 1000
    pull("big", (file,), tmp_path / "big")
    assert (tmp_path / "big" / "big.bin").read_bytes() == b"new edition" * 1000


def test_other_bytes_than_promised_are_not_kept(server, file, tmp_path):
    server.lie = True
    with pytest.raises(BackendUnavailableError, match="was promised"):
        pull("big", (file,), tmp_path / "big")
    assert not (tmp_path / "big").exists()
    assert [p.name for p in (tmp_path / ".big.partial").iterdir()] == []


def test_a_changed_file_is_found_out(server, file, tmp_path):
    pull("big", (file,), tmp_path / "big")
    (tmp_path / "big" / "big.bin").write_bytes(b"something else")
    with pytest.raises(BackendUnavailableError, match="is not the file that was pulled"):
        pull("big", (file,), tmp_path / "big")


@pytest.mark.parametrize("url", ["http://example.com/w.bin", "file:///etc/hostname", "ftp://x/y"])
def test_weights_come_over_https_only(url, tmp_path):
    with pytest.raises(ConfigError, match="https only"):
        pull("w", (RemoteFile("w.bin", url),), tmp_path / "w")


def test_without_a_server_there_is_one_clear_line(tmp_path):
    file = RemoteFile("w.bin", "http://127.0.0.1:9/w.bin")
    with pytest.raises(BackendUnavailableError) as caught:
        pull("w", (file,), tmp_path / "w")
    assert "cannot be fetched from 127.0.0.1" in str(caught.value)
    assert "embedder_folder" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_gone_is_one_clear_line(server, tmp_path):
    with pytest.raises(BackendUnavailableError, match="answers 404"):
        pull("w", (RemoteFile("w.bin", f"{server.address}/gone"),), tmp_path / "w")


@pytest.fixture
def run(tmp_path, monkeypatch, server):
    monkeypatch.setenv("COUNTERMARK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_ENDPOINT", server.address)

    def call(*arguments):
        done = CliRunner().invoke(app, list(arguments))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.stdout

    return call


def test_pulled_clip_is_what_the_embedder_reads(run, server, tmp_path):
    folder = write_folder(tmp_path / "published", seed=1)
    repository = catalogue.find_pullable("clip").repository
    for path in folder.iterdir():
        server.files[f"/{repository}/resolve/main/{path.name}"] = path.read_bytes()
    answer = json.loads(run("pull", "clip", "--json"))
    assert answer["revision"] == COMMIT
    assert "registry reindex --embedder open_clip" in run("pull", "clip")
    settings = load_settings(home=tmp_path / "home")
    embedder = build_embedder(settings, "open_clip")
    assert embedder.space_id.startswith("open_clip/clip@")
    (row,) = [r for r in json.loads(run("list", "--json")) if r["embedder"] == "open_clip"]
    assert row["space_id"] == embedder.space_id
    (settings.models_folder / "clip" / "open_clip_model.safetensors").write_bytes(b"tampered")
    with pytest.raises(BackendUnavailableError, match="is not the file that was pulled"):
        build_embedder(settings, "open_clip")


def test_list_fetches_nothing_and_says_how_to(run, server):
    assert "countermark models pull clip" in run("list")
    assert server.requested == []


def test_unknown_models_are_refused(run):
    with pytest.raises(ConfigError, match="known: clip, sscd"):
        run("pull", "clap")
