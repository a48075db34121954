"""A trained generator at work: a face and a speech become a video."""

from anchor.inference.draw import draw_frames
from anchor.inference.dub import Dubber, infer, load_generator
from anchor.inference.order import ReferenceKind, back_and_forth, choose_references
from anchor.inference.progress import show_progress
from anchor.ops.references import mouth_vector, pose_vector

__all__ = [
    "Dubber",
    "ReferenceKind",
    "back_and_forth",
    "choose_references",
    "draw_frames",
    "infer",
    "load_generator",
    "mouth_vector",
    "pose_vector",
    "show_progress",
]
