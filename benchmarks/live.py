"""How many people one machine keeps on air, and how quick they are: `anchor serve` with a browser before it.

    python benchmarks/live.py [parts=forward,room,ladder,watch,soak] [presets=live96,tiny,wav2lip96] [size=512]
                              [most=8] [seconds=10] [soak_s=60] [threads=1] [speaking=0]

forward: mouths a second of each preset, all cores, no server. room: how many the server itself says may speak, and that
one more is refused while those keep their rate. ladder: sessions that all speak, one more at a time, one of them in
Chromium, until one has less than 24.5 pictures a second, or 1 % of mouths are late. watch: the stopwatch, in Chromium:
text to sound, text to lip, interruption to silence, delay, skew. soak: as many sessions as there is room for, for
soak_s: skew at the beginning and the end, memory. speaking= sets how many that are, as max_speaking= of the server.
Skew is that at the ear: what the browser says of its loudspeaker's buffer counts.

Networks are untrained, pictures are drawn and carry a bar-code, the browser runs on the same cores.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from detect import processor  # noqa: E402
from live_avatars import build_coded  # noqa: E402
from live_browser import Command, Page, open_browser, wait_for  # noqa: E402
from live_clients import BEEP_EVERY_S, SENTENCE, TALK, Background, Watcher, beep  # noqa: E402

OPTIONS = {
    "parts": "forward,room,ladder,watch,soak", "presets": "live96,tiny,wav2lip96", "size": "512", "most": "8",
    "seconds": "10", "soak_s": "60", "threads": "1", "speaking": "0",
}  # fmt: skip
ENOUGH = 24.5  # pictures a second
GREY = 50  # red of a drawn mouth; at rest it is about 4
CHINESE = "大家晚上好,欢迎收看今天的新闻节目。今天我们有三条消息要告诉大家。"


def make_net(preset: str) -> Any:
    """The generator of a preset, untrained."""
    config = OmegaConf.create({"model": OmegaConf.load(ROOT / "conf" / "model" / f"{preset}.yaml")})
    keys: dict[str, Any] = OmegaConf.to_container(config, resolve=True)["model"]["generator"]  # type: ignore[assignment,call-overload,index]
    module, _, name = keys.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), name)(**keys)


def measure_forward(preset: str, folder: Path) -> str:
    """Mouths a second in the batches that the server draws, in two precisions on all cores."""
    import torch

    from anchor.serving.drawing import draw_mouths
    from anchor.serving.opened import load_face

    torch.set_num_threads(os.cpu_count() or 1)
    face, told = load_face(str(folder)), []
    for precision in ("bfloat16", "float32"):
        best = (0.0, 0)
        for size in (1, 4, 8, 16):
            mels = np.zeros((size, 80, 16), np.float32)
            seconds = []
            for _ in range(4):
                began = time.perf_counter()
                draw_mouths(face, [0] * size, mels, precision=precision)
                seconds.append(time.perf_counter() - began)
            best = max(best, (size / min(seconds), size))
        told.append(f"{best[0]:.0f} in {precision} (batch {best[1]})")
    return f"{preset}: mouths a second {', '.join(told)}"


class Metrics:
    """Counters of a server, and what became of them since :meth:`mark`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.mark()

    def read(self) -> dict[str, float]:
        """By name."""
        text = httpx.get(f"{self.url}/metrics", timeout=30).text
        return {name: float(value) for name, value in re.findall(r"^anchor_(\S+) (\S+)$", text, re.M)}

    def mark(self) -> None:
        """Count from here."""
        self.before = self.read()

    def shares(self) -> tuple[float, float]:
        """Of mouths, those that were late; of ticks, those whose picture was left out."""
        now = self.read()
        late, mouths, skipped, ticks = (
            now[name] - self.before[name]
            for name in ("mouths_late_total", "mouths_total", "pictures_skipped_total", "ticks_total")
        )
        return late / max(1, mouths), skipped / max(1, ticks)


@contextlib.contextmanager
def serving(folder: Path, work: Path, **keys: Any) -> Iterator[Command]:
    """`anchor serve` of one avatar."""
    command = Command(folder, work / "log", logs="json", max_sessions=64, lease_seconds=60, **keys)
    try:
        wait_for(lambda: Metrics(command.url).before["drawing_spare"] == 1, 120)  # it takes a core while it starts
        yield command
    finally:
        command.stop()


def room_of(command: Command) -> int:
    """What the server says of its room."""
    found = re.search(r'"speaking": \{"[^"]*": (\d+)', command.said)
    assert found, command.said
    return int(found[1])


class Crowd:
    """Sessions that speak: the first before the browser, the others before readers."""

    def __init__(self, command: Command, browser: Any, background: Background) -> None:
        self.command, self.background = command, background
        self.page = Page(browser, command.url)
        self.others: list[Watcher] = []
        self.tasks: list[Any] = []
        self.talk()

    def talk(self) -> None:
        """Who is silent speaks again."""
        for id in [self.page.id, *(one.id for one in self.others)]:
            address = f"{self.command.url}/api/sessions/{id}"
            if not httpx.get(address, timeout=30).json()["is_speaking"]:
                httpx.post(f"{address}/say", json={"text": TALK}, timeout=30)

    def grow(self) -> None:
        """One more."""
        one = Watcher(self.command.url)
        self.others.append(one)
        self.tasks.append(self.background.start(one.watch()))
        one.say()

    def measure(self, seconds: float) -> tuple[list[float], tuple[float, float]]:
        """Pictures a second of each, the browser's first; shares of late mouths and of pictures left out."""
        time.sleep(2.0)
        metrics = Metrics(self.command.url)
        self.page.forget()
        time.sleep(seconds)
        rates = [self.page.seen().rate, *(one.rate(seconds) for one in self.others)]
        return rates, metrics.shares()

    def leave(self) -> None:
        """End all of it."""
        for task in self.tasks:
            task.cancel()
        for one in self.others:
            one.close()
        self.page.close()


def describe(rates: list[float], shares: tuple[float, float]) -> str:
    """One rung."""
    return (
        f"browser {rates[0]:.1f}, least of all {min(rates):.1f} pictures a second; late {100 * shares[0]:.1f} %, "
        f"left out {100 * shares[1]:.1f} %"
    )


def climb(command: Command, browser: Any, background: Background, most: int, seconds: float) -> None:
    """The ladder."""
    crowd, kept = Crowd(command, browser, background), 0
    for count in range(1, most + 1):
        if count > 1:
            crowd.grow()
        rates, shares = crowd.measure(seconds)
        print(f"  {count} speaking: {describe(rates, shares)}", flush=True)
        if min(rates) < ENOUGH or max(shares) >= 0.01:
            break
        kept = count
    print(f"  largest number that keeps {ENOUGH} pictures a second with less than 1 % late: {kept}", flush=True)
    crowd.leave()


def full_house(command: Command, browser: Any, background: Background) -> tuple[int, Crowd]:
    """As many sessions as the server has room for, and how many that are; all speak."""
    room, crowd = room_of(command), Crowd(command, browser, background)
    for _ in range(room - 1):
        crowd.grow()
    return room, crowd


def fill(command: Command, browser: Any, background: Background, seconds: float) -> None:
    """As many as there is room for, and one more that is refused."""
    room, crowd = full_house(command, browser, background)
    extra = Watcher(command.url)
    answer = extra.say(SENTENCE)
    rates, shares = crowd.measure(seconds)
    print(f"  the server's own room: {room} speaking: {describe(rates, shares)}")
    print(f"  one more: {answer.status_code}, Retry-After {answer.headers.get('retry-after')}", flush=True)
    extra.close()
    crowd.leave()


def watch(command: Command, browser: Any, background: Background) -> None:
    """The stopwatch, by both ways."""
    for way in ("WebRTC", "WebSocket"):
        page = Page(browser, command.url, way)
        time.sleep(2.0)
        page.forget()
        time.sleep(6.0)
        seen = page.seen()
        delays = 1000 * seen.latencies
        print(f"  {way}: idle {seen.rate:.1f} pictures a second; tick to page {spread(delays)} ms")
        sounds, lips, silences = [], [], []
        for round in range(6):
            page.forget()
            asked = time.time()
            address = f"{command.url}/api/sessions/{page.id}"
            text = CHINESE if round % 2 else 3 * SENTENCE
            httpx.post(f"{address}/say", json={"text": text}, timeout=30)
            time.sleep(2.5)
            stopped = time.time()
            httpx.post(f"{address}/interrupt", timeout=30)
            time.sleep(1.5)
            seen = page.seen()
            if len(seen.loud_L) and seen.flashes(GREY):
                sounds.append(1000 * (seen.loud_L[0] - asked))
                lips.append(1000 * (seen.flashes(GREY)[0] - asked))
                silences.append(1000 * (seen.loud_L[-1] - stopped))
        print(f"  {way}: text to first sound {spread(sounds)} ms, to first lip {spread(lips)} ms")
        print(f"  {way}: interruption to silence {spread(silences)} ms")
        page.forget()
        task = background.start(beep(command.url, page.id, 16))
        task.result(60)  # type: ignore[attr-defined]
        time.sleep(1.0)
        skews = 1000 * page.seen().skews(GREY)
        print(f"  {way}: picture after sound {spread(skews)} ms over {len(skews)} beeps", flush=True)
        page.close()


def soak(command: Command, browser: Any, background: Background, seconds: float) -> None:
    """A long run of a full house."""
    room, crowd = full_house(command, browser, background)
    httpx.post(f"{command.url}/api/sessions/{crowd.page.id}/interrupt", timeout=30)
    metrics = Metrics(command.url)
    drawing = int(re.findall(r'"drawing_pid": (\d+)', command.said)[-1])
    crowd.page.forget()
    began = time.monotonic()
    background.start(beep(command.url, crowd.page.id, int(seconds / BEEP_EVERY_S) + 1))
    memory = []
    while time.monotonic() - began < seconds:
        minutes = (time.monotonic() - began) / 60
        memory.append((minutes, metrics.read()["memory_bytes"] / 2**20, resident_mb(drawing)))
        time.sleep(min(5.0, max(0.1, seconds - (time.monotonic() - began))))
        for one in crowd.others:
            if not httpx.get(f"{command.url}/api/sessions/{one.id}", timeout=30).json()["is_speaking"]:
                one.say()
    seen, shares = crowd.page.seen(), metrics.shares()
    skews = 1000 * seen.skews(GREY)
    third = max(1, len(skews) // 3)
    print(f"  {seconds:.0f} s of {room} sessions: {describe([seen.rate], shares)}")
    print(f"  skew {spread(skews)} ms; drift from the first third to the last "
          f"{np.median(skews[-third:]) - np.median(skews[:third]):+.0f} ms")  # fmt: skip
    minutes, server, drawer = np.array(memory[len(memory) // 3 :]).T  # the first third fills caches
    for name, values in (("server", server), ("drawing process", drawer)):
        slope = np.polyfit(minutes, values, 1)[0] if len(minutes) > 2 else float("nan")
        print(f"  memory of the {name}: {values[-1]:.0f} MB, {slope:+.1f} MB a minute", flush=True)
    crowd.leave()


def resident_mb(pid: int) -> float:
    """Of a process."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return 0.0


def spread(values: Any) -> str:
    """Median and 95th percentile."""
    found = np.asarray(values, float)
    if not len(found):
        return "nothing measured"
    return f"p50 {np.median(found):.0f}, p95 {np.percentile(found, 95):.0f}"


def main() -> None:
    """Print what was measured."""
    options = {**OPTIONS, **dict(word.split("=", 1) for word in sys.argv[1:])}
    if unknown := set(options) - set(OPTIONS):
        sys.exit(f"live.py: {', '.join(unknown)}= is unknown. Keys are {', '.join(OPTIONS)}.")
    parts, presets = options["parts"].split(","), options["presets"].split(",")
    size, most, seconds = int(options["size"]), int(options["most"]), float(options["seconds"])
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"{processor()}, {os.cpu_count()} cores, {platform.system()}; load before {load}; {size} px", flush=True)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for preset in presets:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                build_coded(work / preset, make_net(preset), size)
        if "forward" in parts:
            for preset in presets:
                print(measure_forward(preset, work / preset), flush=True)
        if not set(parts) - {"forward"}:
            return
        background = Background()
        with open_browser() as browser:
            for preset in presets:
                print(f"{preset}:", flush=True)
                keys = {"threads": options["threads"]}
                with serving(work / preset, work, max_speaking=options["speaking"], **keys) as command:
                    if "room" in parts:
                        fill(command, browser, background, seconds)
                    if "watch" in parts:
                        watch(command, browser, background)
                    if "soak" in parts:
                        soak(command, browser, background, float(options["soak_s"]))
                if "ladder" in parts:
                    with serving(work / preset, work, max_speaking=64, **keys) as command:
                        climb(command, browser, background, most, seconds)
    print(f"load after {', '.join(f'{one:.1f}' for one in os.getloadavg())}")


if __name__ == "__main__":
    main()
