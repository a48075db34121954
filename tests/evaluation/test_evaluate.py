"""scores.json and report.html, as users get them."""

import json

import av
import pytest
import torch
from report_pages import check_page, is_finite

from anchor.errors import CheckpointError, ConfigError, ShardError
from anchor.evaluation import evaluate, evaluate_source
from anchor.evaluation.table import GROUPS
from anchor.models import LipGenerator
from anchor.ops.mel import mel_config_hash

# Scores that need a network by path, landmarks, speech with pauses, or a longer clip than drawn speakers of 3 s.
NEEDS_MORE = (
    "_2s",
    "lpips",
    "fid",
    "identity",
    "lse_",
    "landmark_",
    "pause",
    "silence/jitter",
    "pixel_leak",
    "person/",
)


def test_the_whole_chain_in_one_report(tmp_path, speakers, small_expert, save_network, run_dir):
    out = tmp_path / "report"
    generator = LipGenerator(image_size=64, widths=(4, 6, 8), strides=(2, 2, 2), speech_width=2, embedding_size=8)
    record = evaluate_source(
        speakers,
        out=out,
        data="drawn speakers",
        checkpoint=save_network(generator, "generator.ckpt"),
        expert=save_network(small_expert, "expert.ckpt"),
        compare=(f"base={save_network(generator, 'base.ckpt')}",),
        runs=(run_dir,),
        reader_steps=5,
        strips=2,
        films=1,
        device="cpu",
    )
    written = json.loads((out / "scores.json").read_text())
    assert written == record
    assert is_finite(written)
    assert written["stage"] == "generator"
    assert written["seed"] == 0
    assert len(written["clips"]) == 4
    assert len(written["details"]["pairs"]) == 4
    named = {row.name for _, rows in GROUPS.values() for row in rows}
    named = {name for name in named if not any(word in name for word in NEEDS_MORE)}
    assert named <= set(written["scores"])  # everything that can be measured was
    assert written["scores"]["self/upper_jitter_ratio"] == 1
    same = {name: value for name, value in written["scores"].items() if name.startswith(("self/", "dub/", "silence/"))}
    base = written["compared"]["base"]["scores"]  # the same weights: the same numbers
    assert {name: base[name] for name in same} == same
    assert written["protocols"] == ["self", "cross", "silence"]
    assert written["held_out_by"] == "speaker"
    assert written["mel_config_hash"] == mel_config_hash()
    assert set(written["skipped"]) == {"lpips", "fid", "lse", "identity"}
    assert 0 < len(written["failures"]) <= 20
    assert all(failure["why"] for failure in written["failures"])
    with av.open(str(out / written["films"][0]["file"])) as film:
        assert film.streams.video[0].width == 3 * 224
        assert film.streams.video[0].frames == film.streams.audio[0].duration // 640 == 75
    page, tags = check_page(out / "report.html")
    assert tags.count("img") == 2 * 6 + len(written["failures"])
    assert tags.count("svg") == 4 + 1 + 1
    assert tags.count("video") == 2
    assert "<td class='n'>" in page
    for words in (
        "Expert",
        "Own speech",
        "Another&#x27;s speech",
        "Pictures",
        "How it was learnt",
        "chance",
        "circular",
        "Referee",
        "Worst",
        "Skipped",
        "Watch and listen",
    ):
        assert words in page
    assert not list(out.glob(".*"))


def test_the_same_seed_gives_the_same_scores(tmp_path, speakers, small_generator, save_network):
    checkpoint = save_network(small_generator)
    first, second = (
        evaluate_source(
            speakers, out=tmp_path / str(i), checkpoint=checkpoint, reader_steps=3, max_clips=2, device="cpu"
        )
        for i in range(2)
    )
    for record in (first, second):
        record["scores"] = {name: value for name, value in record["scores"].items() if not name.startswith("speed/")}
        record.pop("seconds")
    assert first == second


def test_an_expert_alone(tmp_path, speakers, small_expert, save_network):
    record = evaluate_source(
        speakers, out=tmp_path, stage="syncnet", checkpoint=save_network(small_expert), max_clips=3, device="cpu"
    )
    assert all(name.startswith("expert/") for name in record["scores"])
    assert len(record["clips"]) == 3
    check_page(tmp_path / "report.html")


def test_bad_input_ends_in_a_sentence(tmp_path, speakers, small_generator, small_expert, save_network):
    generator, expert = save_network(small_generator, "g.ckpt"), save_network(small_expert, "e.ckpt")
    for change, kind, words in [
        ({}, ConfigError, "nothing to score"),
        ({"checkpoint": tmp_path / "missing.ckpt"}, CheckpointError, "no such checkpoint"),
        ({"checkpoint": expert}, CheckpointError, "stage=syncnet"),
        ({"checkpoint": generator, "stage": "syncnet"}, CheckpointError, "an? expert is needed"),
        ({"checkpoint": expert, "expert": expert, "stage": "syncnet"}, ConfigError, "not both"),
        ({"checkpoint": generator, "split": "test"}, ShardError, "split=test has 0 clips"),
        ({"checkpoint": generator, "runs": (tmp_path,)}, ConfigError, "no metrics.jsonl"),
        ({"checkpoint": generator, "max_clips": 0}, ConfigError, "max_clips=0"),
        ({"checkpoint": generator, "protocol": ("slef",)}, ConfigError, "protocol=slef is none.*self"),
        ({"checkpoint": generator, "protocol": ("person",)}, ConfigError, "split=time"),
        ({"checkpoint": generator, "compare": ("base",)}, ConfigError, "compare=base=PATH"),
        ({"checkpoint": generator, "compare": (f"real={generator}",)}, ConfigError, "are taken"),
        ({"checkpoint": generator, "compare": (f"a={expert}",)}, CheckpointError, "a generator is needed"),
        ({"expert": expert, "compare": (f"a={generator}",)}, ConfigError, "checkpoint="),
        ({"checkpoint": generator, "lpips": tmp_path / "no.pth"}, CheckpointError, "lpips=.*no such file"),
        ({"checkpoint": generator, "inception": expert}, CheckpointError, "inception=.*no TorchScript"),
        ({"checkpoint": generator, "syncnet_weights": expert}, CheckpointError, "not the weights of the original"),
    ]:
        with pytest.raises(kind, match=words):
            evaluate_source(speakers, out=tmp_path / "out", device="cpu", **change)
    with pytest.raises(ShardError, match="no set of shards"):
        evaluate(data=tmp_path / "nowhere", out=tmp_path / "out", checkpoint=generator)
    assert not (tmp_path / "out").exists()


def test_another_mel_is_refused_in_a_sentence(tmp_path, minutes, small_generator, save_network):
    path = save_network(small_generator)
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["hyper_parameters"]["mel_config_hash"] = "0123456789ab"
    torch.save(checkpoint, path)
    with pytest.raises(CheckpointError, match=r"configuration 0123456789ab.*teach it anew"):
        evaluate_source(minutes, out=tmp_path / "out", checkpoint=path, device="cpu")
    assert not (tmp_path / "out").exists()
