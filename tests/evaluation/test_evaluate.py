"""scores.json and report.html, as users get them."""

import json
import math
from html.parser import HTMLParser

import pytest

from anchor.errors import CheckpointError, ConfigError, ShardError
from anchor.evaluation import evaluate, evaluate_source
from anchor.evaluation.charts import Line, line_chart
from anchor.evaluation.curves import read_runs
from anchor.evaluation.table import GROUPS
from anchor.models import LipGenerator

VOID = {"meta", "img", "br", "circle", "line", "polyline"}


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
        runs=(run_dir,),
        reader_steps=5,
        strips=2,
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
    assert named <= set(written["scores"])  # everything that can be measured was
    page, tags = _check_page(out / "report.html")
    assert tags.count("img") == 2 * 4
    assert tags.count("svg") == 3 + 1
    for words in (
        "Expert",
        "Own speech",
        "Another&#x27;s speech",
        "Pictures",
        "How it was learnt",
        "chance",
        "circular",
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
