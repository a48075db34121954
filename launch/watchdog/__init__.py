"""A rank that hangs ends the job, and every rank's stacks are left in its log."""

from launch.watchdog.heart import HEART, HEART_FILE, Limits, show_stacks_at
from launch.watchdog.watch import Hang, Watch

__all__ = ["HEART", "HEART_FILE", "Hang", "Limits", "Watch", "show_stacks_at"]
