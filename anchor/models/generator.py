"""The generator: one face, one speech, the mouth that belongs to both.

Identity Encoder, Speech Encoder and Face Decoder of plain 2-D convolutions, after Wav2Lip (Prajwal et al. 2020). Only
the lower half is drawn. The last layer gives a colour and a gate per pixel: where the gate is shut the reference
shows through, so skin and beard stay sharp and the network spends itself on the mouth.

Shape suffixes: N pictures, C colour, H W pixels, h = H // 2, M mel bins, S mel steps, D speech embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anchor.models.blocks import ConvBlock, ModulatedUpBlock, ResidualBlock
from anchor.models.describe import network
from anchor.models.syncnet import SpeechEncoder
from anchor.ops.images import lower_half

__all__ = ["LipGenerator", "stack_faces"]


def stack_faces(target_NCHW: Tensor, reference_NCHW: Tensor) -> Tensor:
    """The channels the Identity Encoder sees: the target with its lower half blanked (grey), and the references.

    All in [-1, 1]; ``reference_NCHW`` holds one reference or several, one behind the other: (N, 3 R, H, W). The target
    tells pose and light, a reference how this person looks around the mouth.
    """
    blanked_NCHW = target_NCHW.clone()
    lower_half(blanked_NCHW).zero_()
    return torch.cat([blanked_NCHW, reference_NCHW], 1).contiguous(memory_format=torch.channels_last)


class IdentityEncoder(nn.ModuleList):
    """A face stack (N, 3 + 3 R, H, W) to one feature map per stage, the finest first."""

    def __init__(self, widths: Sequence[int], strides: Sequence[int], num_references: int = 1) -> None:
        channels = [3 + 3 * num_references, *widths]
        stages = []
        for i, (stride, width) in enumerate(zip(strides, widths, strict=True)):
            kernel, padding = (5, 2) if i == 0 else (3, 1 if stride < 3 else 0)
            block = ConvBlock(channels[i], width, kernel, stride, padding)
            plain = i in (0, len(widths) - 1)  # the finest is too dear, the coarsest has little left to refine
            stages.append(block if plain else nn.Sequential(block, ResidualBlock(width)))
        super().__init__(stages)

    def forward(self, face_N6HW: Tensor) -> list[Tensor]:
        """Feature maps from the finest to the coarsest."""
        features = []
        for stage in self:
            face_N6HW = stage(face_N6HW)
            features.append(face_N6HW)
        return features


class FaceDecoder(nn.Module):
    """Feature maps and a speech vector to colour and gate of the lower half (N, 4, h, W), before the sigmoid.

    Coarse maps are decoded whole, for the mouth's place depends on all of the face; from ``cut`` on only the lower
    half is carried.
    """

    def __init__(self, widths: Sequence[int], strides: Sequence[int], sizes: Sequence[int], speech_size: int) -> None:
        super().__init__()
        # The coarsest skip that is even and at least 12 rows high is where the upper half is dropped.
        self.cut = max(i for i, size in enumerate(sizes[:-1]) if size % 2 == 0 and size >= 12)
        self.first = ModulatedUpBlock(widths[-1], widths[-1], speech_size, scale=1)
        ups = []
        for i in range(len(widths) - 2, -1, -1):
            in_channels = widths[-1] if i == len(widths) - 2 else 2 * widths[i + 1]
            ups.append(ModulatedUpBlock(in_channels, widths[i], speech_size, scale=strides[i + 1]))
        self.ups = nn.ModuleList(ups)
        self.last = nn.Conv2d(2 * widths[0], 4 * strides[0] ** 2, 3, 1, 1)
        self.shuffle = nn.PixelShuffle(strides[0])
        nn.init.constant_(self.last.bias[3 * strides[0] ** 2 :], -1.0)  # type: ignore[index,arg-type]  # start from the reference

    def forward(self, features: list[Tensor], speech_ND: Tensor) -> Tensor:
        """(N, 4, h, W): three colours and the gate, as logits."""
        x = self.first(features[-1], speech_ND)
        for level, up in zip(range(len(features) - 2, -1, -1), self.ups, strict=True):
            x = up(x, speech_ND)
            skip = features[level]
            if level <= self.cut:
                skip = lower_half(skip)
            if level == self.cut:
                x = lower_half(x)
            x = torch.cat([x, skip], 1)
        return self.shuffle(self.last(x))


@network("generator")
class LipGenerator(nn.Module):
    """Draw the lower half of a face so that it speaks.

    Args:
        image_size: side of the face crops in pixels; the product of ``strides`` divides it.
        widths: channels of each stage, from fine to coarse.
        strides: how much each stage shrinks the picture; the first one also sets how much the last layer enlarges.
        speech_width: width of the Speech Encoder; equal to the expert's, it can start from the expert's weights.
        embedding_size: D, size of the speech vector.
        num_references: R, pictures of the person that it is shown with each target; the first shows through the gate.
    """

    def __init__(
        self,
        *,
        image_size: int = 96,
        widths: Sequence[int] = (16, 32, 48, 64, 96),
        strides: Sequence[int] = (2, 2, 2, 2, 2),
        speech_width: int = 16,
        embedding_size: int = 128,
        num_references: int = 1,
    ) -> None:
        super().__init__()
        self.image_size, self.num_references = image_size, num_references
        sizes = []
        for stride in strides:
            image_size = (image_size - 1) // stride + 1
            sizes.append(image_size)
        self.identity_encoder = IdentityEncoder(widths, strides, num_references)
        self.speech_encoder = SpeechEncoder(speech_width, embedding_size)
        self.face_decoder = FaceDecoder(widths, strides, sizes, embedding_size)

    def features(self, face_N6HW: Tensor) -> list[Tensor]:
        """The Identity Encoder's maps of face stacks, the finest first."""
        return self.identity_encoder(face_N6HW)  # type: ignore[no-any-return]

    def forward(
        self, face_N6HW: Tensor, mel_N1MS: Tensor, with_features: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Lower halves (N, 3, h, W) in [-1, 1] for face stacks of :func:`stack_faces` and mel windows.

        ``with_features`` gives the Identity Encoder's maps beside them.
        """
        speech_ND = F.relu(self.speech_encoder(mel_N1MS))
        features = self.features(face_N6HW)
        logits_N4hW = self.face_decoder(features, speech_ND).float()
        colour_N3hW = torch.sigmoid(logits_N4hW[:, :3]) * 2 - 1
        gate_N1hW = torch.sigmoid(logits_N4hW[:, 3:])
        reference_N3hW = lower_half(face_N6HW[:, 3:6]).float()
        half_N3hW = reference_N3hW + gate_N1hW * (colour_N3hW - reference_N3hW)
        return (half_N3hW, features) if with_features else half_N3hW
