"""The generator in the classic size: 36 M parameters at 96 px, laid out as Wav2Lip's (Prajwal et al. 2020).

It speaks our interface outside and the classic convention inside: colours in [0, 1], the target's lower half black,
the whole face drawn. Its colours are RGB in our order; weights for BGR fit with their colour channels turned round.

Shape suffixes: N pictures, C channels, H W pixels, h = H // 2, M mel bins, S mel steps, D speech embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from anchor.errors import ConfigError
from anchor.models.classic_blocks import CLASSIC_WIDTH, Row, stack_rows
from anchor.models.describe import network
from anchor.ops.images import lower_half

__all__ = ["ClassicGenerator"]

# One line, one feature map: the side of the picture after it.
IDENTITY = (
    (Row(16, 7, 1, 3),),  # 96
    (Row(32, stride=2, residuals=2),),  # 48
    (Row(64, stride=2, residuals=3),),  # 24
    (Row(128, stride=2, residuals=2),),  # 12
    (Row(256, stride=2, residuals=2),),  # 6
    (Row(512, stride=2, residuals=1),),  # 3
    (Row(512, padding=0), Row(512, 1, padding=0)),  # 1
)
SPEECH = (
    Row(32, residuals=2),  # 80 x 16
    Row(64, stride=(3, 1), residuals=2),  # 27 x 16
    Row(128, stride=3, residuals=2),  # 9 x 6
    Row(256, stride=(3, 2), residuals=1),  # 3 x 3
    Row(512, padding=0),  # 1 x 1
    Row(512, 1, padding=0),
)
DECODER = (
    Row(512, 1, padding=0),  # 1
    Row(512, padding=0, residuals=1, grows=True),  # 3
    Row(512, stride=2, residuals=2, grows=True),  # 6
    Row(384, stride=2, residuals=2, grows=True),  # 12
    Row(256, stride=2, residuals=2, grows=True),  # 24
    Row(128, stride=2, residuals=2, grows=True),  # 48
    Row(64, stride=2, residuals=2, grows=True),  # 96
)
OUTPUT = (Row(32),)
IMAGE_SIZE = 96  # px; the tables leave exactly one pixel of it


class ClassicIdentityEncoder(nn.ModuleList):
    """A face stack (N, 6, 96, 96) in [0, 1] to one feature map per line of the table, the finest first."""

    def __init__(self, width: int) -> None:
        channels = [6, *(_scaled(line[-1].width, width) for line in IDENTITY)]
        super().__init__(stack_rows(channels[i], line, width) for i, line in enumerate(IDENTITY))

    def forward(self, face_N6HW: Tensor) -> list[Tensor]:
        """Feature maps from the finest to the coarsest."""
        features = []
        for stage in self:
            face_N6HW = stage(face_N6HW)
            features.append(face_N6HW)
        return features


class ClassicFaceDecoder(nn.Module):
    """Feature maps and a speech map (N, D, 1, 1) to colours (N, 3, H, W), before the sigmoid.

    A U-Net: after each row of the table the feature map of the same size is put beside it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        skips = [_scaled(line[-1].width, width) for line in reversed(IDENTITY)]
        stages, in_channels = [], _scaled(SPEECH[-1].width, width)
        for row, skip in zip(DECODER, skips, strict=True):
            stages.append(stack_rows(in_channels, (row,), width))
            in_channels = _scaled(row.width, width) + skip
        self.stages = nn.ModuleList(stages)
        self.output = nn.Sequential(
            *stack_rows(in_channels, OUTPUT, width), nn.Conv2d(_scaled(OUTPUT[-1].width, width), 3, 1)
        )

    def forward(self, features: Sequence[Tensor], speech_ND11: Tensor) -> Tensor:
        """(N, 3, H, W): colours of the whole face as logits."""
        x = speech_ND11
        for stage, skip in zip(self.stages, reversed(features), strict=True):
            x = torch.cat([stage(x), skip], 1)
        return self.output(x)


@network("generator")
class ClassicGenerator(nn.Module):
    """Draw the lower half of a face so that it speaks, in the size that published weights and speeds have.

    Args:
        image_size: side of the face crops in pixels; the layout knows 96 only.
        width: channels of the first layer, a multiple of 4; every other width is in proportion. 16 is the classic.

    Raises:
        ConfigError: another image size, or a width that leaves no whole channels.
    """

    keep_1611: Tensor

    def __init__(self, *, image_size: int = IMAGE_SIZE, width: int = CLASSIC_WIDTH) -> None:
        super().__init__()
        check_layout("ClassicGenerator", image_size, width)
        self.image_size = image_size
        self.identity_encoder = ClassicIdentityEncoder(width)
        self.speech_encoder = stack_rows(1, SPEECH, width)
        self.face_decoder = ClassicFaceDecoder(width)
        keep_1611 = torch.ones(1, 6, image_size, 1)
        lower_half(keep_1611[:, :3]).zero_()
        self.register_buffer("keep_1611", keep_1611, persistent=False)  # no weight: checkpoints go without it

    def features(self, face_N6HW: Tensor) -> list[Tensor]:
        """The Identity Encoder's maps of face stacks, the finest first; it sees what the classic convention shows."""
        return self.identity_encoder((face_N6HW + 1) * 0.5 * self.keep_1611)  # type: ignore[no-any-return]

    def forward(
        self, face_N6HW: Tensor, mel_N1MS: Tensor, with_features: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Lower halves (N, 3, h, W) in [-1, 1] for face stacks of :func:`stack_faces` and mel windows.

        ``with_features`` gives the Identity Encoder's maps beside them.
        """
        features = self.features(face_N6HW)
        logits_N3HW = self.face_decoder(features, self.speech_encoder(mel_N1MS))
        half_N3hW = torch.sigmoid(lower_half(logits_N3HW).float()) * 2 - 1
        return (half_N3hW, features) if with_features else half_N3hW


def check_layout(name: str, image_size: int, width: int) -> None:
    """See that the classic tables fit.

    Raises:
        ConfigError: they do not.
    """
    if image_size != IMAGE_SIZE:
        raise ConfigError(
            f"{name} is laid out for {IMAGE_SIZE} px, and got image_size={image_size}. Use model=unet168, say."
        )
    if width < 4 or width % 4:
        raise ConfigError(f"{name}: width={width} is no multiple of 4. The classic is {CLASSIC_WIDTH}.")


def _scaled(channels: int, width: int) -> int:
    return channels * width // CLASSIC_WIDTH
