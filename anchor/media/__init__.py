"""Media files: read pictures and sound on one time axis, write them back in sync."""

from anchor.media.audio import read_audio, read_image
from anchor.media.reader import FrameReader, VideoInfo, probe, read_video_25fps
from anchor.media.writer import write_video

__all__ = ["FrameReader", "VideoInfo", "probe", "read_audio", "read_image", "read_video_25fps", "write_video"]
