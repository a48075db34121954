"""Media files: read pictures and sound on one time axis, write them back in sync."""

from anchor.media.audio import read_audio
from anchor.media.container import VideoInfo, probe
from anchor.media.ffmpeg import check_ffmpeg_args, find_ffmpeg
from anchor.media.pictures import check_picture, decode_picture, read_image
from anchor.media.reader import DecoderName, FrameReader, read_video_25fps
from anchor.media.writer import write_video

__all__ = [
    "DecoderName",
    "FrameReader",
    "VideoInfo",
    "check_ffmpeg_args",
    "check_picture",
    "decode_picture",
    "find_ffmpeg",
    "probe",
    "read_audio",
    "read_image",
    "read_video_25fps",
    "write_video",
]
