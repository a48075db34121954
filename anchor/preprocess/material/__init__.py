"""Look at raw material before it is preprocessed: `anchor material check SRC`."""

from anchor.preprocess.material.clip import measure_clip
from anchor.preprocess.material.measures import Faces, Measures, Sound
from anchor.preprocess.material.run import Summary, check
from anchor.preprocess.material.verdict import Limits, Note, Verdict, judge

__all__ = ["Faces", "Limits", "Measures", "Note", "Sound", "Summary", "Verdict", "check", "judge", "measure_clip"]
