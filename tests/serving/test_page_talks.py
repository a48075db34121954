"""The page that asks and listens, in Chromium: its microphone plays speech made here; model and recogniser stand in."""

import wave
from pathlib import Path

import numpy as np
import pytest
from live_browser import FLAGS, Page, chromium_path, wait_for
from live_server import Server
from talk_servers import TalkServer

from anchor.serving.conversation import Minds
from anchor.serving.language_model import LanguageModel
from anchor.serving.outputs import Outputs
from anchor.speech.espeak import speak

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium is installed: apt-get install -y chromium"),
]


class Hearer:
    """In the place of a recogniser: hears the same words in everything."""

    name = "stand-in"

    def hear(self, samples):
        return "What is new?"


@pytest.fixture
def talk():
    running = TalkServer()
    yield running
    running.stop()


@pytest.fixture
def server(tmp_path, talk):
    folder = tmp_path / "avatars"
    (folder / "ann").mkdir(parents=True)
    minds, outputs = Minds(LanguageModel(f"{talk.url}/v1", "small"), Hearer()), Outputs(tmp_path / "films")
    running = Server(folder, minds=minds, outputs=outputs)
    yield running
    running.stop()


@pytest.fixture
def browser(tmp_path):
    """Chromium whose microphone hears a sentence, and three seconds of hardly anything, again and again."""
    from playwright.sync_api import sync_playwright

    speech = speak("Good evening, what is new today?")
    quiet = np.random.default_rng(0).normal(0, 0.0005, 3 * speech.sample_rate)
    sound = np.concatenate([quiet, 0.8 * speech.samples])
    with wave.open(str(tmp_path / "microphone.wav"), "wb") as file:
        file.setparams((1, 2, speech.sample_rate, 0, "NONE", ""))
        file.writeframes((32767 * np.clip(sound, -1, 1)).astype("<i2").tobytes())
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=chromium_path(),
            args=[*FLAGS, f"--use-file-for-fake-audio-capture={tmp_path / 'microphone.wav'}"],
        )
        yield running
        running.close()


def test_a_question_is_typed_and_another_spoken_and_the_answer_is_recorded(server, browser, talk):
    page = Page(browser, server.url)
    events = server.station.sessions[page.id].events

    def questions():
        return [event["text"] for event in list(events) if event["event"] == "asked"]

    page.page.locator("#text").fill("How is the weather?")
    page.page.locator("#ask").click()
    wait_for(lambda: questions() == ["How is the weather?"])
    wait_for(lambda: page.state()["is_speaking"])
    page.page.locator("#free").check()
    wait_for(lambda: "What is new?" in questions())
    page.until("document.getElementById('text').value === 'What is new?'")
    wait_for(lambda: len(talk.paths()) >= 2)
    page.page.locator("#free").uncheck()
    wait_for(lambda: not server.station.sessions[page.id].session.taps)
    record(page, server)
    assert page.faults == []
    page.close()


def record(page, server):
    """The button begins a film and ends it; then the film can be saved, and it is one."""
    button, told = page.page.locator("#record"), page.page.locator("#recorded")
    assert button.inner_text() == "Record"
    button.click()
    wait_for(lambda: button.inner_text() == "End recording")
    assert "on" in button.get_attribute("class").split()
    wait_for(lambda: told.inner_text() not in ("", "0 s"))  # seconds are counted
    button.click()
    wait_for(lambda: button.inner_text() == "Record")
    with page.page.expect_download() as saving:
        told.locator("button", has_text="Save the film").click()
    (kept,) = server.ways.recordings.folder.glob("*.mp4")
    assert saving.value.suggested_filename == kept.name
    assert Path(saving.value.path()).read_bytes() == kept.read_bytes()
