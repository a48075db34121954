"""Clips shared out among processes: the numbers of one."""

import numpy as np
import pytest
import torch
from torch import nn

from anchor.errors import ConfigError
from anchor.evaluation import bench, evaluate_source, meters
from anchor.evaluation.board import Board


def test_joined_boards_are_one_board():
    """Also with meters that only one of them has, and with one value a clip."""
    rng = np.random.default_rng(0)
    clips = [(rng.normal(size=20), rng.normal(size=20)) for _ in range(5)]
    together, joined = Board(), Board()
    for number, clip in enumerate(clips):
        alone = Board()
        for board in (together, alone):
            board.count("r", meters.OpeningCorrelation, *clip)
            board.count("mean", meters.MeanCorrelation, *clip)
            if number > 2:
                board.count("late", meters.SumRatio, number, 2)
        joined.join(alone.without_networks())
    assert joined.scores() == pytest.approx(together.scores(), rel=1e-12)
    assert {"r", "r_p10", "mean", "late"} == set(joined.scores())


class Distance(nn.Module):
    def forward(self, drawn, real):
        return (drawn - real).abs().flatten(1).mean(1)


class Features(nn.Module):
    def forward(self, pictures):
        return nn.functional.adaptive_avg_pool2d(pictures.float(), 2).flatten(1)


@pytest.mark.slow
def test_two_processes_give_the_report_of_one(tmp_path, speakers, small_generator, small_expert, save_network):
    for net, name in ((Distance(), "lpips.pt"), (Features(), "inception.pt")):
        torch.jit.script(net).save(str(tmp_path / name))
    generator = save_network(small_generator, "g.ckpt")
    one, two = (
        evaluate_source(
            speakers,
            out=tmp_path / str(workers),
            checkpoint=generator,
            compare=(f"base={generator}",),
            expert=save_network(small_expert, "e.ckpt"),
            lpips=tmp_path / "lpips.pt",
            inception=tmp_path / "inception.pt",
            reader_steps=3,
            films=1,
            max_clips=3,
            device="cpu",
            workers=workers,
        )
        for workers in (1, 2)
    )
    for record in (one, two):
        for scores in (record["scores"], record["compared"]["base"]["scores"]):
            assert scores.pop("speed/frames_per_second") > scores.pop("speed/one_frame_ms") * 0
        record.pop("seconds")
    assert {"self/fid", "self/lpips", "dub/opening_r_p10", "self/referee_margin", "expert/loss"} <= set(one["scores"])
    assert two["scores"] == pytest.approx(one["scores"], rel=1e-6)
    assert two["compared"]["base"]["scores"] == pytest.approx(one["compared"]["base"]["scores"], rel=1e-6)
    assert [failure["clip"] for failure in two["failures"]] == [failure["clip"] for failure in one["failures"]]
    assert two["details"]["pairs"][2]["face"] == one["details"]["pairs"][2]["face"]
    pages = [(tmp_path / str(count) / "report.html").read_text().count("<img") for count in (1, 2)]
    assert pages[0] == pages[1] > 10


def test_clips_that_two_processes_died_of_end_in_a_sentence(monkeypatch):
    def all_die(function, tasks, workers, on_crash):  # a stand-in for the pool, where memory has run out
        yield from ((number, on_crash(task)) for number, task in enumerate(tasks))

    monkeypatch.setattr(bench, "run_all", all_die)
    with pytest.raises(ConfigError, match=r"workers=2: .*memory ran out, most likely\. Give fewer workers="):
        list(bench.do_all(lambda bench, item: item, [1, 2, 3], None, None, 2, "draw", "clips"))


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_and_none_is_kept_longer_than_it_must_be(monkeypatch, workers):
    """One of them may hold a Frechet distance's sums, 67 MB: 48 pairs of them at once are more than a machine has."""
    made = []

    def run_all(function, tasks, workers, on_crash):  # a stand-in for the pool, whose second process is quicker
        for number in (1, 0, 3, 2):
            made.append(number)
            yield number, tasks[number] * 10

    def work(bench, item):
        made.append(item)
        return item * 10

    monkeypatch.setattr(bench, "run_all", run_all)
    results = bench.do_all(work, [0, 1, 2, 3], None, None, workers, "draw", "clips")
    assert next(results) == 0
    assert made == ([0] if workers == 1 else [1, 0])
    assert list(results) == [10, 20, 30]


def test_no_worker_is_refused(tmp_path, speakers, small_generator, save_network):
    with pytest.raises(ConfigError, match="workers=0: each must be 1 or more"):
        evaluate_source(speakers, out=tmp_path / "o", checkpoint=save_network(small_generator), workers=0, device="cpu")
    assert not (tmp_path / "o").exists()
