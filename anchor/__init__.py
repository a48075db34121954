"""Virtual anchors: networks, losses, media, and everything that needs no trainer.

This package knows no Lightning, Hydra or wandb; `launch`, `lightning_modules` and `datamodules` stand above it.
"""

__version__ = "0.1.0"
