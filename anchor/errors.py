"""Errors a user can mend. The command line prints them as one sentence and exits with status 2."""


class AnchorError(ValueError):
    """What is wrong, where, what arrived, and what to do: the message is written for the user."""


class ConfigError(AnchorError):
    """An argument, a configuration key or a combination of them."""


class MediaError(AnchorError):
    """A video, a picture or a sound that cannot be used."""


class FaceError(MediaError):
    """No usable face, or a face model that is missing or damaged."""


class ShardError(AnchorError):
    """A shard set that is incomplete, damaged or of another format."""


class CheckpointError(AnchorError):
    """A checkpoint that is missing, damaged, or of another stage or network."""


class DeviceError(AnchorError):
    """A card that is absent or cannot do what was asked."""
