"""The SyncNet expert: does this mouth belong to this speech?

After SyncNet (Chung and Zisserman 2016) and the expert of Wav2Lip (Prajwal et al. 2020): one encoder of 2-D
convolutions for the mouths of a window stacked on the channels, one for the log-mel they are spoken over. Five frames
are the classic window; sixteen, group norm and an embedding of 2048 are LatentSync's (Li et al. 2024, arXiv
2412.09262).

Shape suffixes: B windows, T frames (5 or 16), C colour, h W lower half, M mel bins, S mel steps (16 or 52),
D embedding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anchor.errors import ConfigError
from anchor.models.blocks import ConvBlock, ResidualBlock
from anchor.models.describe import network
from anchor.timing import WINDOW_FRAMES, mel_steps

__all__ = ["MAX_WINDOW_FRAMES", "SpeechEncoder", "SyncNet"]

MIN_WINDOW_FRAMES = WINDOW_FRAMES  # fewer say no more than a mouth's shape
MAX_WINDOW_FRAMES = 25  # one second: longer windows are said to stall at the start (arXiv 2412.09262)
FIRST_BIAS = -10.0  # beside an inverse temperature of 10, as in SigLIP (Zhai et al. 2023, arXiv 2303.15343)


class SpeechEncoder(nn.Sequential):
    """Log-mel window (B, 1, 80, S) in [-4, 4] to a vector (B, D); the expert and the generator share its shape.

    ``window_frames`` says how long the window is: S is its :func:`anchor.timing.mel_steps`, 16 of five frames.
    """

    def __init__(
        self, width: int, embedding_size: int, window_frames: int = WINDOW_FRAMES, norm: str = "batch"
    ) -> None:
        c1, c2, c3 = 2 * width, 3 * width, 4 * width
        columns = -(-mel_steps(window_frames) // 4)
        super().__init__(
            ConvBlock(1, c1, (5, 3), (4, 1), (1, 1), norm),  # 20 x 16 of five frames
            ResidualBlock(c1, norm),
            ConvBlock(c1, c2, 3, 2, norm=norm),  # 10 x 8
            ResidualBlock(c2, norm),
            ConvBlock(c2, c3, 3, 2, norm=norm),  # 5 x 4
            nn.Flatten(),
            nn.Linear(c3 * 5 * columns, embedding_size),
        )

    def forward(self, mel_B1MS: Tensor) -> Tensor:
        """(B, D), not normalised."""
        return super().forward(mel_B1MS / 4)


class MouthEncoder(nn.Sequential):
    """Lower halves of a window (B, 3 T, h, W) at 48 x 96 to a vector (B, D)."""

    def __init__(
        self,
        width: int,
        embedding_size: int,
        image_size: int,
        window_frames: int = WINDOW_FRAMES,
        norm: str = "batch",
    ) -> None:
        c1, c2, c3 = 2 * width, 3 * width, 4 * width
        super().__init__(
            ConvBlock(3 * window_frames, c1, 6, 4, 1, norm),  # 12 x 24
            ResidualBlock(c1, norm),
            ConvBlock(c1, c2, 3, 2, norm=norm),  # 6 x 12
            ResidualBlock(c2, norm),
            ConvBlock(c2, c3, 3, 2, norm=norm),  # 3 x 6
            nn.Flatten(),
            nn.Linear(c3 * (image_size // 16) * (image_size // 32), embedding_size),
        )


@network("expert")
class SyncNet(nn.Module):
    """Two encoders whose embeddings agree where speech and mouth do.

    Args:
        image_size: side of the faces it looks at, in pixels, a multiple of 32; larger faces are averaged down to it.
        width: channels of the first layer are twice this.
        embedding_size: D.
        positive: end in a ReLU, so that cosines lie in [0, 1] as the classic loss expects.
        window_frames: T, what it sees at once: 5, 16, or any number from 5 to 25.
        norm: ``"batch"`` or ``"group"``; group norm costs more and keeps no statistics that could drift or leak.
        affine: learn a bias beside the temperature, so that ``scale * cosine + bias`` is the logit of "in sync".

    Raises:
        ConfigError: a window of no such length, an unknown norm, or a bias beside a cosine that is the probability.
    """

    def __init__(
        self,
        *,
        image_size: int = 96,
        width: int = 16,
        embedding_size: int = 128,
        positive: bool = False,
        window_frames: int = WINDOW_FRAMES,
        norm: str = "batch",
        affine: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(window_frames, bool) or window_frames not in range(MIN_WINDOW_FRAMES, MAX_WINDOW_FRAMES + 1):
            raise ConfigError(
                f"model.expert.window_frames={window_frames} is no window. Give 5, 16 or another number of frames from "
                f"{MIN_WINDOW_FRAMES} to {MAX_WINDOW_FRAMES}."
            )
        if positive and affine:
            raise ConfigError(
                "model.expert.positive=true reads the cosine as the probability, and affine=true learns what it means. "
                "Choose one."
            )
        self.image_size, self.width, self.embedding_size, self.positive = image_size, width, embedding_size, positive
        self.window_frames = window_frames
        self.mouth_encoder = MouthEncoder(width, embedding_size, image_size, window_frames, norm)
        self.speech_encoder = SpeechEncoder(width, embedding_size, window_frames, norm)
        self.log_scale = nn.Parameter(torch.tensor(2.3))  # ln 10: inverse temperature 10 at the start
        self.bias = nn.Parameter(torch.tensor(FIRST_BIAS)) if affine else None

    def embed_mouths(self, mouths_BTChW: Tensor) -> Tensor:
        """Unit vectors (B, D) for windows of T lower halves in [-1, 1], of any size twice as wide as high."""
        B, T, C, h, W = mouths_BTChW.shape
        mouths_BKhW = mouths_BTChW.reshape(B, T * C, h, W)
        if self.image_size != W:
            mouths_BKhW = F.interpolate(mouths_BKhW, (self.image_size // 2, self.image_size), mode="area")
        return self._finish(self.mouth_encoder(mouths_BKhW.contiguous(memory_format=torch.channels_last)))

    def embed_speech(self, mel_B1MS: Tensor) -> Tensor:
        """Unit vectors (B, D) for mel windows (B, 1, 80, S)."""
        return self._finish(self.speech_encoder(mel_B1MS))

    def forward(self, mouths_BTChW: Tensor, mel_B1MS: Tensor) -> tuple[Tensor, Tensor]:
        """The embeddings of mouths and speech."""
        return self.embed_mouths(mouths_BTChW), self.embed_speech(mel_B1MS)

    def _finish(self, embedding_BD: Tensor) -> Tensor:
        if self.positive:
            embedding_BD = F.relu(embedding_BD)
        return F.normalize(embedding_BD.float(), dim=1)
