"""How late the sound of a clip is against the lips it shows, measured from the clip itself."""

from anchor.preprocess.sync.mouth import MouthLog
from anchor.preprocess.sync.offset import Limits, Offset, measure_offset

__all__ = ["Limits", "MouthLog", "Offset", "measure_offset"]
