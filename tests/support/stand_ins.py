"""Stand-ins for what a test does not need as the real thing; importable, so that loader processes find them."""

import numpy as np

from anchor.batch import ClipEntry
from anchor.errors import DamagedError


class NumberedClips:
    """A clip source whose pictures and mels tell which clip and frame they are: a stand-in for shards."""

    def __init__(self, lengths=(30, 40, 20, 36), val=1, image_size=32):
        self.image_size = image_size
        self.clips = [
            ClipEntry(f"clip{i}", f"speaker{i}", "val" if i >= len(lengths) - val else "train", length, i)
            for i, length in enumerate(lengths)
        ]
        self.reads = 0

    def read_frames(self, clip, frames):
        self.reads += 1
        pictures = np.zeros((len(frames), self.image_size, self.image_size, 3), np.uint8)
        pictures[..., 0] = clip.location * 10
        pictures[..., 1] = np.array(list(frames))[:, None, None]
        return pictures

    def read_mel(self, clip):
        steps = np.arange(clip.num_frames * 16 // 5 + 1, dtype=np.float32)
        return np.repeat(steps[:, None] / 100 + clip.location / 2 - 2, 80, axis=1)

    def read_audio(self, clip):
        return np.zeros(clip.num_frames * 640, np.float32)

    def read_meta(self, clip):
        return {}


class DamagedClips(NumberedClips):
    """Some of whose frames and mels cannot be read as they were written."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.bad_frames, self.bad_mels = {("clip0", 10)}, set()

    def read_frames(self, clip, frames):
        for frame in frames:
            if (clip.key, frame) in self.bad_frames:
                raise self._error(clip, "frames.jpgs")
        return super().read_frames(clip, frames)

    def read_mel(self, clip):
        if clip.key in self.bad_mels:
            raise self._error(clip, "mel.npy")
        return super().read_mel(clip)

    def _error(self, clip, member):
        what = "its bytes do not match"
        return DamagedError(f"s.tar: {clip.key}", shard="s.tar", key=clip.key, member=member, what=what)
