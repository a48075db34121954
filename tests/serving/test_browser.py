"""The page in a real browser: Chromium plays what `anchor serve` sends, in both ways, and the person at the page acts.

Bounds are of life, not of speed: how quick it is stands in benchmarks/live.py, with the same stopwatch.
"""

import json
import time

import numpy as np
import pytest
from live_avatars import build_coded
from live_browser import Command, Page, chromium_path, open_browser, wait_for
from websockets.sync.client import connect

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium is installed: apt-get install -y chromium"),
]

GREY = 50  # of a mouth: the picture has about 4, what the network draws about 128
LATE_S = 3.0
ENGLISH = "Good evening and welcome. Here is the news of today, read by somebody who does not exist."
CHINESE = "大家晚上好,欢迎收看今天的新闻节目。今天我们有三条消息要告诉大家,请您继续收看。"


@pytest.fixture(scope="module")
def avatars(tmp_path_factory):
    folder = tmp_path_factory.mktemp("avatars")
    build_coded(folder / "ann", actions="1.0-2.0")
    build_coded(folder / "bob")
    return folder


@pytest.fixture(scope="module")
def command(avatars, tmp_path_factory):
    running = Command(avatars, tmp_path_factory.mktemp("log") / "log", logs="json", max_speaking=4)
    yield running
    assert running.stop() in (0, 143, -15)


@pytest.fixture(scope="module")
def browser():
    with open_browser() as running:
        yield running


@pytest.fixture
def page_of(browser, command):
    pages = []

    def visit(**how):
        pages.append(Page(browser, command.url, **how))
        return pages[-1]

    yield visit
    for page in pages:
        assert page.faults == []
        page.close()


@pytest.mark.parametrize("way", ["WebRTC", "WebSocket"])
def test_what_is_said_is_seen_and_heard_and_stops_at_a_word(page_of, way):
    page = page_of(way=way)
    page.forget()
    wait_for(lambda: len(page.seen().shown_N3) > 60)
    seen = page.seen()
    assert len(set(seen.shown_N3[:, 1])) > 20, "pictures advance"
    assert seen.shown_N3[:, 2].max() < GREY, "the mouth is at rest"
    assert len(seen.loud_L) == 0
    assert 0 <= np.median(seen.latencies) < LATE_S

    for text in (ENGLISH, CHINESE):
        page.forget()
        began = time.time()
        page.page.locator("#text").fill(text)
        page.page.locator("#speak").click()
        wait_for(lambda: len(page.seen().loud_L) and page.seen().flashes(GREY))
        assert min(page.seen().loud_L[0], page.seen().flashes(GREY)[0]) > began
        page.page.locator("#interrupt").click()
        time.sleep(1.5)
        assert not page.state()["is_speaking"]
        page.forget()
        time.sleep(1.0)
        seen = page.seen()
        assert len(seen.loud_L) == 0, "silence, and nothing old comes after"
        assert seen.shown_N3[:, 2].max() < GREY

    page.forget()
    beep(page)
    wait_for(lambda: len(page.seen().beeps()) >= 4)
    time.sleep(0.5)
    skews = page.seen().skews(GREY)
    assert len(skews) >= 3
    assert abs(np.median(skews)) < 0.3, skews


def beep(page, count=4):
    """Four tones, each an utterance of its own: the mouth appears with the first of its ticks."""
    tone = (np.sin(np.arange(8000) * 0.2) * 12000).astype("<i2")
    address = f"{page.url.replace('http', 'ws')}/api/sessions/{page.id}/speech"
    with connect(address) as speech:
        for _ in range(count):
            speech.send(json.dumps({"rate": 16000}))
            speech.send(tone.tobytes())
            speech.send(json.dumps({"end": True}))
            time.sleep(1.2)


def test_roles_gestures_and_the_microphone_at_the_page(page_of, command):
    page = page_of()
    click = page.page.locator
    click("#avatars button", has_text="bob").click()
    wait_for(lambda: page.state()["avatar"] == "bob")
    page.until("document.querySelector('#avatars [aria-checked=true]').textContent === 'bob'")
    tick = page.state()["tick"]
    page.forget()
    wait_for(lambda: len(page.seen().shown_N3) > 20)
    assert page.state()["tick"] > tick, "the same session goes on"
    click("#avatars button", has_text="ann").click()
    page.until("document.querySelector('#actions button')")
    click("#actions button").click()

    click("#talk").dispatch_event("pointerdown")
    wait_for(lambda: page.state()["is_speaking"])
    page.forget()
    wait_for(lambda: len(page.seen().loud_L))  # the browser's pretended microphone beeps
    click("#talk").dispatch_event("pointerup")
    wait_for(lambda: not page.state()["is_speaking"])
    click("#free").check()
    wait_for(lambda: page.state()["is_speaking"])
    click("#free").uncheck()
    wait_for(lambda: not page.state()["is_speaking"])

    wait_for(lambda: "skew_ms" in page.state()["viewer"])
    told = [json.loads(line) for line in command.said.splitlines()]
    assert {"on_air", "opened", "avatar"} <= {line["event"] for line in told}
    assert page.id not in command.said
    assert "Good evening" not in command.said


def test_a_phone_in_chinese(page_of):
    page = page_of(language="zh-CN", phone=True)
    assert page.page.locator("#speak").inner_text() == "播报"
    assert page.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.page.locator("#text").fill(CHINESE)
    page.page.locator("#speak").click()
    wait_for(lambda: page.page.locator("#first").inner_text().endswith("ms"))
    page.page.locator("#language").click()
    assert page.page.locator("#speak").inner_text() == "Speak"


def test_a_phone_keyboard_leaves_text_and_buttons_in_sight(page_of):
    page = page_of(phone=True)
    page.page.locator("#text").tap()
    for height in (440, 844):  # with the keyboard, and when it has gone
        page.page.set_viewport_size({"width": 390, "height": height})
        page.until("document.getElementById('speak').getBoundingClientRect().bottom <= innerHeight")
        page.until(
            "document.getElementById('text').getBoundingClientRect().top"
            " >= document.getElementById('stage').getBoundingClientRect().bottom"
        )


def test_a_finger_may_move_while_it_holds_to_talk(page_of):
    page = page_of(phone=True)
    touch = page.context.new_cdp_session(page.page)
    box = page.page.locator("#talk").bounding_box()

    def finger(what, *at):
        points = [{"x": box["x"] + 40, "y": box["y"] + 20 - up} for up in at]
        touch.send("Input.dispatchTouchEvent", {"type": what, "touchPoints": points})

    finger("touchStart", 0)
    wait_for(lambda: page.state()["is_speaking"])
    for up in range(5, 60, 5):
        finger("touchMove", up)
        time.sleep(0.02)
    time.sleep(0.5)
    assert page.page.evaluate("isTalking"), "the page did not scroll away under it"
    finger("touchEnd")
    wait_for(lambda: not page.state()["is_speaking"])

    page.page.evaluate("() => { openMicrophone = () => new Promise((done) => { window.grant = done; }); }")
    finger("touchStart", 0)
    page.until("!!window.grant")
    finger("touchEnd")
    page.page.evaluate("grant()")
    time.sleep(0.5)
    assert page.page.evaluate("line === null"), "let go before the microphone was there"
