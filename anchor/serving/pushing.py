"""A process that sends a session to an RTMP server: packets come in on the standard input, its state goes out by line.

The first line is JSON: ``{"url", "width", "height", "metadata"}``; the address stands in no list of processes. Then
packets as :func:`write_packet` writes them. A receiver that takes nothing for ``STUCK_S`` ends the process, wherever it
is: the alarm needs nobody's consent.
"""

from __future__ import annotations

import json
import signal
import struct
import sys
from typing import BinaryIO

from anchor.errors import MediaError
from anchor.serving.containers import Muxer
from anchor.serving.encoding import Packet

__all__ = ["CONNECT_S", "STUCK_S", "push", "write_packet"]

HEAD = struct.Struct("<?qi?I")  # is h264, pts, duration, is key, bytes
CONNECT_S, STUCK_S = 10, 10  # s
MOST_BYTES = 1 << 26


def write_packet(packet: Packet) -> bytes:
    """``packet`` as the process reads it."""
    is_picture = packet.kind == "h264"
    return HEAD.pack(is_picture, packet.pts, packet.duration, packet.is_key, len(packet.data)) + packet.data


def push(source: BinaryIO) -> None:
    """Connect, say so, and send until the input ends.

    Raises:
        MediaError: the server refuses, or goes away.
    """
    about = json.loads(source.readline())
    signal.alarm(CONNECT_S)
    muxer = Muxer(
        about["url"], "flv", about["width"], about["height"], {"flvflags": "no_duration_filesize"}, about["metadata"]
    )
    muxer.begin()
    signal.alarm(0)
    print("live", flush=True)
    while len(head := source.read(HEAD.size)) == HEAD.size:
        is_picture, pts, duration, is_key, size = HEAD.unpack(head)
        if size > MOST_BYTES or len(data := source.read(size)) < size:
            break
        signal.alarm(STUCK_S)
        muxer.add(Packet("h264" if is_picture else "aac", data, pts, duration, is_key))
        signal.alarm(0)
    signal.alarm(STUCK_S)
    muxer.close()


if __name__ == "__main__":
    try:
        push(sys.stdin.buffer)
    except MediaError as error:
        print(str(error).partition(" cannot be written: ")[2] or "it cannot be written to", flush=True)
        sys.exit(1)
