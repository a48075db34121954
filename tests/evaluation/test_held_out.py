"""What a split holds out, and what can be said of it: other minutes, one speaker, silence, nobody's truth."""

from dataclasses import replace

import numpy as np
from report_pages import check_page, is_finite

from anchor.evaluation import evaluate, evaluate_source
from anchor.timing import MEL_FLOOR


class HeldOutMinutes:
    """Drawn speakers whose last clip is held out: minutes of people that training saw."""

    def __init__(self, source, speakers=None):
        self.source = source
        wanted = sorted({clip.speaker for clip in source.clips})[:speakers]
        mine = [clip for clip in source.clips if clip.speaker in wanted]
        last = {clip.speaker: clip for clip in mine}
        self.clips = [replace(clip, split="val" if clip is last[clip.speaker] else "train") for clip in mine]

    def __getattr__(self, name):
        return getattr(self.source, name)


def test_minutes_of_a_known_person_are_a_protocol_of_their_own(tmp_path, minutes, small_generator, save_network):
    record = evaluate_source(
        HeldOutMinutes(minutes), out=tmp_path, checkpoint=save_network(small_generator), reader_steps=0, device="cpu"
    )
    assert record["held_out_by"] == "time"
    assert record["protocols"] == ["self", "cross", "silence", "person"]
    assert record["scores"]["person/mouth_psnr"] == record["scores"]["self/mouth_psnr"]
    assert any("Nothing here is about strangers" in note for note in record["notes"])
    assert "silence/pixel_leak" in record["scores"]  # nobody reads openings here


def test_one_speaker_is_said(tmp_path, minutes, small_generator, save_network):
    record = evaluate_source(
        HeldOutMinutes(minutes, 1),
        out=tmp_path,
        checkpoint=save_network(small_generator),
        protocol=("self",),
        reader_steps=0,
        device="cpu",
    )
    assert any("holds one speaker" in note and "persons cannot" in note for note in record["notes"])
    assert any("called foreign is this person's own" in note for note in record["notes"])
    assert not any(name.startswith(("silence/", "person/")) for name in record["scores"])
    assert not any("dub/referee" in name for name in record["scores"])


def test_the_terminal_says_what_must_be_read_with_the_scores(
    tmp_path, minutes, small_expert, save_network, monkeypatch, capsys
):
    monkeypatch.setattr("anchor.shards.ShardSet", lambda data: HeldOutMinutes(minutes, 1))  # in the place of shards
    evaluate(data="set", out=tmp_path / "out", stage="syncnet", checkpoint=save_network(small_expert), device="cpu")
    printed = capsys.readouterr().out
    assert "note: The set holds one speaker" in printed
    assert "pair accuracy" in printed


def test_silence_only_is_scored_without_a_verdict(tmp_path, minutes, small_generator, small_expert, save_network):
    class Silent(HeldOutMinutes):
        def read_mel(self, clip):
            return np.full_like(self.source.read_mel(clip), MEL_FLOOR)

        def read_audio(self, clip):
            return np.zeros_like(self.source.read_audio(clip))

    record = evaluate_source(
        Silent(minutes),
        out=tmp_path,
        checkpoint=save_network(small_generator, "g.ckpt"),
        expert=save_network(small_expert, "e.ckpt"),
        reader_steps=0,
        device="cpu",
    )
    assert any("3 of 3 clips hold no second of sound" in note for note in record["notes"])
    assert not any("referee" in name for name in record["scores"])
    assert "pause/pixel_leak" in record["scores"]
    assert "self/pause_jitter_ratio" in record["scores"]
    assert is_finite(record)
    check_page(tmp_path / "report.html")


def test_clips_without_truth_get_the_proxy_and_say_so(tmp_path, numbered_clips, small_generator, save_network):
    record = evaluate_source(
        numbered_clips(val=2), out=tmp_path, checkpoint=save_network(small_generator), stage="finetune", device="cpu"
    )
    assert "dub/opening_r" not in record["scores"]
    assert "dub/motion_r" in record["scores"]
    assert any("proxy" in note for note in record["notes"])
    check_page(tmp_path / "report.html")
