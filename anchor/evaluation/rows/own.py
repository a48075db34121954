"""A face with its own speech: there is a true picture beside each drawn one."""

from typing import Literal

from anchor.evaluation.rows.row import COPY, Group, Row, fid_row, identity_row, lse_rows, referee_rows

__all__ = ["HELD_OUT_MINUTES", "OWN_SPEECH"]


def _psnr(area: str, label: str, meaning: str) -> Row:
    return Row(f"self/{area}_psnr", f"{label} PSNR", meaning, "high", "dB", None, f"copy/{area}_psnr", COPY)


def _like(name: str, label: str, meaning: str, better: Literal["high", "low"] = "high", best: float = 1.0) -> Row:
    return Row(f"self/{name}", label, meaning, better, "", best, f"copy/{name}", COPY)


def _ratio(name: str, label: str, meaning: str) -> Row:
    return Row(f"self/{name}", label, meaning, "one", real=1.0)


OWN_SPEECH: Group = (
    "The generator redraws each face with its own speech; counted where the reference is 5 frames away or more.",
    [
        _psnr("mouth", "mouth", "the box around the mouth"),
        _like("mouth_ssim", "mouth SSIM", "the box around the mouth"),
        _psnr("lower", "lower half", "all that is drawn"),
        _like("lower_ssim", "lower half SSIM", "all that is drawn"),
        _like("lower_l1", "lower half L1", "colours in [-1, 1]", "low", 0.0),
        _like("mouth_ms_ssim", "mouth MS-SSIM", "as many scales as the box has room for"),
        _psnr("face", "face", "half of it is not drawn"),
        _like("face_ssim", "face SSIM", "half of it is not drawn"),
        _like("face_ms_ssim", "face MS-SSIM", "half of it is not drawn"),
        _like("lpips", "LPIPS", "of the face, by the network given", "low", 0.0),
        fid_row("self"),
        identity_row("self"),
        Row(
            "self/landmark_distance",
            "landmark distance",
            "of the mouth's points, in distances of the eyes",
            "low",
            real=0.0,
        ),
        Row("self/landmark_velocity", "landmark velocity", "the same of their movement", "low", real=0.0),
        Row("self/landmark_opening_r", "opening r by landmarks", "drawn against real", "high", real=1.0),
        _ratio("landmark_jitter_ratio", "landmark jitter ratio", "of the mouth's points"),
        _ratio("jitter_ratio", "jitter ratio", "second difference in time over that of the real mouth"),
        _ratio("pause_jitter_ratio", "jitter ratio in pauses", "the same where nothing is said for 0.2 s around"),
        _ratio(
            "upper_jitter_ratio",
            "jitter ratio of the upper half",
            "it is not drawn: exactly 1, or something is wrong",
        ),
        Row(
            "self/held_share",
            "movement left when the speech is held",
            "what the face gives away without speech, and a head that moves; near 1 the frames were learnt by heart",
            "low",
        ),
        _ratio("sharpness_ratio", "sharpness ratio", "Laplacian variance over that of the real mouth"),
        _like("shape_r", "mouth shape r", "first component of the mouth's pixels, drawn against real"),
        Row(
            "self/opening_r",
            "opening r",
            "read opening against the truth of the speech",
            "high",
            real="real/opening_r",
        ),
        *referee_rows("self"),
        *lse_rows("self"),
    ],
)

HELD_OUT_MINUTES: Group = (
    "The clips of persons whom training saw in other minutes, with their own speech.",
    [
        Row("person/mouth_psnr", "mouth PSNR", "the box around the mouth", "high", "dB"),
        Row("person/mouth_ssim", "mouth SSIM", "the box around the mouth", "high", real=1.0),
        Row("person/jitter_ratio", "jitter ratio", "second difference over that of the real mouth", "one", real=1.0),
        Row("person/held_share", "movement left when the speech is held", "near 1: frames learnt by heart", "low"),
        Row("person/sharpness_ratio", "sharpness ratio", "Laplacian variance over the real one", "one", real=1.0),
    ],
)
