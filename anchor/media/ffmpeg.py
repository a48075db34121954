"""Pictures decoded by an external ``ffmpeg``: the way to decoders that only a vendor's build of it has.

The command runs in a process of its own, without a shell, and sends every picture with its own timestamp through a
pipe, as raw RGB in the NUT container: nothing is dropped, doubled, turned or shifted on the way, and where decoding is
faster than its reader the pipe makes it wait. ``$ANCHOR_FFMPEG`` names the program, else it is the one on PATH.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import IO, Any

import av
import av.error
import numpy as np

from anchor.errors import ConfigError, MediaError
from anchor.media.container import open_media, reason_of

__all__ = ["check_ffmpeg_args", "find_ffmpeg", "read_with_ffmpeg"]

TIME_BASE = "1/1000000"  # of the timestamps in the pipe; by default ffmpeg rounds them to the nominal frame rate
PIPE_BYTES = 2**20  # read at once; a picture of 1080p has six times as many
END_S = 30.0  # that ffmpeg may take to end once it has sent the last picture
LINE_CHARS = 200
LINES_KEPT = 2  # of what it says: its last line often only says that something failed

# Options of the command itself, not of a decoder, that are not for an input here: they take no value, so that the
# word after them would be a file to write; they read or write other files; or they move pictures in time. The help of
# ffmpeg 5.1 was read for them; `-n` forbids to overwrite files besides.
REFUSED = frozenset(
    """
    L h help version buildconf formats muxers demuxers devices codecs decoders encoders bsfs protocols filters pix_fmts
    layouts sample_fmts dispositions colors sources sinks hwaccels y n i f v loglevel report hide_banner stats stdin
    benchmark benchmark_all progress timelimit dump hex copyts start_at_zero copytb xerror ignore_unknown copy_unknown
    recast_media debug_ts psnr qphist vstats vstats_file vstats_version sdp_file print_graphs print_graphs_file
    print_graphs_format filter filter_script filter_complex filter_complex_script lavfi vf af map map_channel
    map_metadata map_chapters pre vpre apre spre fpre pass passlogfile attach dump_attachment target fs t to ss sseof
    seek_timestamp accurate_seek itsoffset itsscale isync re readrate readrate_initial_burst stream_loop r s frames
    vframes dframes aframes vsync async fps_mode shortest bitexact vn an sn dn intra deinterlace fix_sub_duration
    fix_sub_duration_heartbeat find_stream_info autorotate autoscale auto_conversion_filters display_rotation
    display_hflip display_vflip discard reinit_filter copyinkf force_fps bsf vbsf
    """.split()  # noqa: SIM905
)


def check_ffmpeg_args(args: Sequence[object]) -> tuple[str, ...]:
    """``args`` as words for ffmpeg: pairs of an option of the decoder or of its device, and a value.

    They come from the user and act with the user's rights. What is refused would name a file to write, read another
    input, or move pictures in time.

    Raises:
        ConfigError: a word has no place there.
    """
    if isinstance(args, str):
        raise ConfigError(f'ffmpeg_args={args} is one word. Give a list: ffmpeg_args=["-c:v",h264_mludec].')
    words = tuple(str(word) for word in args)
    for place in range(0, len(words), 2):
        option = words[place]
        found = re.fullmatch(r"-([A-Za-z]\w*)(:[\w:]+)?", option)
        if found is None:
            raise ConfigError(
                f"ffmpeg_args: {option!r} stands where an option is expected. Give pairs of an option and its value, "
                'for example ["-c:v",h264_mludec]; input and output are set by anchor.'
            )
        if found[1] in REFUSED or found[1].removeprefix("no") in REFUSED:
            raise ConfigError(
                f"ffmpeg_args: {option} is not for a decoder: it would read or write another file, or move pictures in "
                "time. Leave it out."
            )
        value = words[place + 1] if place + 1 < len(words) else None
        if value is None or "\0" in value or re.match(r"-(?![\d.])", value):
            got = "nothing" if value is None else repr(value)
            raise ConfigError(f"ffmpeg_args: {option} needs a value and got {got}. Give pairs of option and value.")
    return words


def find_ffmpeg() -> str:
    """The path of the ``ffmpeg`` that is used: ``$ANCHOR_FFMPEG``, else the one on PATH.

    Raises:
        MediaError: there is none.
    """
    named = os.environ.get("ANCHOR_FFMPEG", "")
    found = shutil.which(os.path.expanduser(named) if named else "ffmpeg")
    if found is None:
        what = f"ANCHOR_FFMPEG={named} is no program" if named else "no ffmpeg is on PATH, and ANCHOR_FFMPEG is not set"
        raise MediaError(f"decoder=ffmpeg: {what}. Install ffmpeg, set ANCHOR_FFMPEG=PATH, or use decoder=auto.")
    return found


def read_with_ffmpeg(
    path: Path, threads: int = 0, args: Sequence[object] = ()
) -> Generator[tuple[float, np.ndarray], None, None]:
    """Every picture of the first video track: when it is shown, in s on the container's axis, and uint8 RGB (H, W, 3).

    Pictures are as they are stored: neither turned nor stretched. ``args`` are input options, see
    ``check_ffmpeg_args``. Closing the iterator ends the process.

    Raises:
        MediaError: ffmpeg is missing, or ended with an error; also in the middle.
        ConfigError: ``args`` have a word that is refused.
    """
    command = _command(path, threads, check_ffmpeg_args(args))
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment(),
        start_new_session=True,  # Ctrl-C is ours to handle
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    said: deque[str] = deque(maxlen=LINES_KEPT)
    listener = threading.Thread(target=_listen, args=(process.stderr, said), daemon=True)
    listener.start()
    problem: BaseException | None = None
    count = 0
    try:
        try:
            with _demux(process.stdout) as pipe:
                for frame in pipe.decode(video=0):
                    count += 1
                    yield float(frame.time), frame.to_ndarray(format="rgb24")
        except (av.error.FFmpegError, IndexError) as error:  # the stream breaks off, or never begins
            problem = error
        process.stdout.close()
        try:
            code = process.wait(END_S)
        except subprocess.TimeoutExpired:
            raise MediaError(f"{path}: ffmpeg did not end after its last picture. {_CURE}") from None
        listener.join(END_S)
        if code or problem is not None:
            raise MediaError(f"{path}: ffmpeg {_how_it_ended(code, problem)}: {_last_words(said)}. {_CURE}")
        if not count:
            raise MediaError(f"{path}: ffmpeg decoded no picture: {_last_words(said)}. {_CURE}")
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its group: the program may be a script that starts another
        process.wait()
        process.stdout.close()
        listener.join(END_S)
        process.stderr.close()


_CURE = "Check ffmpeg_args and the clip, or use decoder=auto."


def _demux(stream: IO[bytes]) -> Any:
    return av.open(stream, format="nut", buffer_size=PIPE_BYTES)


def _command(path: Path, threads: int, args: tuple[str, ...]) -> list[str]:
    program = find_ffmpeg()
    with open_media(path) as container:  # a file that changes its size in the middle keeps this one
        codec = container.streams.video[0].codec_context
        size = f"{codec.width}:{codec.height}"
    return [
        program, "-hide_banner", "-nostdin", "-n", "-loglevel", "error",
        "-threads", str(threads), *args, "-protocol_whitelist", "file,pipe",
        "-noautorotate", "-copyts", "-i", f"file:{Path(path).absolute()}",
        "-map", "0:v:0", "-an", "-sn", "-dn", *_every_picture(program), "-enc_time_base", TIME_BASE,
        # As PyAV enlarges colours: bilinear, and each field by itself where a picture is interlaced.
        "-vf", f"scale={size}:flags=bilinear:interl=-1,format=rgb24", "-c:v", "rawvideo",
        "-avoid_negative_ts", "disabled", "-f", "nut", "pipe:1",
    ]  # fmt: skip


@functools.lru_cache(maxsize=4)
def _every_picture(program: str) -> tuple[str, str]:
    """The option that neither drops nor doubles pictures; ffmpeg 5.1 gave it another name, vendors still ship 4.x."""
    try:
        done = subprocess.run(
            [program, "-version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=END_S,
            check=True,
            env=_environment(),
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise MediaError(
            f"decoder=ffmpeg: {program} cannot be run: {reason_of(error)}. Set ANCHOR_FFMPEG=PATH, or use decoder=auto."
        ) from error
    version = re.match(r"ffmpeg version n?(\d+)\.(\d+)", done.stdout)
    is_old = version is not None and (int(version[1]), int(version[2])) < (5, 1)
    return ("-vsync", "passthrough") if is_old else ("-fps_mode", "passthrough")


def _environment() -> dict[str, str]:
    """Ours, without what makes ffmpeg write a log file."""
    return {name: value for name, value in os.environ.items() if name != "FFREPORT"}


def _listen(stream: IO[bytes], said: deque[str]) -> None:
    """Keep the last lines of ``stream``: a full pipe would stop ffmpeg."""
    for line in stream:
        text = line.decode("utf-8", "replace").strip()
        if text and "Last message repeated" not in text:
            said.append(re.sub(r" @ 0x[0-9a-f]+", "", text)[:LINE_CHARS])


def _how_it_ended(code: int, problem: BaseException | None) -> str:
    if code < 0:
        return f"was ended by signal {-code}"
    return f"failed with status {code}" if code else f"sent a broken stream ({reason_of(problem or EOFError())})"


def _last_words(said: deque[str]) -> str:
    return "; ".join(line.rstrip(".") for line in said) or "it said nothing"
