"""What the scores are called, what they mean, and what to read them against: the list, and nothing else."""

from anchor.evaluation.rows.dubbed import ANOTHERS_SPEECH
from anchor.evaluation.rows.expert import EXPERT
from anchor.evaluation.rows.own import HELD_OUT_MINUTES, OWN_SPEECH
from anchor.evaluation.rows.row import Group, Row
from anchor.evaluation.rows.silence import SILENCE
from anchor.evaluation.rows.speed import SPEED

__all__ = ["GROUPS", "Group", "Row"]

GROUPS: dict[str, Group] = {
    "Expert": EXPERT,
    "Own speech": OWN_SPEECH,
    "Another's speech": ANOTHERS_SPEECH,
    "Silence": SILENCE,
    "Held-out minutes": HELD_OUT_MINUTES,
    "Speed": SPEED,
}
