"""A session's film over a WebSocket, and what its pictures show: the witness of tests without a browser."""

import io
import time

import av
import numpy as np
import websockets

TEXT = 12 * "Good evening, and welcome. Here is the news of today. "
GREY = 50  # red of the mouth of a coded picture: about 4 at rest, about 128 where it is drawn


def address(command, id, route):
    return f"{command.url.replace('http', 'ws')}/api/sessions/{id}/{route}"


async def record(command, id, until, seconds=60.0):
    """The film of a session up to a moment that ``until`` knows."""
    pieces, deadline = [], time.monotonic() + seconds
    async with websockets.connect(address(command, id, "stream"), max_size=None) as film:
        while not until():
            assert time.monotonic() < deadline
            pieces.append(await film.recv())
    return b"".join(pieces)


def mouths(film):
    """Time stamps in ticks, and the red of the mouth in each picture."""
    with av.open(io.BytesIO(film)) as container:
        stream = container.streams.video[0]
        pairs = [
            (round(float(frame.pts * stream.time_base) * 25), frame.to_ndarray(format="rgb24")[150:158, 124:132, 0])
            for frame in container.decode(stream)
        ]
    return [tick for tick, _ in pairs], np.array([float(red.mean()) for _, red in pairs])
