"""The studio: an avatar or a video speaks a text or a recording, with subtitles and a label, into a file."""

from anchor.studio.dubbing import dub
from anchor.studio.speaking import speak

__all__ = ["dub", "speak"]
