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


def test_the_two_sides_of_a_contradiction_stand_beside_each_other(page: Page) -> None:
    shown = ask(page, DATA / "generators" / "synthetic" / "18-contradiction.jpg")
    for words in ("at most one is true", "A machine made this picture.", "set aside for a person"):
        assert words in shown
    boxes = page.evaluate(
        "[...document.querySelectorAll('.side')].map(one => [one.innerText, "
        "one.getBoundingClientRect().left, one.getBoundingClientRect().top])"
    )
    (left, left_x, left_y), (right, right_x, right_y) = boxes
    assert "A machine made this picture." in left
    assert "A camera captured this picture." in right
    assert left_x < right_x
    assert left_y == right_y
    # Nothing is left of it when the next picture agrees with itself.
    ask(page, DATA / "generators" / "openai_gptimage2_signed.png")
    assert page.evaluate("document.querySelectorAll('.side').length") == 0


def test_the_settings_of_a_generator_are_shown_without_its_prompt(page: Page) -> None:
    shown = ask(page, DATA / "generators" / "a1111_jpeg.jpg")
    terms = page.evaluate("[...document.querySelectorAll('td dt')].map(one => one.textContent)")
    values = page.evaluate("[...document.querySelectorAll('td dd')].map(one => one.textContent)")
    settings = dict(zip(terms, values, strict=True))
    for name, value in [
        ("Program", "AUTOMATIC1111"),
        ("Version", "v1.10.1"),
        ("Sampler", "DPM++ 2M"),
        ("Steps", "20"),
        ("Size asked for", "1024 × 1024 pixels"),
    ]:
        assert settings[name] == value
    assert "What it does not mean" in shown
    assert "hint, not proof" in shown
    assert "is not repeated here" in shown
    assert "masterpiece" not in shown


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
