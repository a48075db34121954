"""A browser before the page, and what it sees and hears: the stopwatch of the live tests and of benchmarks/live.py.

Times are seconds of the wall clock, which the browser and the server share when they run on one machine. A picture's
time is when the browser had it on the page, a sound's when it left the jitter buffer for the loudspeaker; what the
loudspeaker's own buffer adds, as the browser tells it, is in the skew alone, for there the viewer's ear decides.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from live_avatars import COUNT, NUM_BITS, shown_number

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required", "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream", "--disable-background-timer-throttling", "--disable-renderer-backgrounding",
]  # fmt: skip
TICK_S = 0.04
MOUTH_SHARE = (0.5, 0.6)  # of width and height: where the mouth of a coded picture is darkest

METER = """
async () => {
  const video = document.getElementById("video"), wall = () => (performance.timeOrigin + performance.now()) / 1000;
  const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
  const paper = canvas.getContext("2d", { willReadFrequently: true });
  const meter = window.meter = { shown: [], loud: [] };
  const look = () => {
    paper.drawImage(video, 0, 0, 64, 64);
    const cells = paper.getImageData(0, 61, 64, 1).data;
    let code = 0;
    for (let bit = 0; bit < BITS; bit++) if (cells[4 * Math.floor((bit + 0.5) * 64 / BITS)] > 128) code |= 1 << bit;
    const mouth = paper.getImageData(31, 37, 2, 2).data;
    meter.shown.push([wall(), code, (mouth[0] + mouth[4] + mouth[8] + mouth[12]) / 4]);
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
  const context = new AudioContext();
  await context.resume();
  const source = `registerProcessor("loud", class extends AudioWorkletProcessor {
    process([input]) {
      if (input[0]) { let most = 0; for (const v of input[0]) most = Math.max(most, Math.abs(v));
        if (most > 0.02) this.port.postMessage(Date.now() / 1000); }
      return true; } })`;
  await context.audioWorklet.addModule(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  const node = new AudioWorkletNode(context, "loud");
  node.port.onmessage = ({ data }) => meter.loud.push(data);
  node.connect(context.destination);
  const stream = video.srcObject || video.captureStream();
  const tap = () => context.createMediaStreamSource(new MediaStream(stream.getAudioTracks())).connect(node);
  if (stream.getAudioTracks().length) tap(); else stream.onaddtrack = tap;
}
""".replace("BITS", str(NUM_BITS))

DEVICE = """
async () => {
  if (!peer) return 0;
  for (const report of (await peer.getStats()).values())
    if (report.type === "media-playout" && report.totalSamplesCount)
      return report.totalPlayoutDelay / report.totalSamplesCount;
  return 0;
}
"""


def chromium_path() -> str | None:
    """The browser of this machine, if it has one."""
    return next((path for name in CHROMIUM if (path := shutil.which(name))), None)


class Command:
    """`anchor serve` as a process of its own, on a free port; its lines are kept in a file."""

    def __init__(self, avatars: Path, log: Path, environment: dict[str, str] | None = None, **keys: Any) -> None:
        self.log, self.avatars = log, avatars
        words = [f"{key}={value}" for key, value in {"port": 0, "device": "cpu", **keys}.items()]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
        with log.open("w") as lines:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "anchor", "serve", f"avatars={avatars}", *words],
                stdout=lines, stderr=subprocess.STDOUT, env=environment, cwd=Path(__file__).parents[2],
            )  # fmt: skip
        try:
            wait_for(lambda: self._address() or self.process.poll() is not None, 120)
        except AssertionError:
            self.process.kill()
            raise
        if self.process.poll() is not None:
            raise RuntimeError(f"anchor serve ended: {self.said}")
        self.url = self._address()

    @property
    def said(self) -> str:
        """What it printed so far."""
        return self.log.read_text()

    def _address(self) -> str:
        found = re.search(r'(https?://[^\s"]+)/', self.said)
        return found[1] if found else ""

    def stop(self, seconds: float = 40) -> int:
        """End it; its status."""
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def wait_for(condition: Any, seconds: float = 30.0, pause: float = 0.05) -> Any:
    """What ``condition`` says, once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(pause)
    return found


@contextlib.contextmanager
def open_browser() -> Iterator[Any]:
    """A headless Chromium of playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium_path(), headless=True, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Seen:
    """What the page has shown and played since :meth:`Page.forget`."""

    shown_N3: np.ndarray  # s, the picture's number, red of the mouth in [0, 255]
    loud_L: np.ndarray  # s, blocks of 3 ms with sound
    began: float  # s, of the session's tick 0
    device_s: float  # from the jitter buffer to the ear, as the browser says; 0 where it says nothing

    @property
    def rate(self) -> float:
        """Pictures a second."""
        times = self.shown_N3[:, 0]
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0

    @property
    def latencies(self) -> np.ndarray:
        """Seconds from the tick of a picture to the page; around the turn of the clip it could be two: left out."""
        found = []
        for at, code, _ in self.shown_N3:
            last = int((at - self.began) / TICK_S)
            fitting = [tick for tick in range(max(0, last - 40), last + 1) if shown_number(tick) == code]
            if len(fitting) == 1:
                found.append(at - self.began - TICK_S * fitting[0])
        return np.array(found)

    def flashes(self, level: float) -> list[float]:
        """When a mouth appeared: the first picture above ``level`` after one below."""
        above = self.shown_N3[:, 2] > level
        return [float(self.shown_N3[i, 0]) for i in range(1, len(above)) if above[i] and not above[i - 1]]

    def beeps(self, silence: float = 0.25) -> list[float]:
        """When sound began after ``silence`` seconds without."""
        times = self.loud_L
        return [float(t) for i, t in enumerate(times) if i == 0 or t - times[i - 1] > silence]

    def skews(self, level: float, apart: float = 0.5) -> np.ndarray:
        """Seconds by which the mouth is later than its sound at the ear, for every beep with a flash near it."""
        flashes, beeps = self.flashes(level), [beep + self.device_s for beep in self.beeps()]
        pairs = [(beep, min(flashes, key=lambda flash: abs(flash - beep))) for beep in beeps if flashes]
        return np.array([flash - beep for beep, flash in pairs if abs(flash - beep) < apart])


class Page:
    """The server's page in the browser, with a meter in it."""

    def __init__(
        self, browser: Any, url: str, way: str = "WebRTC", language: str = "en-US", phone: bool = False
    ) -> None:
        size = {"width": 390, "height": 844} if phone else {"width": 1200, "height": 800}
        self.context = browser.new_context(
            locale=language, viewport=size, permissions=["microphone"], has_touch=phone, is_mobile=phone
        )
        self.page = self.context.new_page()
        self.url = url
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.goto(f"{url}/" + ("?way=stream" if way == "WebSocket" else ""))
        self.until(f"document.getElementById('way').textContent === '{way}'")
        self.until("document.getElementById('video').currentTime > 0")
        self.page.evaluate(METER)

    @property
    def id(self) -> str:
        """Of the page's session."""
        return self.page.evaluate("session.id")

    def state(self) -> dict[str, Any]:
        """What the server says of the session."""
        return httpx.get(f"{self.url}/api/sessions/{self.id}").raise_for_status().json()

    def forget(self) -> None:
        """Count from now on."""
        self.page.evaluate("() => { meter.shown.length = 0; meter.loud.length = 0; }")

    def count(self) -> int:
        """Pictures shown since then."""
        return self.page.evaluate("meter.shown.length")

    def seen(self) -> Seen:
        """All of it."""
        found = self.page.evaluate("meter")
        shown = np.array(found["shown"], float).reshape(-1, 3)
        return Seen(shown, np.array(found["loud"], float), self.state()["began"], self.page.evaluate(DEVICE))

    def until(self, expression: str, seconds: float = 30.0) -> None:
        """Wait for a JavaScript expression."""
        wait_for(lambda: self.page.evaluate(expression), seconds)  # the page's policy forbids playwright's own waiting

    def close(self) -> None:
        """Leave."""
        self.context.close()


assert COUNT <= 1 << NUM_BITS
