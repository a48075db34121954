import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from anchor.evaluation.calibration import reliability
from anchor.evaluation.expert_page import expert_lines, reliability_chart, speaker_table
from anchor.evaluation.sync import MAX_SHIFT, ClipEmbedding, clip_offset, embed_clip, score_expert, window_offsets
from anchor.models import SyncNet
from anchor.ops.images import lower_half, to_signed
from anchor.timing import mel_window


def _clips(num=6, length=80, shift=0, noise=0.0):
    """Embeddings of a perfect expert, whose speech comes late by ``shift`` frames."""
    generator = torch.Generator().manual_seed(0)
    clips = []
    for speaker in range(num):
        speech = F.normalize(torch.randn(length, 32, generator=generator), dim=1)
        face = torch.roll(speech, -shift, 0) + noise * torch.randn(length, 32, generator=generator)
        clips.append(ClipEmbedding(f"s{speaker}", F.normalize(face, dim=1), speech))
    return clips


def test_a_perfect_expert_scores_one():
    scores = score_expert(_clips(), 20.0).scores
    for name in ("pair_accuracy", "foreign_accuracy", "offset_within_one", "offset_exact", "cosine_true"):
        assert scores[f"expert/{name}"] == pytest.approx(1.0, abs=1e-3)
    assert scores["expert/loss"] < 0.01
    assert scores["expert/peak_offset_frames"] == 0


def test_chance_is_chance():
    scores = score_expert(_clips(num=20, noise=1e6), 1.0).scores
    assert scores["expert/pair_accuracy"] == pytest.approx(0.5, abs=0.05)
    assert scores["expert/foreign_accuracy"] == pytest.approx(0.5, abs=0.05)
    assert scores["expert/loss"] == pytest.approx(scores["expert/loss_chance"], abs=0.05)
    assert scores["expert/loss_chance"] < math.log(23)


def test_late_sound_is_found_with_its_sign():
    result = score_expert(_clips(shift=6), 20.0)
    assert result.scores["expert/peak_offset_frames"] == 6
    assert result.scores["expert/offset_within_one"] == 0
    assert result.details["offsets"] == [6] * 6
    assert clip_offset(_clips(shift=-3)[0].face_TD, _clips(shift=-3)[0].speech_TD) == -3
    assert len(result.details["shift_curve"]) == 2 * MAX_SHIFT + 1


def test_clips_too_short_for_a_curve_still_give_accuracy():
    result = score_expert(_clips(length=20), 20.0)
    assert "shift_curve" not in result.details
    assert "expert/offset_exact" not in result.scores
    assert result.scores["expert/pair_accuracy"] == 1.0


def test_rows_are_the_windows_that_training_shows(small_expert):
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (12, 32, 32, 3), np.uint8)
    mel = rng.uniform(-4, 4, (60, 80)).astype(np.float32)
    small_expert.eval()
    face_TD, speech_TD = embed_clip(small_expert, faces, mel, first_frame=3)
    assert face_TD.shape == speech_TD.shape == (8, 8)
    window = to_signed(lower_half(torch.from_numpy(faces[1:6]).permute(0, 3, 1, 2)))[None]  # centred on frame 3
    with torch.no_grad():
        assert torch.allclose(small_expert.embed_mouths(window)[0], face_TD[1], atol=1e-5)
        heard = torch.from_numpy(mel_window(mel, 3 + 3))[None, None]
        assert torch.allclose(small_expert.embed_speech(heard)[0], speech_TD[1], atol=1e-5)


def test_an_untrained_expert_is_near_chance(small_expert, speakers):
    clips = []
    for clip in speakers.clips:
        faces = speakers.read_frames(clip, range(clip.num_frames))
        clips.append(ClipEmbedding(clip.speaker, *embed_clip(small_expert.eval(), faces, speakers.read_mel(clip))))
    scores = score_expert(clips, 10.0).scores
    assert 0.4 < scores["expert/pair_accuracy"] < 0.6
    assert 0.4 < scores["expert/foreign_accuracy"] < 0.6


def test_pieces_distances_and_speakers_are_told_apart():
    good, late = _clips(num=2, length=130), _clips(num=2, length=130, shift=4)[1]
    result = score_expert([good[0], late], 20.0)
    assert result.details["offsets_2s"] == [0] * 3 + [4] * 3
    assert result.scores["expert/offset_within_one_2s"] == 0.5
    assert result.details["by_speaker"]["s0"]["offset_within_one_2s"] == 1.0
    assert result.details["by_speaker"]["s1"]["offset_within_one_2s"] == 0.0
    assert (
        result.details["by_speaker"]["s1"]["pair_accuracy"] < result.details["by_speaker"]["s0"]["pair_accuracy"] == 1
    )
    assert result.scores["expert/pair_accuracy_16_30"] == pytest.approx(0.75, abs=0.06)  # of the late one half are won
    assert score_expert(_clips(length=60), 20.0).details["by_speaker"]["s0"]["offset_within_one_2s"] is None


def test_calibration_error_is_none_where_the_confidence_is_kept():
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(20_000, generator=generator)
    kept = torch.rand(20_000, generator=generator) < confidence
    error, rows = reliability(confidence, kept)
    assert error < 0.02
    assert sum(count for _, _, count in rows) == 20_000
    assert reliability(torch.full((100,), 0.9), torch.arange(100) < 50)[0] == pytest.approx(0.4)


def test_the_page_names_the_worst_speaker_first():
    details = score_expert([_clips(num=2, length=130)[0], _clips(num=2, length=130, shift=6)[1]], 20.0).details
    page = speaker_table(details)
    assert page.index("s1") < page.index("s0")
    assert "Share right by confidence" in reliability_chart(details)
    assert speaker_table({"by_speaker": {"s0": details["by_speaker"]["s0"]}}) == ""


def test_the_terminal_shows_curve_confidence_and_spread():
    details = score_expert([_clips(num=2, length=130)[0], _clips(num=2, length=130, shift=6)[1]], 20.0).details
    _, frames, cosine, _, _, _, windows, people, offsets = expert_lines(details)
    assert (frames.split()[9], cosine.split()[9]) == ("0", f"{details['shift_curve'][15]:.2f}")
    assert [float(x) for x in windows.split()[1:]] == [count for *_, count in details["reliability"]]
    assert "of 2 speakers" in people
    assert "(s1) to 1.000 (s0)" in people
    assert offsets.endswith("1 of 2 speakers")
    assert expert_lines({}) == []


def test_a_long_expert_hears_the_frames_that_it_sees(speakers):
    torch.manual_seed(0)
    expert = SyncNet(image_size=32, width=2, embedding_size=8, window_frames=16, norm="group").eval()
    clip = speakers.clips[0]
    faces, mel = speakers.read_frames(clip, range(clip.num_frames)), speakers.read_mel(clip)
    face_TD, speech_TD = embed_clip(expert, faces[3:], mel, first_frame=3)
    assert len(face_TD) == len(speech_TD) == clip.num_frames - 3 - 15
    window = to_signed(lower_half(torch.from_numpy(faces[4:20]).permute(0, 3, 1, 2)))[None]  # of frame 12
    with torch.no_grad():
        assert torch.allclose(expert.embed_mouths(window)[0], face_TD[1], atol=1e-5)
        heard = torch.from_numpy(mel_window(mel, 12, 16))[None, None]
        assert torch.allclose(expert.embed_speech(heard)[0], speech_TD[1], atol=1e-5)
    assert embed_clip(expert, faces[:9], mel)[0].shape == (0, 1)


@pytest.mark.parametrize("window_frames", [5, 16])
def test_two_seconds_are_fifty_pictures_whatever_is_seen_at_once(window_frames):
    pictures = 80  # of which fifty, and fifteen on either side
    clip = _clips(num=1, length=pictures - window_frames + 1)[0]
    assert window_offsets(clip.face_TD, clip.speech_TD, window_frames) == [0]
    assert window_offsets(clip.face_TD[1:], clip.speech_TD[1:], window_frames) == []
