"""A face with nothing to say."""

from anchor.evaluation.rows.row import Group, Row

__all__ = ["SILENCE"]

SILENCE: Group = (
    "The first 4 s of each face with nothing to say: the mouth should close and stay so. Pauses are those of real "
    "speech, 0.2 s away from any sound.",
    [
        Row(
            "silence/leak",
            "silence leak",
            "share of frames with the mouth open, though all that is heard is silence",
            "low",
            real="real/pause_leak",
            control="real/open_share",
            control_label="the real mouth, speaking",
        ),
        Row(
            "silence/pixel_leak",
            "silence leak by pixels",
            "share of frames that move more than the real clip does in half of its frames",
            "low",
            real="real/pause_pixel_leak",
        ),
        Row("pause/leak", "leak in pauses", "the same in the pauses of its own speech", "low", real="real/pause_leak"),
        Row(
            "pause/leak_closed",
            "leak in pauses, silence=close",
            "the same where the network hears nothing at all in them",
            "low",
            real="real/pause_leak",
        ),
        Row(
            "pause/pixel_leak_closed",
            "leak by pixels, silence=close",
            "the same where the network hears nothing at all in them",
            "low",
            real="real/pause_pixel_leak",
        ),
        Row(
            "pause/pixel_leak",
            "leak in pauses by pixels",
            "the same in the pauses of its own speech",
            "low",
            real="real/pause_pixel_leak",
        ),
        Row(
            "silence/motion_share",
            "motion in silence",
            "over the motion of the same frames drawn with their speech; the head moves on in both",
            "low",
        ),
        Row(
            "silence/jitter_ratio",
            "jitter ratio in silence",
            "second difference over that of the real mouth in its pauses",
            "one",
            real=1.0,
        ),
    ],
)
