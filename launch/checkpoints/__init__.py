"""Checkpoints that hold: written whole, sealed with a hash, chosen by it, and complete enough to go on exactly."""

from launch.checkpoints.choosing import Choice, choose_resume, find_resume, tidy
from launch.checkpoints.last import LastCheckpoint
from launch.checkpoints.state import RunState, find_state
from launch.checkpoints.writing import AtomicCheckpointIO

__all__ = [
    "AtomicCheckpointIO",
    "Choice",
    "LastCheckpoint",
    "RunState",
    "choose_resume",
    "find_resume",
    "find_state",
    "tidy",
]
