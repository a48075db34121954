"""What the report draws: curves, charts, the worst seconds."""

import pytest

from anchor.evaluation.charts import Line, line_chart
from anchor.evaluation.curves import read_runs
from anchor.evaluation.gallery import Failure, find_worst


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
