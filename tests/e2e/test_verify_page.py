"""The verify page in a real browser: a person chooses a picture and reads the answer."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvicorn
from browser import CHROMIUM, Page, open_page
from fastapi import FastAPI

from detector.api import build_router
from provenance.config import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = Path(__file__).parents[3] / "shared" / "data"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.skipif(not DATA.is_dir(), reason="the sample files are not here"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    app = FastAPI()
    app.include_router(
        build_router(load_settings(environ={}, home=tmp_path_factory.mktemp("home")))
    )
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(20)


@pytest.fixture(scope="module")
def page(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_page(tmp_path_factory.mktemp("profile")) as page:
        page.goto(f"{address}/verify")
        yield page


def ask(page: Page, path: Path) -> str:
    """Chooses a file and answers the text of the whole page afterwards."""
    page.evaluate("document.getElementById('status').textContent = ''")
    page.choose_file("#file", path)
    page.wait_for("/^(Done|It could not)/.test(document.getElementById('status').textContent)")
    return str(page.evaluate("document.body.innerText"))


def test_a_person_reads_the_answer(page: Page, tmp_path: Path) -> None:
    shown = ask(page, DATA / "generators" / "synthetic" / "18-contradiction.jpg")
    for words in ("The evidence contradicts itself", "A hint only", "Midjourney", "18-contra"):
        assert words in shown
    shown = ask(page, DATA / "generators" / "openai_gptimage2_signed.png")
    assert "A machine made this picture" in shown
    assert "Signed by somebody on a trust list" in shown
    assert page.evaluate("document.getElementById('preview').naturalWidth") > 0
    # The answer is announced and focused, and no colour carries it alone.
    assert page.evaluate("document.activeElement.id") == "result"
    assert page.evaluate("document.getElementById('symbol').textContent") == "◆"
    (tmp_path / "page.png").write_bytes(page.screenshot())
    assert page.console == []


def test_a_refusal_is_said_in_words(page: Page, tmp_path: Path) -> None:
    bad = tmp_path / "words.png"
    bad.write_text("just text")
    shown = ask(page, bad)
    assert "It could not be examined" in shown
    assert page.evaluate("document.getElementById('result').hidden") is True


def test_a_file_name_is_text_and_nothing_else(page: Page, tmp_path: Path) -> None:
    sample = DATA / "generators" / "synthetic" / "04-iptc-camera.jpg"
    named = tmp_path / "<img src=x onerror=alert(1)>.jpg"
    named.write_bytes(sample.read_bytes())
    assert "<img src=x onerror=alert(1)>.jpg" in ask(page, named)
    assert page.evaluate("document.querySelectorAll('#result img').length") == 0
