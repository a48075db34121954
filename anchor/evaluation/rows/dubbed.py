"""A face with the speech of another clip: there is no true picture."""

from anchor.evaluation.rows.row import OWN, Group, Row, fid_row, identity_row, lse_rows, referee_rows

__all__ = ["ANOTHERS_SPEECH"]

ANOTHERS_SPEECH: Group = (
    "Each face is dubbed with the speech of another held-out clip: what `anchor infer` does.",
    [
        Row(
            "dub/opening_r",
            "opening r",
            "how far the drawn mouth opens against the truth of the speech, mean over clips",
            "high",
            real="real/opening_r",
            control="dub/opening_r_control",
            control_label=OWN,
        ),
        Row(
            "dub/opening_r_p10",
            "opening r, 10th percentile",
            "one clip in ten is worse",
            "high",
            real="real/opening_r_p10",
        ),
        Row(
            "dub/motion_r",
            "motion against loudness, r",
            "a proxy that needs no truth: mouth-box motion and loudness at the pace of syllables. "
            "It is coarse: read it only against the real video's",
            "",
            real="real/motion_r",
            control="dub/motion_r_control",
            control_label=OWN,
        ),
        Row(
            "dub/offset_within_one",
            "expert finds offset 0 within 1 frame",
            "circular if this expert taught the generator: a check, no measure of quality",
            "high",
            real="real/offset_within_one",
            control=3 / 31,
            control_label="chance",
        ),
        Row(
            "dub/confidence",
            "expert's confidence",
            "of a clip's shift curve: its maximum minus its median; circular in the same way, and never LSE-C",
            "",
            real="real/confidence",
        ),
        Row(
            "dub/cosine",
            "expert's cosine",
            "circular if this expert taught the generator; above the real one it is being flattered",
            "",
            real="real/cosine",
        ),
        *referee_rows("dub"),
        *lse_rows("dub"),
        identity_row("dub"),
        fid_row("dub"),
    ],
)
