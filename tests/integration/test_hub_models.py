"""Models from a hub: a small one on this machine speaks the protocol, over real HTTP.

The hub library reads its address when it is imported, so each scenario runs in a process of its
own that only opens models, without torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROOT = Path(__file__).parents[2]

_OPEN = """
import json, logging, sys
from pathlib import Path
from generator.pipelines.hub import open_model
from generator.pipelines.weights import WeightFormats, read_licence
from provenance.errors import ProvenanceError

logging.basicConfig(level=logging.ERROR)
answers = []
for case in json.loads(sys.argv[1]):
    cache = Path(case.pop("cache"))
    try:
        found = open_model(
            hub_cache=cache, formats=WeightFormats(case.pop("formats", "safetensors-only")), **case
        )
        answers.append(
            {
                "name": found.name,
                "commit": found.commit,
                "licence": read_licence(found.path),
                "has_checker": found.safety_checker_folder is not None,
                "files": sorted(
                    p.relative_to(found.path).as_posix()
                    for p in found.path.rglob("*") if p.is_file()
                ),
            }
        )
    except ProvenanceError as error:
        answers.append({"error": type(error).__name__, "message": str(error)})
print(json.dumps(answers))
"""


class Hub:
    """Serves folders as repositories; remembers what was asked for.

    Source: the requests of huggingface_hub 2.4: ``/api/models/ID/revision/REV`` for the list of
    files, ``/ID/resolve/REV/PATH`` for each file, ``/api/models/ID/tree/REV`` for its sizes.
    """

    def __init__(self):
        self.repositories = {}
        self.gated = set()
        self.fetched = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def _handler(self):
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                hub.answer(self)

            def do_HEAD(self):
                hub.answer(self)

            def log_message(self, *_args):
                pass

        return Handler

    def answer(self, request):
        parts = request.path.split("?")[0].strip("/").split("/")
        is_api = parts[:2] == ["api", "models"]
        repo = "/".join(parts[2:4] if is_api else parts[:2])
        if repo in self.gated:
            return self._refuse(request, 403, "GatedRepo")
        folder = self.repositories.get(repo)
        if folder is None:
            return self._refuse(request, 404, "RepoNotFound")
        rest = parts[4:] if is_api else parts[3:]
        revision = rest[-1 if is_api else 0] if rest else "main"
        if revision not in ("main", "v1", COMMIT):
            return self._refuse(request, 404, "RevisionNotFound")
        if is_api:
            return self._describe(request, folder, repo, wants_tree=rest[:1] == ["tree"])
        return self._send_file(request, folder, "/".join(rest[1:]))

    def _describe(self, request, folder, repo, *, wants_tree):
        names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        if wants_tree:
            body = [
                {"type": "file", "path": n, "size": (folder / n).stat().st_size, "oid": "0" * 40}
                for n in names
            ]
        else:
            body = {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": n} for n in names]}
        self._send(request, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _send_file(self, request, folder, name):
        file = folder / name
        if not file.is_file():
            return self._refuse(request, 404, "EntryNotFound")
        data = file.read_bytes()
        if request.command == "GET":
            self.fetched.append(name)
        etag = hashlib.sha256(data).hexdigest()
        return self._send(request, data, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

    def _refuse(self, request, status, code):
        request.send_response(status)
        request.send_header("X-Error-Code", code)
        request.send_header("X-Error-Message", code)
        request.send_header("Content-Length", "0")
        request.end_headers()

    def _send(self, request, data, headers):
        request.send_response(200)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            request.send_header(key, value)
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(data)


@pytest.fixture
def hub():
    served = Hub()
    yield served
    served.stop()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "hub-cache"


def open_models(address, cases, home):
    """Opens models one after the other in a fresh process; the answers, one for each case."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": address,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": str(ROOT),
    }
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run(
        [sys.executable, "-c", _OPEN, json.dumps(cases)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def published(hub, tiny_model_factory, tmp_path):
    """SD 1 as it is published: with twins in other formats that nobody needs."""
    folder = shutil.copytree(tiny_model_factory("sd1"), tmp_path / "published")
    for twin in (
        "v1-5-pruned.ckpt",
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "safety_checker/pytorch_model.bin",
        "text_encoder/model.fp16.safetensors",
    ):
        (folder / twin).write_bytes(b"never needed: " + twin.encode())
    hub.repositories["someone/sd1"] = folder
    return folder


def test_only_what_is_loaded_comes_down_pinned_to_its_commit(hub, published, cache, tmp_path):
    case = {"model": "someone/sd1", "cache": str(cache)}
    found, tagged, kept = open_models(
        hub.address, [case, {**case, "revision": "v1"}, {**case, "offline": True}], tmp_path
    )
    assert (found["name"], found["commit"]) == ("someone/sd1", COMMIT)
    assert found["licence"] == "creativeml-openrail-m"
    assert found["has_checker"]
    unwanted = [n for n in hub.fetched if n.endswith((".bin", ".ckpt")) or "fp16" in n]
    assert unwanted == []
    assert "unet/diffusion_pytorch_model.safetensors" in hub.fetched
    assert len(hub.fetched) == len(set(hub.fetched))
    assert tagged == kept == found


def test_variant_comes_down_instead_of_the_plain_weights(hub, published, cache, tmp_path):
    case = {"model": "someone/sd1", "cache": str(cache), "variant": "fp16"}
    (found,) = open_models(hub.address, [case], tmp_path)
    assert found["commit"] == COMMIT
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in hub.fetched
    assert "unet/diffusion_pytorch_model.safetensors" not in hub.fetched
    assert "vae/diffusion_pytorch_model.safetensors" in hub.fetched


def test_repository_with_pickles_only_is_refused_before_anything_large(
    hub, published, cache, tmp_path
):
    (published / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    case = {"model": "someone/sd1", "cache": str(cache)}
    refused, allowed = open_models(
        hub.address, [case, {**case, "formats": "pickle-allowed"}], tmp_path
    )
    assert refused["error"] == "InputError"
    assert "unet/ of someone/sd1 has weights as pickle only" in refused["message"]
    assert "unet/diffusion_pytorch_model.bin" in allowed["files"]


def test_refusals_name_the_field_and_what_to_do(hub, published, cache, tmp_path):
    hub.gated.add("someone/gated")
    hub.repositories["someone/lora"] = tmp_path / "lora"
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "weights.safetensors").write_bytes(b"x")
    unknown, revision, gated, lora = open_models(
        hub.address,
        [
            {"model": "someone/nothing", "cache": str(cache)},
            {"model": "someone/sd1", "cache": str(cache), "revision": "no-such-tag"},
            {"model": "someone/gated", "cache": str(cache)},
            {"model": "someone/lora", "cache": str(cache)},
        ],
        tmp_path,
    )
    assert unknown["error"] == "InputError"
    assert "model: the hub has no repository someone/nothing" in unknown["message"]
    assert revision["error"] == "InputError"
    assert "revision: someone/sd1 has no revision 'no-such-tag'" in revision["message"]
    assert gated["error"] == "BackendUnavailableError"
    assert "accept its licence" in gated["message"]
    assert lora["error"] == "InputError"
    assert "has no model_index.json" in lora["message"]
    assert hub.fetched == []


def test_kept_copy_serves_when_the_hub_is_down_and_nothing_else_does(
    hub, published, cache, tmp_path
):
    case = {"model": "someone/sd1", "cache": str(cache)}
    (before,) = open_models(hub.address, [case], tmp_path)
    hub.stop()
    kept, other = open_models(
        hub.address, [case, {"model": "someone/else", "cache": str(cache)}], tmp_path
    )
    assert kept == before
    assert other["error"] == "BackendUnavailableError"
    assert other["message"].startswith("model someone/else cannot be fetched from the hub")
    assert "give a local folder" in other["message"]


def test_reference_of_a_hub_model_is_its_id_and_commit(tiny_model_factory, cache):
    from generator.pipelines.diffusers import load_pipeline

    place = cache / "models--someone--sd2"
    shutil.copytree(tiny_model_factory("sd2"), place / "snapshots" / COMMIT)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    model = load_pipeline("someone/sd2", hub_cache=cache, offline=True).model
    local = load_pipeline(str(tiny_model_factory("sd2"))).model
    assert (model.name, model.revision) == ("someone/sd2", COMMIT)
    assert model.weights_sha256 == local.weights_sha256
    assert model.licence == "openrail++"
