"""The SyncNet expert: does this mouth belong to this speech?

After SyncNet (Chung and Zisserman 2016) and the expert of Wav2Lip (Prajwal et al. 2020): one encoder of 2-D
convolutions for five mouths stacked on the channels, one for the log-mel they are spoken over.

Shape suffixes: B windows, T frames (5), C colour, h W lower half, M mel bins, S mel steps, D embedding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anchor.models.blocks import ConvBlock, ResidualBlock
from anchor.models.describe import network
from anchor.timing import WINDOW_FRAMES

__all__ = ["SpeechEncoder", "SyncNet"]


class SpeechEncoder(nn.Sequential):
    """Log-mel window (B, 1, 80, 16) in [-4, 4] to a vector (B, D); the expert and the generator share its shape."""

    def __init__(self, width: int, embedding_size: int) -> None:
        c1, c2, c3 = 2 * width, 3 * width, 4 * width
        super().__init__(
            ConvBlock(1, c1, (5, 3), (4, 1), (1, 1)),  # 20 x 16
            ResidualBlock(c1),
            ConvBlock(c1, c2, 3, 2),  # 10 x 8
            ResidualBlock(c2),
            ConvBlock(c2, c3, 3, 2),  # 5 x 4
            nn.Flatten(),
            nn.Linear(c3 * 20, embedding_size),
        )

    def forward(self, mel_B1MS: Tensor) -> Tensor:
        """(B, D), not normalised."""
        return super().forward(mel_B1MS / 4)


class MouthEncoder(nn.Sequential):
    """Five lower halves (B, 15, h, W) at 48 x 96 to a vector (B, D)."""

    def __init__(self, width: int, embedding_size: int, image_size: int) -> None:
        c1, c2, c3 = 2 * width, 3 * width, 4 * width
        super().__init__(
            ConvBlock(3 * WINDOW_FRAMES, c1, 6, 4, 1),  # 12 x 24
            ResidualBlock(c1),
            ConvBlock(c1, c2, 3, 2),  # 6 x 12
            ResidualBlock(c2),
            ConvBlock(c2, c3, 3, 2),  # 3 x 6
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
    """

    def __init__(
        self, *, image_size: int = 96, width: int = 16, embedding_size: int = 128, positive: bool = False
    ) -> None:
        super().__init__()
        self.image_size, self.width, self.embedding_size, self.positive = image_size, width, embedding_size, positive
        self.mouth_encoder = MouthEncoder(width, embedding_size, image_size)
        self.speech_encoder = SpeechEncoder(width, embedding_size)
        self.log_scale = nn.Parameter(torch.tensor(2.3))  # inverse temperature 10 at the start

    def embed_mouths(self, mouths_BTChW: Tensor) -> Tensor:
        """Unit vectors (B, D) for windows of five lower halves in [-1, 1], of any size twice as wide as high."""
        B, T, C, h, W = mouths_BTChW.shape
        mouths_BKhW = mouths_BTChW.reshape(B, T * C, h, W)
        if self.image_size != W:
            mouths_BKhW = F.interpolate(mouths_BKhW, (self.image_size // 2, self.image_size), mode="area")
        return self._finish(self.mouth_encoder(mouths_BKhW.contiguous(memory_format=torch.channels_last)))

    def embed_speech(self, mel_B1MS: Tensor) -> Tensor:
        """Unit vectors (B, D) for mel windows (B, 1, 80, 16)."""
        return self._finish(self.speech_encoder(mel_B1MS))

    def forward(self, mouths_BTChW: Tensor, mel_B1MS: Tensor) -> tuple[Tensor, Tensor]:
        """The embeddings of mouths and speech."""
        return self.embed_mouths(mouths_BTChW), self.embed_speech(mel_B1MS)

    def _finish(self, embedding_BD: Tensor) -> Tensor:
        if self.positive:
            embedding_BD = F.relu(embedding_BD)
        return F.normalize(embedding_BD.float(), dim=1)
