"""Videos whose frames say their number, and ways to damage and delay them."""

import av
import numpy as np
import pytest

BITS = 8


def draw_number(number: int, height: int = 96, width: int = 128) -> np.ndarray:
    """A picture with ``number`` in eight black or white columns: it survives H.264."""
    picture = np.zeros((height, width, 3), np.uint8)
    for bit in range(BITS):
        if number >> bit & 1:
            picture[:, bit * width // BITS : (bit + 1) * width // BITS] = 255
    return picture


def read_number(picture: np.ndarray) -> int:
    width = picture.shape[1]
    middles = [(2 * bit + 1) * width // (2 * BITS) for bit in range(BITS)]
    return sum(1 << bit for bit, x in enumerate(middles) if picture[picture.shape[0] // 2, x].mean() > 127)


def delay_picture(source, target, seconds: float) -> None:
    """Copy a video with its picture moved ``seconds`` later against its sound."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.dts is None or (packet.stream.type == "audio" and packet.pts < 0):  # Matroska keeps the priming
                continue
            if packet.stream.type == "video":
                shift = round(seconds / packet.time_base)
                packet.pts += shift
                packet.dts += shift
            packet.stream = streams[packet.stream.index]
            new.mux(packet)


@pytest.fixture
def numbers():
    return draw_number, read_number


@pytest.fixture
def delay():
    return delay_picture


@pytest.fixture
def noise():
    """Two seconds of noise at 16 kHz."""
    return (0.1 * np.random.default_rng(0).standard_normal(32_000)).astype(np.float32)
