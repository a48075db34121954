"""Errors a user can mend. The command line prints them as one sentence and exits with status 2."""


class AnchorError(ValueError):
    """What is wrong, where, what arrived, and what to do: the message is written for the user.

    ``status`` is what the command ends with.
    """

    status = 2


class ConfigError(AnchorError):
    """An argument, a configuration key or a combination of them."""


class MediaError(AnchorError):
    """A video, a picture or a sound that cannot be used."""


class FaceError(MediaError):
    """No usable face, or a face model that is missing or damaged."""


class ShardError(AnchorError):
    """A shard set that is incomplete, damaged or of another format."""


class DamagedError(ShardError):
    """A member of a shard whose bytes are not those that were written, or cannot be read.

    ``key`` and ``member`` say which, ``shard`` in which file (its path or URL), ``what`` is the finding alone.
    """

    def __init__(self, message: str, *, shard: str, key: str, member: str, what: str) -> None:
        super().__init__(message)
        self.shard, self.key, self.member, self.what = shard, key, member, what

    def __reduce__(self) -> tuple[object, ...]:  # exceptions with keyword arguments do not pickle by themselves
        return _damaged, (str(self), self.shard, self.key, self.member, self.what)


def _damaged(message: str, shard: str, key: str, member: str, what: str) -> DamagedError:
    return DamagedError(message, shard=shard, key=key, member=member, what=what)


class AvatarError(AnchorError):
    """An avatar's folder that is incomplete, damaged, unsafe or of another format."""


class CheckpointError(AnchorError):
    """A checkpoint that is missing, damaged, or of another stage or network."""


class DeviceError(AnchorError):
    """A card that is absent or cannot do what was asked."""


class ServiceError(AnchorError):
    """A voice, a recogniser or a language model that cannot be reached, is too slow, or answers what it must not."""


class TrainingError(AnchorError):
    """A training that cannot go on with what it computes."""


class GateError(AnchorError):
    """What was given has not learnt what the next step asks for; ``gates=off`` goes on all the same."""

    status = 3
