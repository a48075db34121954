"""How fast it draws."""

from anchor.evaluation.rows.row import Group, Row

__all__ = ["SPEED"]

SPEED: Group = (
    "Drawing alone, bytes in to bytes out; decoding, pasting and encoding come on top.",
    [
        Row("speed/frames_per_second", "frames per second", "in batches; live video needs 25", "high"),
        Row("speed/one_frame_ms", "one frame alone", "median", "low", "ms"),
    ],
)
