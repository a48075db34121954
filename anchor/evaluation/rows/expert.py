"""What the expert is judged by."""

from anchor.evaluation.rows.row import Group, Row

__all__ = ["EXPERT"]


def _by_chance(name: str, label: str, meaning: str, chance: float | str) -> Row:
    return Row(f"expert/{name}", label, meaning, "high", control=chance, control_label="chance")


def _far_pairs(name: str, frames: str) -> Row:
    meaning = "the true speech beats speech of the same clip so far away"
    return _by_chance(f"pair_accuracy_{name}", f"pairs, {frames} away", meaning, 0.5)


EXPERT: Group = (
    "Held-out clips, nothing drawn. The expert hears and sees; chance stands beside each score.",
    [
        _by_chance(
            "pair_accuracy",
            "pair accuracy",
            "the true speech beats speech of the same clip shifted by 5 to 15 frames",
            0.5,
        ),
        _by_chance("foreign_accuracy", "foreign accuracy", "the true speech beats speech of another clip", 0.5),
        _by_chance(
            "offset_within_one",
            "offset found within 1 frame",
            "share of clips whose best shift out of -15..15 is -1, 0 or 1",
            3 / 31,
        ),
        _far_pairs("1", "1 frame"),
        _far_pairs("2", "2 frames"),
        _far_pairs("3", "3 frames"),
        _far_pairs("4", "4 frames"),
        _far_pairs("5_7", "5 to 7 frames"),
        _far_pairs("8_15", "8 to 15 frames"),
        _far_pairs("16_30", "16 to 30 frames"),
        _by_chance(
            "offset_within_one_2s",
            "offset within 1 frame, 2-second windows",
            "share of windows of 50 frames whose best shift out of -15..15 is -1, 0 or 1",
            3 / 31,
        ),
        Row(
            "expert/calibration_error",
            "calibration error",
            "its softmax over the true speech and that 5 to 15 frames away, read as a probability: how far off",
            "zero",
        ),
        _by_chance("offset_exact", "offset found exactly", "share of clips whose best shift is 0", 1 / 31),
        Row(
            "expert/loss",
            "loss",
            "cross-entropy of picking the true speech among that shifted by 5 to 15 frames",
            "low",
            control="expert/loss_chance",
            control_label="chance",
        ),
        Row(
            "expert/confidence",
            "confidence",
            "of the mean shift curve: its maximum minus its median. Our expert's own, never LSE-C",
            "high",
        ),
        Row("expert/cosine_true", "cosine of true pairs", "mouth and its own speech", ""),
        Row(
            "expert/peak_offset_frames",
            "peak of the shift curve",
            "over all clips; above 0 the sound of the material is late",
            "zero",
            "frames",
        ),
    ],
)
