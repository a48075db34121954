"""A trained generator at work: a face and a speech become a video."""

from anchor.inference.draw import draw_frames
from anchor.inference.dub import Dubber, infer, load_generator
from anchor.inference.order import ReferenceKind, back_and_forth, choose_references
from anchor.inference.pose import pose_vector
from anchor.inference.progress import show_progress

__all__ = [
    "Dubber",
    "ReferenceKind",
    "back_and_forth",
    "choose_references",
    "draw_frames",
    "infer",
    "load_generator",
    "pose_vector",
    "show_progress",
]
