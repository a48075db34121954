"""What runs beside training: the run's own record, its progress on the terminal."""

from lightning_modules.callbacks.place import batches_seen, has_pending_gradients
from lightning_modules.callbacks.progress import ProgressLines
from lightning_modules.callbacks.record import MetricsRecord

__all__ = ["MetricsRecord", "ProgressLines", "batches_seen", "has_pending_gradients"]
