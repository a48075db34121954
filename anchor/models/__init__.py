"""Networks: the SyncNet expert, the generator, the quality discriminator, and how they are stored."""

from anchor.models.checkpoint import EMA_STATE, WeightKind, check_mel, load_network, read_checkpoint
from anchor.models.classic import ClassicGenerator
from anchor.models.classic_syncnet import ClassicSyncNet
from anchor.models.describe import build_network, describe, is_same
from anchor.models.discriminator import ClassicDiscriminator, PatchDiscriminator
from anchor.models.freezing import digest, freeze, keep_norms, without_gradients
from anchor.models.generator import LipGenerator, stack_faces
from anchor.models.held_out import HELD_OUT, HeldOut, read_held_out
from anchor.models.syncnet import SpeechEncoder, SyncNet

__all__ = [
    "EMA_STATE",
    "HELD_OUT",
    "ClassicDiscriminator",
    "ClassicGenerator",
    "ClassicSyncNet",
    "HeldOut",
    "LipGenerator",
    "PatchDiscriminator",
    "SpeechEncoder",
    "SyncNet",
    "WeightKind",
    "build_network",
    "check_mel",
    "describe",
    "digest",
    "freeze",
    "is_same",
    "keep_norms",
    "load_network",
    "read_checkpoint",
    "read_held_out",
    "stack_faces",
    "without_gradients",
]
