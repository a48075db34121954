"""How every clip is processed: the arguments of the command, checked and in frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from anchor.errors import ConfigError
from anchor.faces import DetectorName
from anchor.preprocess.cleaning.limits import Limits
from anchor.timing import FPS, WINDOW_FRAMES

__all__ = [
    "AlignName", "ClipSettings", "CodecName", "DecoderName", "DeviceName", "FacesName", "NoMatchName", "OffsetName",
    "SwitchName", "check_settings",
]  # fmt: skip

FacesName = Literal["largest", "all", "speaking"]
SwitchName = Literal["on", "off"]
AlignName = Literal["off", "affine"]
OffsetName = Literal["correct", "measure", "off"]
NoMatchName = Literal["refuse", "keep"]
DecoderName = Literal["auto", "decord", "pyav", "ffmpeg"]
DeviceName = Literal["auto", "mlu", "cuda", "cpu"]
CodecName = Literal["jpeg", "h264"]
CHOICES = {"faces": FacesName, "shots": SwitchName, "align": AlignName, "offset": OffsetName,
           "on_no_match": NoMatchName, "decoder": DecoderName, "faces_device": DeviceName,
           "codec": CodecName}  # fmt: skip
KEYS = {"decoder": "media.decoder", "faces_device": "faces.device"}  # as the user writes them


@dataclass(frozen=True)
class ClipSettings:
    """How every clip is processed."""

    image_size: int  # px, side of a crop
    detector: DetectorName
    detect_every: int  # frames
    max_frames: int  # of a segment
    min_frames: int
    faces: FacesName = "largest"
    min_segments: int = 1
    shots: SwitchName = "on"  # whether shot changes are looked for
    align: AlignName = "off"
    limits: Limits = field(default_factory=Limits)
    offset: OffsetName = "correct"
    on_no_match: NoMatchName = "refuse"
    decoder: DecoderName = "auto"
    ffmpeg_args: tuple[str, ...] = ()
    faces_device: DeviceName = "cpu"
    codec: CodecName = "jpeg"
    hold_out_frames: int = 0  # of the end of each clip, for validation

    def __post_init__(self) -> None:
        if not 32 <= self.image_size <= 1024:
            raise ConfigError(
                f"image_size={self.image_size} is no size of a crop. Give 32 to 1024, for example 96 or 192."
            )
        if self.detect_every < 1:
            raise ConfigError(f"detect_every={self.detect_every} is no number of frames. Give 1 or more.")
        for name, kind in CHOICES.items():
            if getattr(self, name) not in get_args(kind):
                choices = ", ".join(get_args(kind))
                raise ConfigError(
                    f"{KEYS.get(name, name)}={getattr(self, name)} is not a choice. Choose one of {choices}."
                )
        if self.align == "affine" and self.detector == "haar":
            raise ConfigError(
                "align=affine needs eyes and mouth, and detector=haar finds boxes alone. Take detector=yunet "
                "(`anchor models fetch name=yunet`, 0.3 MB) or detector=insightface, or align=off."
            )


def check_settings(
    image_size: int, detector: DetectorName, detect_every: int, segment_s: float, min_s: float,
    hold_out_s: float = 0.0, **more: object,
) -> ClipSettings:  # fmt: skip
    """The settings of these arguments; ``more`` are the other fields of :class:`ClipSettings`.

    Raises:
        ConfigError: one of them is out of its range.
    """
    min_frames, max_frames = round(min_s * FPS), round(segment_s * FPS)
    if min_frames < WINDOW_FRAMES:
        raise ConfigError(f"min_s={min_s} is {min_frames} frames, a window needs {WINDOW_FRAMES}. Give 0.2 or more.")
    if max_frames < 2 * min_frames:
        raise ConfigError(f"segment_s={segment_s} is less than twice min_s={min_s}. Raise it, or lower min_s.")
    hold_out_frames = round(hold_out_s * FPS)
    if hold_out_s and hold_out_frames < min_frames:
        raise ConfigError(
            f"hold_out_s={hold_out_s} holds no segment out: one has at least min_s={min_s}. Give more, or 0 for none."
        )
    more["hold_out_frames"] = hold_out_frames
    return ClipSettings(image_size, detector, detect_every, max_frames, min_frames, **more)  # type: ignore[arg-type]
