"""The expert in the classic size: 16 M parameters, five frames, laid out as Wav2Lip's (Prajwal et al. 2020).

Shape suffixes: B windows, T frames (5), C colour, h W lower half, M mel bins, S mel steps, D embedding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anchor.models.classic import check_layout
from anchor.models.classic_blocks import CLASSIC_WIDTH, Row, stack_rows
from anchor.models.describe import network
from anchor.timing import WINDOW_FRAMES

__all__ = ["ClassicSyncNet"]

MOUTH = (
    Row(32, 7, 1, 3),  # 48 x 96
    Row(64, 5, (1, 2), 1, residuals=2),  # 46 x 47
    Row(128, stride=2, residuals=3),  # 23 x 24
    Row(256, stride=2, residuals=2),  # 12 x 12
    Row(512, stride=2, residuals=2),  # 6 x 6
    Row(512, stride=2),  # 3 x 3
    Row(512, padding=0),  # 1 x 1
    Row(512, 1, padding=0),
)
SPEECH = (
    Row(32, residuals=2),  # 80 x 16
    Row(64, stride=(3, 1), residuals=2),  # 27 x 16
    Row(128, stride=3, residuals=2),  # 9 x 6
    Row(256, stride=(3, 2), residuals=2),  # 3 x 3
    Row(512, padding=0),  # 1 x 1
    Row(512, 1, padding=0),
)


@network("expert")
class ClassicSyncNet(nn.Module):
    """Two encoders whose embeddings agree where speech and mouth do, in the size that published weights have.

    Both end in a ReLU, so cosines lie in [0, 1] and can be read as probabilities: ``positive`` says so, as
    :class:`anchor.models.SyncNet`'s does. Colours go in as [0, 1].

    Args:
        image_size: side of the faces it looks at; the layout knows 96 only, larger faces are averaged down to it.
        width: half the channels of the first layer, a multiple of 4; 16 is the classic.

    Raises:
        ConfigError: another image size, or a width that leaves no whole channels.
    """

    def __init__(self, *, image_size: int = 96, width: int = CLASSIC_WIDTH) -> None:
        super().__init__()
        check_layout("ClassicSyncNet", image_size, width)
        self.image_size, self.positive, self.window_frames = image_size, True, WINDOW_FRAMES
        self.mouth_encoder = stack_rows(3 * WINDOW_FRAMES, MOUTH, width)
        self.speech_encoder = stack_rows(1, SPEECH, width)
        self.log_scale = nn.Parameter(torch.tensor(2.3))  # inverse temperature 10 at the start, for info_nce
        self.bias = None  # the layout knows none

    def embed_mouths(self, mouths_BTChW: Tensor) -> Tensor:
        """Unit vectors (B, D) for windows of five lower halves in [-1, 1], of any size twice as wide as high."""
        mouths_BKhW = mouths_BTChW.flatten(1, 2)
        if self.image_size != mouths_BKhW.shape[-1]:
            mouths_BKhW = F.interpolate(mouths_BKhW, (self.image_size // 2, self.image_size), mode="area")
        mouths_BKhW = ((mouths_BKhW + 1) * 0.5).contiguous(memory_format=torch.channels_last)
        return _unit(self.mouth_encoder(mouths_BKhW))

    def embed_speech(self, mel_B1MS: Tensor) -> Tensor:
        """Unit vectors (B, D) for mel windows (B, 1, 80, 16)."""
        return _unit(self.speech_encoder(mel_B1MS))

    def forward(self, mouths_BTChW: Tensor, mel_B1MS: Tensor) -> tuple[Tensor, Tensor]:
        """The embeddings of mouths and speech."""
        return self.embed_mouths(mouths_BTChW), self.embed_speech(mel_B1MS)


def _unit(embedding_BD11: Tensor) -> Tensor:
    return F.normalize(embedding_BD11.flatten(1).float(), dim=1)
