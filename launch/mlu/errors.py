"""The one error of this package."""

__all__ = ["MLUError"]


class MLUError(ValueError):
    """A card that is absent, cannot do what was asked, or was not what a run would have computed on."""
