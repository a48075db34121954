"""The shape of the original SyncNet, so that its public weights can be loaded by path and LSE-D and LSE-C computed.

Chung and Zisserman, "Out of time: automated lip sync in the wild", 2016; layer sizes and names are those of the
published model ``syncnet_v2.model``, whose licence is its authors' affair: the user brings the file. Shape suffixes: N
windows, C colour (BGR), T 5 frames, H W 224 pixels, M 13 cepstra, S 20 steps of 10 ms, D 1024.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from anchor.errors import CheckpointError
from anchor.models.tensors import load_tensors

__all__ = ["OriginalSyncNet", "load_original_syncnet"]

FRAMES, SIDE, STEPS = 5, 224, 20
EMBEDDING = 1024


class OriginalSyncNet(nn.Module):
    """Mouths and speech to vectors of 1024 numbers; their distance says how well they belong together."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_conv2d(1, 64, 3, 1),
            nn.MaxPool2d(1, 1),
            *_conv2d(64, 192, 3, 1),
            nn.MaxPool2d(3, (1, 2)),
            *_conv2d(192, 384, 3, 1),
            *_conv2d(384, 256, 3, 1),
            *_conv2d(256, 256, 3, 1),
            nn.MaxPool2d(3, 2),
            *_conv2d(256, 512, (5, 4), 0),
        )
        self.netfcaud = _head()
        self.netfclip = _head()
        self.netcnnlip = nn.Sequential(
            *_conv3d(3, 96, (5, 7, 7), (1, 2, 2), 0),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_conv3d(96, 256, (1, 5, 5), (1, 2, 2), (0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_conv3d(256, 256, (1, 3, 3), 1, (0, 1, 1)),
            *_conv3d(256, 256, (1, 3, 3), 1, (0, 1, 1)),
            *_conv3d(256, 256, (1, 3, 3), 1, (0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_conv3d(256, 512, (1, 6, 6), 1, 0),
        )

    def embed_speech(self, cepstra_N1MS: Tensor) -> Tensor:
        """(N, 1024) of (N, 1, 13, 20)."""
        return self.netfcaud(self.netcnnaud(cepstra_N1MS).flatten(1))

    def embed_mouths(self, faces_NCTHW: Tensor) -> Tensor:
        """(N, 1024) of (N, 3, 5, 224, 224): BGR in [0, 255], as the original reads pictures."""
        return self.netfclip(self.netcnnlip(faces_NCTHW).flatten(1))


def load_original_syncnet(path: Path) -> OriginalSyncNet:
    """The network with the weights at ``path``, in eval mode; read with ``weights_only=True``.

    Raises:
        CheckpointError: the file is missing, is no state dict, or has other layers.
    """
    if not Path(path).is_file():
        raise CheckpointError(
            f"syncnet_weights={path}: no such file. It is the original authors' syncnet_v2.model, which Anchor neither "
            "ships nor fetches; leave the key out, and LSE-D and LSE-C are left out."
        )
    try:
        state = load_tensors(path)
    except CheckpointError:
        raise CheckpointError(f"syncnet_weights={path}: not a file of plain weights that torch can read.") from None
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    net = OriginalSyncNet()
    wanted = net.state_dict()
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    wrong = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    if missing or wrong:
        what = f"lacks {missing[0]}" if missing else f"has another shape at {wrong[0]}"
        raise CheckpointError(
            f"syncnet_weights={path}: not the weights of the original SyncNet: it {what} "
            f"({len(missing)} missing, {len(wrong)} of another shape). Give the authors' syncnet_v2.model."
        )
    net.load_state_dict({key: state[key] for key in wanted if key in state}, strict=False)
    return net.eval()


def _conv2d(a: int, b: int, kernel: int | tuple[int, int], padding: int) -> Sequence[nn.Module]:
    return nn.Conv2d(a, b, kernel, padding=padding), nn.BatchNorm2d(b), nn.ReLU(inplace=True)


def _conv3d(
    a: int,
    b: int,
    kernel: tuple[int, int, int],
    stride: int | tuple[int, int, int],
    padding: int | tuple[int, int, int],
) -> Sequence[nn.Module]:
    return nn.Conv3d(a, b, kernel, stride, padding), nn.BatchNorm3d(b), nn.ReLU(inplace=True)


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, EMBEDDING))
