"""What the scores are called, what they mean, and what to read them against: the list, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["GROUPS", "Row"]

Better = Literal["high", "low", "one", "zero", ""]


@dataclass(frozen=True)
class Row:
    """One line of a table: our score, and beside it the same measure on real pictures, and a control."""

    name: str
    label: str
    meaning: str
    better: Better
    unit: str = ""
    real: str | float | None = None  # a score's name, or a number known without measuring
    control: str | float | None = None
    control_label: str = ""


_COPY = "the reference copied, nothing drawn"
_OWN = "against what the face really said"

GROUPS: dict[str, tuple[str, list[Row]]] = {
    "Expert": (
        "Held-out clips, nothing drawn. The expert hears and sees; chance stands beside each score.",
        [
            Row(
                "expert/pair_accuracy",
                "pair accuracy",
                "the true speech beats speech of the same clip shifted by 5 to 15 frames",
                "high",
                control=0.5,
                control_label="chance",
            ),
            Row(
                "expert/foreign_accuracy",
                "foreign accuracy",
                "the true speech beats speech of another clip",
                "high",
                control=0.5,
                control_label="chance",
            ),
            Row(
                "expert/offset_within_one",
                "offset found within 1 frame",
                "share of clips whose best shift out of -15..15 is -1, 0 or 1",
                "high",
                control=3 / 31,
                control_label="chance",
            ),
            Row(
                "expert/pair_accuracy_1",
                "pairs, 1 frame away",
                "the true speech beats speech of the same clip so far away",
                "high",
                control=0.5,
                control_label="chance",
            ),
            Row(
                "expert/pair_accuracy_2",
                "pairs, 2 frames away",
                "the true speech beats speech of the same clip so far away",
                "high",
                control=0.5,
                control_label="chance",
            ),
            Row(
                "expert/pair_accuracy_3",
                "pairs, 3 frames away",
                "the true speech beats speech of the same clip so far away",
                "high",
                control=0.5,
                control_label="chance",
            ),
            Row(
                "expert/pair_accuracy_4",
                "pairs, 4 frames away",
                "the true speech beats speech of the same clip so far away",
                "high",
                control=0.5,
                control_label="chance",
            ),
            Row(
                "expert/pair_accuracy_5_7",
                "pairs, 5 to 7 frames away",
                "the true speech beats speech of the same clip so far away",
                "high",
                control=0.5,
                control_label="chance",
            ),
            Row(
                "expert/pair_accuracy_8_15",
                "pairs, 8 to 15 frames away",
                "the true speech beats speech of the same clip so far away",
                "high",
                control=0.5,
                control_label="chance",
            ),
            Row(
                "expert/pair_accuracy_16_30",
                "pairs, 16 to 30 frames away",
                "the true speech beats speech of the same clip so far away",
                "high",
                control=0.5,
                control_label="chance",
            ),
            Row(
                "expert/offset_within_one_2s",
                "offset within 1 frame, 2-second windows",
                "share of windows of 50 frames whose best shift out of -15..15 is -1, 0 or 1",
                "high",
                control=3 / 31,
                control_label="chance",
            ),
            Row(
                "expert/calibration_error",
                "calibration error",
                "its softmax over the true speech and that 5 to 15 frames away, read as a probability: how far off",
                "zero",
            ),
            Row(
                "expert/offset_exact",
                "offset found exactly",
                "share of clips whose best shift is 0",
                "high",
                control=1 / 31,
                control_label="chance",
            ),
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
    ),
    "Own speech": (
        "The generator redraws each face with its own speech; counted where the reference is 5 frames away or more.",
        [
            Row(
                "self/mouth_psnr",
                "mouth PSNR",
                "the box around the mouth",
                "high",
                "dB",
                None,
                "copy/mouth_psnr",
                _COPY,
            ),
            Row("self/mouth_ssim", "mouth SSIM", "the box around the mouth", "high", "", 1.0, "copy/mouth_ssim", _COPY),
            Row(
                "self/lower_psnr", "lower half PSNR", "all that is drawn", "high", "dB", None, "copy/lower_psnr", _COPY
            ),
            Row("self/lower_ssim", "lower half SSIM", "all that is drawn", "high", "", 1.0, "copy/lower_ssim", _COPY),
            Row("self/lower_l1", "lower half L1", "colours in [-1, 1]", "low", "", 0.0, "copy/lower_l1", _COPY),
            Row(
                "self/mouth_ms_ssim",
                "mouth MS-SSIM",
                "as many scales as the box has room for",
                "high",
                "",
                1.0,
                "copy/mouth_ms_ssim",
                _COPY,
            ),
            Row("self/face_psnr", "face PSNR", "half of it is not drawn", "high", "dB", None, "copy/face_psnr", _COPY),
            Row("self/face_ssim", "face SSIM", "half of it is not drawn", "high", "", 1.0, "copy/face_ssim", _COPY),
            Row(
                "self/face_ms_ssim",
                "face MS-SSIM",
                "half of it is not drawn",
                "high",
                "",
                1.0,
                "copy/face_ms_ssim",
                _COPY,
            ),
            Row("self/lpips", "LPIPS", "of the face, by the network given", "low", "", 0.0, "copy/lpips", _COPY),
            Row("self/fid", "FID", "of the face, by the network given; few pictures raise it", "low", "", 0.0),
            Row("self/identity", "identity", "cosine of face embeddings", "high", "", "real/identity"),
            Row(
                "self/landmark_distance",
                "landmark distance",
                "of the mouth's points, in distances of the eyes",
                "low",
                "",
                0.0,
            ),
            Row("self/landmark_velocity", "landmark velocity", "the same of their movement", "low", "", 0.0),
            Row("self/landmark_opening_r", "opening r by landmarks", "drawn against real", "high", "", 1.0),
            Row("self/landmark_jitter_ratio", "landmark jitter ratio", "of the mouth's points", "one", "", 1.0),
            Row(
                "self/jitter_ratio",
                "jitter ratio",
                "second difference in time over that of the real mouth",
                "one",
                "",
                1.0,
            ),
            Row(
                "self/pause_jitter_ratio",
                "jitter ratio in pauses",
                "the same where nothing is said for 0.2 s around",
                "one",
                "",
                1.0,
            ),
            Row(
                "self/upper_jitter_ratio",
                "jitter ratio of the upper half",
                "it is not drawn: exactly 1, or something is wrong",
                "one",
                "",
                1.0,
            ),
            Row(
                "self/sharpness_ratio",
                "sharpness ratio",
                "Laplacian variance over that of the real mouth",
                "one",
                "",
                1.0,
            ),
            Row(
                "self/shape_r",
                "mouth shape r",
                "first component of the mouth's pixels, drawn against real",
                "high",
                "",
                1.0,
                "copy/shape_r",
                _COPY,
            ),
            Row(
                "self/opening_r",
                "opening r",
                "read opening against the truth of the speech",
                "high",
                "",
                "real/opening_r",
            ),
            Row(
                "self/referee_prefers_true",
                "referee prefers the true moment",
                "share of persons whose mouth fits its speech better than the speech 0.2 s or more away",
                "high",
                "",
                "real/referee_prefers_true",
            ),
            Row(
                "self/referee_margin",
                "referee's margin",
                "share of the mouth's movement that its speech explains, over the most that shifted speech does",
                "high",
                "",
                "real/referee_margin",
            ),
            Row(
                "self/referee_offset_within_one",
                "referee finds offset 0 within 1 frame",
                "share of persons",
                "high",
                "",
                "real/referee_offset_within_one",
                3 / 31,
                "chance",
            ),
            Row("self/lse_d", "LSE-D", "the original SyncNet's distance", "low", "", "real/lse_d"),
            Row("self/lse_c", "LSE-C", "the original SyncNet's confidence", "high", "", "real/lse_c"),
            Row(
                "self/lse_offset_within_one",
                "original SyncNet finds offset 0 within 1",
                "share of clips",
                "high",
                "",
                "real/lse_offset_within_one",
            ),
        ],
    ),
    "Another's speech": (
        "Each face is dubbed with the speech of another held-out clip: what `anchor infer` does.",
        [
            Row(
                "dub/opening_r",
                "opening r",
                "how far the drawn mouth opens against the truth of the speech, mean over clips",
                "high",
                "",
                "real/opening_r",
                "dub/opening_r_control",
                _OWN,
            ),
            Row(
                "dub/opening_r_p10",
                "opening r, 10th percentile",
                "one clip in ten is worse",
                "high",
                "",
                "real/opening_r_p10",
            ),
            Row(
                "dub/motion_r",
                "motion against loudness, r",
                "a proxy that needs no truth: mouth-box motion and loudness at the pace of syllables. "
                "It is coarse: read it only against the real video's",
                "",
                "",
                "real/motion_r",
                "dub/motion_r_control",
                _OWN,
            ),
            Row(
                "dub/offset_within_one",
                "expert finds offset 0 within 1 frame",
                "circular if this expert taught the generator: a check, no measure of quality",
                "high",
                "",
                "real/offset_within_one",
                3 / 31,
                "chance",
            ),
            Row(
                "dub/confidence",
                "expert's confidence",
                "of a clip's shift curve: its maximum minus its median; circular in the same way, and never LSE-C",
                "",
                "",
                "real/confidence",
            ),
            Row(
                "dub/cosine",
                "expert's cosine",
                "circular if this expert taught the generator; above the real one it is being flattered",
                "",
                "",
                "real/cosine",
            ),
            Row(
                "dub/referee_prefers_true",
                "referee prefers the true moment",
                "share of persons whose mouth fits its speech better than the speech 0.2 s or more away",
                "high",
                "",
                "real/referee_prefers_true",
            ),
            Row(
                "dub/referee_margin",
                "referee's margin",
                "share of the mouth's movement that its speech explains, over the most that shifted speech does",
                "high",
                "",
                "real/referee_margin",
            ),
            Row(
                "dub/referee_offset_within_one",
                "referee finds offset 0 within 1 frame",
                "share of persons",
                "high",
                "",
                "real/referee_offset_within_one",
                3 / 31,
                "chance",
            ),
            Row("dub/lse_d", "LSE-D", "the original SyncNet's distance", "low", "", "real/lse_d"),
            Row("dub/lse_c", "LSE-C", "the original SyncNet's confidence", "high", "", "real/lse_c"),
            Row(
                "dub/lse_offset_within_one",
                "original SyncNet finds offset 0 within 1",
                "share of clips",
                "high",
                "",
                "real/lse_offset_within_one",
            ),
            Row("dub/identity", "identity", "cosine of face embeddings", "high", "", "real/identity"),
            Row("dub/fid", "FID", "of the face, by the network given; few pictures raise it", "low", "", 0.0),
        ],
    ),
    "Silence": (
        "The first 4 s of each face with nothing to say: the mouth should close and stay so. Pauses are those of real "
        "speech, 0.2 s away from any sound.",
        [
            Row(
                "silence/leak",
                "silence leak",
                "share of frames with the mouth open, though all that is heard is silence",
                "low",
                "",
                "real/pause_leak",
                "real/open_share",
                "the real mouth, speaking",
            ),
            Row(
                "silence/pixel_leak",
                "silence leak by pixels",
                "share of frames that move more than the real clip does in half of its frames",
                "low",
                "",
                "real/pause_pixel_leak",
            ),
            Row(
                "pause/leak", "leak in pauses", "the same in the pauses of its own speech", "low", "", "real/pause_leak"
            ),
            Row(
                "pause/leak_closed",
                "leak in pauses, silence=close",
                "the same where the network hears nothing at all in them",
                "low",
                "",
                "real/pause_leak",
            ),
            Row(
                "pause/pixel_leak_closed",
                "leak by pixels, silence=close",
                "the same where the network hears nothing at all in them",
                "low",
                "",
                "real/pause_pixel_leak",
            ),
            Row(
                "pause/pixel_leak",
                "leak in pauses by pixels",
                "the same in the pauses of its own speech",
                "low",
                "",
                "real/pause_pixel_leak",
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
                "",
                1.0,
            ),
        ],
    ),
    "Held-out minutes": (
        "The clips of persons whom training saw in other minutes, with their own speech.",
        [
            Row("person/mouth_psnr", "mouth PSNR", "the box around the mouth", "high", "dB"),
            Row("person/mouth_ssim", "mouth SSIM", "the box around the mouth", "high", "", 1.0),
            Row("person/jitter_ratio", "jitter ratio", "second difference over that of the real mouth", "one", "", 1.0),
            Row("person/sharpness_ratio", "sharpness ratio", "Laplacian variance over the real one", "one", "", 1.0),
        ],
    ),
    "Speed": (
        "Drawing alone, bytes in to bytes out; decoding, pasting and encoding come on top.",
        [
            Row("speed/frames_per_second", "frames per second", "in batches; live video needs 25", "high"),
            Row("speed/one_frame_ms", "one frame alone", "median", "low", "ms"),
        ],
    ),
}
