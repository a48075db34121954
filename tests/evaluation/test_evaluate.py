"""scores.json and report.html, as users get them."""

import json
import math
from dataclasses import replace
from html.parser import HTMLParser

import av
import numpy as np
import pytest
import torch
from torch import nn

from anchor.errors import CheckpointError, ConfigError, ShardError
from anchor.evaluation import evaluate, evaluate_source
from anchor.evaluation.charts import Line, line_chart
from anchor.evaluation.curves import read_runs
from anchor.evaluation.gallery import Failure, find_worst
from anchor.evaluation.table import GROUPS
from anchor.models import LipGenerator
from anchor.ops.mel import mel_config_hash
from anchor.synth.source import SyntheticSource
from anchor.timing import MEL_FLOOR

VOID = {"meta", "img", "br", "circle", "line", "polyline"}
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


class TagCheck(HTMLParser):
    """Every tag that is opened is closed, in order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def _check_page(path):
    text = path.read_text(encoding="utf-8")
    parser = TagCheck()
    parser.feed(text)
    assert parser.open == []
    assert "http://" not in text
    assert "https://" not in text
    assert "nan" not in text.split("base64")[0].lower().replace("finance", "")
    return text, parser.seen


def _check_finite(value):
    if isinstance(value, dict):
        return all(_check_finite(item) for item in value.values())
    if isinstance(value, list):
        return all(_check_finite(item) for item in value)
    return not isinstance(value, float) or math.isfinite(value)


@pytest.fixture
def run_dir(tmp_path):
    folder = tmp_path / "runs" / "generator"
    folder.mkdir(parents=True)
    lines = [{"step": i, "epoch": 0, "seconds": i / 10, "train/l1": 1 / (i + 1)} for i in range(1, 600)]
    lines += [
        {"step": 300, "epoch": 0, "seconds": 30, "val/l1": 0.2},
        {"step": 600, "epoch": 1, "seconds": 60, "val/l1": 0.1},
    ]
    folder.joinpath("metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 601, "train/l')
    return folder


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
    assert _check_finite(written)
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
    page, tags = _check_page(out / "report.html")
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
    _check_page(tmp_path / "report.html")


def test_clips_without_truth_get_the_proxy_and_say_so(tmp_path, numbered_clips, small_generator, save_network):
    record = evaluate_source(
        numbered_clips(val=2), out=tmp_path, checkpoint=save_network(small_generator), stage="finetune", device="cpu"
    )
    assert "dub/opening_r" not in record["scores"]
    assert "dub/motion_r" in record["scores"]
    assert any("proxy" in note for note in record["notes"])
    _check_page(tmp_path / "report.html")


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


def test_curves_are_read_and_a_cut_line_is_left_out(run_dir, tmp_path):
    (run,) = read_runs([run_dir])
    assert run.name == "generator"
    assert run.steps == 600
    assert run.seconds == 60
    assert len(run.curves["train/l1"]) == 599
    assert run.curves["val/l1"] == [(300, 0.2), (600, 0.1)]


def test_runs_of_one_name_are_told_apart(run_dir):
    other = run_dir.parent.parent / "older" / "generator"
    other.mkdir(parents=True)
    other.joinpath("metrics.jsonl").write_text((run_dir / "metrics.jsonl").read_text())
    assert [run.name for run in read_runs([run_dir, other])] == ["runs/generator", "older/generator"]


@pytest.mark.parametrize(
    "points", [[(0, 1.0)], [(0, 0.0), (1, 0.0)], [(i, i * 1e-7) for i in range(2000)], [(5, -3.0), (5, 4e6)]]
)
def test_any_curve_can_be_drawn(points):
    chart = line_chart("<b>", [Line("a & b", points), Line("", [])], "step", 0.5, "chance")
    assert "<b><b>" not in chart
    assert "nan" not in chart
    assert "inf" not in chart
    assert chart.count("<polyline") == 1
    assert len(chart) < 20_000


def test_no_points_no_chart():
    assert line_chart("empty", [Line("a", [])], "step") == ""


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


@pytest.fixture(scope="module")
def minutes():
    return SyntheticSource(speakers=3, clips=2, seconds=3.0, image_size=32, seed=4, val_speakers=1)


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
    assert _check_finite(record)
    _check_page(tmp_path / "report.html")


def test_another_mel_is_refused_in_a_sentence(tmp_path, minutes, small_generator, save_network):
    path = save_network(small_generator)
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["hyper_parameters"]["mel_config_hash"] = "0123456789ab"
    torch.save(checkpoint, path)
    with pytest.raises(CheckpointError, match=r"configuration 0123456789ab.*teach it anew"):
        evaluate_source(minutes, out=tmp_path / "out", checkpoint=path, device="cpu")
    assert not (tmp_path / "out").exists()


def test_networks_given_by_path_are_used(tmp_path, minutes, small_generator, save_network):
    class Distance(nn.Module):
        def forward(self, drawn, real):
            return (drawn - real).abs().flatten(1).mean(1)

    class Features(nn.Module):
        def forward(self, pictures):
            return nn.functional.adaptive_avg_pool2d(pictures.float(), 2).flatten(1)

    for net, name in ((Distance(), "lpips.pt"), (Features(), "inception.pt")):
        torch.jit.script(net).save(str(tmp_path / name))
    record = evaluate_source(
        minutes,
        out=tmp_path / "out",
        checkpoint=save_network(small_generator),
        lpips=tmp_path / "lpips.pt",
        inception=tmp_path / "inception.pt",
        protocol=("self", "cross"),
        reader_steps=0,
        films=0,
        device="cpu",
    )
    assert set(record["skipped"]) == {"lse", "identity"}
    assert record["scores"]["self/lpips"] > 0
    assert record["scores"]["self/fid"] > 0
    assert record["films"] == []


@pytest.mark.slow
def test_the_lpips_of_a_backbone_by_path_is_torchmetrics(tmp_path):
    from torchmetrics.functional.image.lpips import _LPIPS
    from torchvision.models import alexnet

    from anchor.evaluation.given import load_given

    backbone = alexnet(weights=None).state_dict()
    torch.save(backbone, tmp_path / "alexnet.pth")
    given = load_given(tmp_path / "alexnet.pth", None, None, torch.device("cpu"))
    theirs = _LPIPS(pretrained=True, net="alex", pnet_rand=True).eval()
    theirs.net.load_state_dict({key: backbone[f"features.{key.split('.', 1)[1]}"] for key in theirs.net.state_dict()})
    drawn, real = torch.rand(2, 2, 3, 64, 64) * 2 - 1
    assert given.lpips(drawn, real).flatten() == pytest.approx(theirs(drawn, real).flatten().detach(), rel=1e-5)
    assert float(given.lpips(real, real).max()) == 0


def test_the_worst_seconds_have_a_reason_that_is_one():
    quiet = {"psnr": 30.0, "jitter": 1.0, "stiff": 1.0, "blur": 1.0}
    windows = [Failure(f"clip{i}", 0, {**quiet, "psnr": 30 + 0.1 * i}, []) for i in range(10)]
    windows[3].values.update(jitter=2.5, stiff=2.5)
    windows[5].values.update(blur=0.2)
    windows[7].values.update(silence=3.0)
    windows[8].values.update(silence=0.1)
    worst = find_worst(windows, 4)
    assert {one.key for one in worst[:2]} == {"clip3", "clip5"}
    reasons = {one.key: one.why for one in find_worst(windows, 10)}
    assert "trembles: second difference x 2.50" in reasons["clip3"]
    assert "blurred: sharpness x 0.20" in reasons["clip5"]
    assert "moves in silence" in reasons["clip7"]
    assert "dB" in reasons["clip0"]
    assert "tremble" not in reasons["clip1"]
