"""A process that turns a fragmented recording into a plain MP4: `python -m anchor.serving.finishing FROM TO`.

The tags of the film come as JSON on the standard input. Nothing is encoded again.
"""

from __future__ import annotations

import json
import sys

import av

__all__ = ["finish"]


def finish(partial: str, path: str, metadata: dict[str, str]) -> None:
    """Copy every packet of ``partial`` into ``path``, with its index first, so that it plays while it is loaded."""
    with av.open(partial) as source, av.open(path, "w", format="mp4", options={"movflags": "+faststart"}) as target:
        target.metadata.update({**source.metadata, **metadata})
        streams = {stream: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream]
                target.mux(packet)


if __name__ == "__main__":
    finish(sys.argv[1], sys.argv[2], json.loads(sys.stdin.read() or "{}"))
