"""`anchor serve`: the whole server in one command."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from pathlib import Path
from typing import Any, Literal

import cv2
import torch

from anchor.device import cpu_computes_bfloat16, resolve_device
from anchor.errors import ConfigError
from anchor.serving.access import Access, describe_readers
from anchor.serving.journal import Form, Journal
from anchor.speech.voices import open_voices

__all__ = ["serve"]

HERE = ("127.0.0.1", "localhost", "::1")


def serve(
    *,
    avatars: Path,
    host: str = "127.0.0.1",
    port: int = 8080,
    device: Literal["auto", "mlu", "cuda", "cpu"] = "auto",
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    threads: int = 1,
    max_sessions: int = 16,
    max_speaking: int = 0,
    tokens: Path | None = None,
    label: str = "AI generated",
    lease_seconds: float = 6.0,
    tts: tuple[str, ...] = ("espeak",),
    voice: tuple[str, ...] = (),
    rate: int = 165,
    llm_url: str = "",
    llm_model: str = "",
    llm_prompt: Path | None = None,
    asr: str = "",
    logs: Form = "text",
    recordings: Path | None = None,
    recording_minutes: float = 60.0,
    recordings_gigabytes: float = 20.0,
    push_hosts: tuple[str, ...] = (),
    livetalking: bool = False,
    livetalking_pages: Path | None = None,
    livetalking_hosts: tuple[str, ...] = (),
    certificate: Path | None = None,
    key: Path | None = None,
) -> None:
    """Put avatars on air: a page to watch and speak through, WebRTC, and routes for programs. Ctrl-C ends it.

    avatars: a folder of avatars, or one. device, precision: of the process that draws; auto takes bfloat16 where the
    processor computes in it, float16 on a card. threads: of that process.
    max_speaking: sessions that may speak at once, 0 for as many as the machine was measured to keep at 25 pictures a
    second; one more gets status 503. tokens: a JSON file of who may do what; without it only this machine may connect.
    port: 0 takes a free one. label: what stands in the corner of every picture, empty for none: see to it that the law
    is kept where you are.
    lease_seconds: after which a session that nobody watches is closed.
    tts: voices in order of preference, as in anchor speak: xtts:http://HOST:8000?speaker=NAME,espeak. voice, rate: of
    espeak. llm.url, llm.model: of a server with OpenAI's chat route, which answers what sessions are asked; its key is
    taken from the environment, ANCHOR_LLM_KEY. llm.prompt: a text file of what the model is told to be.
    asr: what hears a microphone, from a local model: whisper:DIR, or sherpa-sense-voice:DIR and others of sherpa-onnx.
    logs: one line an event, as text or json; neither tokens, nor session ids, nor what is said stands in them.
    recordings: a folder where sessions may be recorded to; recording_minutes: the most of one of them,
    recordings_gigabytes: the most of the folder. push_hosts: servers that sessions may be sent to by RTMP, by comma.
    livetalking: its routes as well (/offer, /human and so on), for clients of it; livetalking_pages: its folder web;
    livetalking_hosts: servers that those pages may ask from the browser, by comma, as 127.0.0.1:10095 of FunASR.
    certificate, key: PEM files for https, which browsers want for a microphone from another machine.
    """
    try:
        import uvicorn

        from anchor.serving.admission import Settings
        from anchor.serving.app import make_app
        from anchor.serving.conversation import open_minds
        from anchor.serving.doors import OnlyHere
        from anchor.serving.opened import load_face, open_avatar
        from anchor.serving.outputs import Outputs
        from anchor.serving.station import Station
    except ImportError as error:
        raise ConfigError(
            f"anchor serve needs {error.name}, which is not installed. Run `pip install 'virtual-anchor[live]'`."
        ) from error

    avatars = Path(avatars)
    if not avatars.is_dir():
        raise ConfigError(f"avatars={avatars} is no folder. Make an avatar: anchor avatar build video=... out=DIR/NAME")
    access = Access.read(Path(tokens)) if tokens else Access()
    readers = describe_readers(Path(tokens)) if tokens else None
    if access.is_open and host not in HERE:
        raise ConfigError(
            f"host={host} lets other machines in, and there are no tokens. Give tokens=FILE, or host=127.0.0.1."
        )
    if bool(certificate) != bool(key):
        raise ConfigError("https needs both certificate= and key=. Give both, or none.")
    for name, value, least in (
        ("threads", threads, 1),
        ("max_sessions", max_sessions, 1),
        ("max_speaking", max_speaking, 0),
        ("recording_minutes", recording_minutes, 0.1),
        ("recordings_gigabytes", recordings_gigabytes, 0.001),
    ):
        if value < least:
            raise ConfigError(f"{name}={value} is out of range. Choose {least} or more.")
    voices, minds = open_voices(tts, voice, rate), open_minds(llm_url, llm_model, llm_prompt, asr)
    where = resolve_device(device)
    torch.set_num_threads(1)  # of the server: sessions run side by side, and threads inside one would hold up another
    cv2.setNumThreads(1)
    settings = Settings(
        str(where), choose_precision(where, precision), threads, 0, max_sessions, max_speaking, label, lease_seconds
    )
    outputs = Outputs(
        Path(recordings) if recordings else None,
        recording_minutes,
        recordings_gigabytes,
        push_hosts,
        livetalking or livetalking_pages is not None,
        Path(livetalking_pages) if livetalking_pages else None,
        livetalking_hosts,
    )
    journal = Journal(logs)
    journal.take_over("uvicorn", "uvicorn.error", "asyncio", "aioice", "aiortc")
    station = Station(open_avatar, load_face, settings, voices.flow, journal)

    async def begin() -> None:
        if readers:
            journal.tell("tokens", {"reason": readers}, f"anchor serve: WARNING: {readers}")
        wrong = await station.start(avatars)
        for sentence in wrong:
            journal.tell("left_out", {"reason": sentence}, f"anchor serve: left out: {sentence}")
        address = f"{'https' if key else 'http'}://{host}:{bound.getsockname()[1]}/"
        rooms = {name: station.door.limit(name) for name in station.avatars}
        about = {
            "url": address, "device": str(where), "precision": settings.precision, "speaking": rooms,
            "sessions": max_sessions, "pid": os.getpid(), "drawing_pid": station.drawer.pid,
        }  # fmt: skip
        may_speak = ", ".join(f"{count} of {name}" for name, count in rooms.items())
        journal.tell(
            "on_air",
            about,
            f"{', '.join(rooms)} on air: {address}  drawn on {where} in {settings.precision}; at once may speak: "
            f"{may_speak}; up to {max_sessions} sessions may be open",
        )
        _reload_on_hangup(station)

    app = make_app(station, access, begin, minds, outputs)
    if access.is_open:  # a page elsewhere that gives its own name the address of this machine is not let in
        app.add_middleware(OnlyHere, names=HERE)
    with _free(host, port) as bound:
        config = uvicorn.Config(
            app, log_config=None, access_log=False, ws_max_size=1 << 17, ws_ping_interval=3, ws_ping_timeout=5,
            ws_per_message_deflate=False,  # films are compressed already
            timeout_graceful_shutdown=25, ssl_certfile=certificate, ssl_keyfile=key, server_header=False,
        )  # fmt: skip
        server = _leaving_server(config, station)
        server.run(sockets=[bound])
        if not server.started:
            raise ConfigError("The server did not start; the lines above say why.")


def _reload_on_hangup(station: Any) -> None:
    """SIGHUP looks into the folder of avatars again, as `POST /api/reload` does."""
    loop, tasks, has_terminal = asyncio.get_running_loop(), set(), os.isatty(0)

    def reload() -> None:
        if has_terminal and not os.isatty(0):  # it was closed, and nobody else will end us
            os.kill(os.getpid(), signal.SIGTERM)
            return
        task = loop.create_task(station.reload())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, reload)


def _leaving_server(config: Any, station: Any) -> Any:
    """A server that lets sessions finish what they say after the first signal, and ends at the second."""
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: Any) -> None:
            if station.is_leaving:
                super().handle_exit(sig, frame)
                return
            self._captured_signals.append(sig)  # raised again when all is done: the command ends with its status
            station.is_leaving = True
            loop = asyncio.get_running_loop()
            self._leaving = loop.create_task(self._leave())

        async def _leave(self) -> None:
            if station.door.num_speaking:
                sentence = "anchor serve: sessions finish their sentence; once more to end at once"
                station.journal.tell("finishing", {"speaking": station.door.num_speaking}, sentence)
            await station.leave()
            self.should_exit = True

    return Server(config)


def choose_precision(device: torch.device, asked: str) -> str:
    """A floating type of torch by name: what was asked for, or the quickest that ``device`` is made for."""
    if asked != "auto":
        return asked
    if device.type != "cpu":
        return "float16"
    return "bfloat16" if cpu_computes_bfloat16() else "float32"


@contextlib.contextmanager
def _free(host: str, port: int):  # type: ignore[no-untyped-def]
    """A socket that listens, before anything else is started.

    Raises:
        ConfigError: the port is taken or not ours to take.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        raise ConfigError(f"port={port} on {host} cannot be listened on ({error}). Give another port=.") from None
    with bound:
        yield bound
