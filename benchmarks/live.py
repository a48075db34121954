"""How many people one machine keeps on air, and how quick they are: `anchor serve` with a browser before it.

    python benchmarks/live.py [parts=forward,room,ladder,watch,soak] [presets=live96,tiny,wav2lip96] [size=512]
                              [most=8] [seconds=10] [soak_s=60] [threads=1] [speaking=0]

forward: mouths a second of each preset, all cores, no server. room: how many the server itself says may speak, and that
one more is refused while those keep their rate. ladder: sessions that all speak, one more at a time, one of them in
Chromium, until one has less than 24.5 pictures a second, or 1 % of mouths are late. watch: the stopwatch, in Chromium:
text to sound, text to lip, interruption to silence, delay, skew. soak: as many sessions as there is room for, for
soak_s: skew at the beginning and the end, memory. speaking= sets how many that are, as max_speaking= of the server.
Skew is that at the ear: what the browser says of its loudspeaker's buffer counts.

Each rung of the ladder says what was late (the drawing process, the event loop, painting), and a table of all presets
comes at the end, also when it is broken off or a preset cannot be held. 600 s of soak and all presets take 40 minutes.

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
from collections.abc import Callable, Iterator
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
from live_clients import BEEP_EVERY_S, SENTENCE, Background, beep  # noqa: E402
from live_crowd import Crowd, climb, fill, room_of, summary  # noqa: E402
from live_metrics import Metrics  # noqa: E402

OPTIONS = {
    "parts": "forward,room,ladder,watch,soak", "presets": "live96,tiny,wav2lip96", "size": "512", "most": "8",
    "seconds": "10", "soak_s": "60", "threads": "1", "speaking": "0",
}  # fmt: skip
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


@contextlib.contextmanager
def serving(folder: Path, work: Path, **keys: Any) -> Iterator[Command]:
    """`anchor serve` of one avatar."""
    command = Command(folder, work / "log", logs="json", max_sessions=64, lease_seconds=60, **keys)
    try:
        wait_for(lambda: Metrics(command.url).before["drawing_spare"] == 1, 120)  # it takes a core while it starts
        yield command
    finally:
        command.stop()


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


def soak(command: Command, browser: Any, background: Background, seconds: float) -> dict[str, str]:
    """A long run of a full house."""
    drawing = int(re.findall(r'"drawing_pid": (\d+)', command.said)[-1])
    with Crowd(command, browser, background) as crowd:
        room = crowd.grow(room_of(command))
        httpx.post(f"{command.url}/api/sessions/{crowd.page.id}/interrupt", timeout=30)
        metrics, memory = Metrics(command.url), []
        crowd.page.forget()
        began = time.monotonic()
        background.start(beep(command.url, crowd.page.id, int(seconds / BEEP_EVERY_S) + 1))
        while (gone := time.monotonic() - began) < seconds:
            memory.append((gone / 60, metrics.read()["memory_bytes"] / 2**20, resident_mb(drawing)))
            time.sleep(min(5.0, max(0.1, seconds - gone)))
            for one in crowd.others:
                if not httpx.get(f"{command.url}/api/sessions/{one.id}", timeout=30).json()["is_speaking"]:
                    one.say()
        seen, gone = crowd.page.seen(), time.monotonic() - began
        rates = [len(seen.shown_N3) / gone, *(one.rate(gone) for one in crowd.others)]
        rung, refused = metrics.rung(rates), metrics.read()["refused_total"] - metrics.before["refused_total"]
    skews = 1000 * seen.skews(GREY)
    third = max(1, len(skews) // 3)
    drift = f"{np.median(skews[-third:]) - np.median(skews[:third]):+.0f} ms" if len(skews) else "-"
    print(f"  {gone:.0f} s of {room} sessions: {rung}; refused {refused:.0f}")
    tenths = " ".join(f"{np.median(part):+.0f}" for part in np.array_split(skews, 10) if len(part))
    print(f"  skew {spread(skews)} ms; drift from the first third to the last {drift}; tenth by tenth {tenths}")
    minutes, *each = np.array(memory[len(memory) // 3 :]).T  # the first third fills caches
    slopes = []
    for name, values in zip(("server", "drawing process"), each, strict=True):
        slopes.append(f"{np.polyfit(minutes, values, 1)[0]:+.1f}" if len(minutes) > 2 else "-")
        print(f"  memory of the {name}: {values[-1]:.0f} MB, {slopes[-1]} MB a minute", flush=True)
    return {
        f"soak, {gone:.0f} s": f"{room}: {summary(rung)}",
        "skew, drift (ms)": f"{spread(skews)}; {drift.removesuffix(' ms')}",
        "memory, server and drawing (MB a minute)": ", ".join(slopes),
    }


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


def attempt(name: str, measure: Callable[[], dict[str, str] | None], row: dict[str, str]) -> None:
    """One part; where it fails the others are measured all the same, and the table says why."""
    try:
        row.update(measure() or {})
    except Exception as error:  # of the browser, of the server: whatever it is, it is told
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        print(f"  not measured: {reason}", flush=True)
        row[name] = f"not measured: {reason}"


def table(machine: str, rows: dict[str, dict[str, str]]) -> str:
    """Markdown: what was measured, a line for each figure and a column for each preset."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = [f"\n{machine}\n", f"| | {' | '.join(rows)} |", f"| --- |{' --- |' * len(rows)}"]
    return "\n".join(
        lines + [f"| {name} | {' | '.join(row.get(name, '-') for row in rows.values())} |" for name in names]
    )


def main() -> None:
    """Print what was measured."""
    options = {**OPTIONS, **dict(word.split("=", 1) for word in sys.argv[1:])}
    if unknown := set(options) - set(OPTIONS):
        sys.exit(f"live.py: {', '.join(unknown)}= is unknown. Keys are {', '.join(OPTIONS)}.")
    parts, presets = options["parts"].split(","), options["presets"].split(",")
    size = int(options["size"])
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    machine = f"{processor()}, {os.cpu_count()} cores, {platform.system()}; load before {load}; {size} px"
    print(machine, flush=True)
    rows: dict[str, dict[str, str]] = {preset: {} for preset in presets}
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
        try:
            with open_browser() as browser:
                for preset in presets:
                    print(f"{preset}:", flush=True)
                    measure_preset(preset, work, browser, background, options, rows[preset])
        finally:
            print(f"load after {', '.join(f'{one:.1f}' for one in os.getloadavg())}")
            print(table(machine, rows), flush=True)


def measure_preset(
    preset: str, work: Path, browser: Any, background: Background, options: dict[str, str], row: dict[str, str]
) -> None:
    """Everything that was asked for with one network on air; what was measured goes into ``row``."""
    parts, seconds, most = options["parts"].split(","), float(options["seconds"]), int(options["most"])

    def on_air(max_speaking: str, *names: str) -> None:
        wanted = [name for name in names if name in parts]
        if not wanted:
            return
        with serving(work / preset, work, max_speaking=max_speaking, threads=options["threads"]) as command:
            there = (command, browser, background)
            measures: dict[str, Callable[[], dict[str, str] | None]] = {
                "room": lambda: fill(*there, seconds), "watch": lambda: watch(*there),
                "soak": lambda: soak(*there, float(options["soak_s"])), "ladder": lambda: climb(*there, most, seconds),
            }  # fmt: skip
            for name in wanted:
                print(f" {name}, load {os.getloadavg()[0]:.1f}:", flush=True)
                attempt(name, measures[name], row)

    for max_speaking, names in ((options["speaking"], ("room", "watch", "soak")), ("64", ("ladder",))):
        attempt(", ".join(names), lambda max_speaking=max_speaking, names=names: on_air(max_speaking, *names), row)  # type: ignore[misc]


if __name__ == "__main__":
    main()
