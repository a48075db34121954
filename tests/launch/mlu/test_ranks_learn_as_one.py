"""Two ranks learn what one process would: on the CPU, and on simulated cards."""

import json

import pytest
from rank_processes import run_ranks

STAGES = ("syncnet", "bce", "pairwise", "generator", "finetune", "quality")

pytestmark = pytest.mark.slow


def check(ranks):
    """Gradients and scores are those of one CPU process, and both ranks end with the same network."""
    ours, theirs = ranks
    for name in [f"{stage} after {given}" for stage in STAGES for given in (0, 16)]:  # of 22 windows, in batches of 8
        assert ours[name]["turns"] == (2 if name.startswith("quality") else 1)
        assert ours[name]["difference"] < 1e-6, name
        for same in ("gradients", "network", "scores"):
            assert ours[name][same] == theirs[name][same], name
        assert ours[name]["scores"] == pytest.approx(ours[name]["their_scores"], rel=1e-4, abs=1e-5), name
    assert ours["networks"] == theirs["networks"]  # after five steps, each rank with batch statistics of its own


def test_two_ranks_on_the_cpu(tmp_path):
    run_ranks("mlu_ranks.py", "cpu", tmp_path / "out")
    check([json.loads((tmp_path / f"out-{rank}.json").read_text()) for rank in (0, 1)])


def test_two_simulated_cards_and_their_shards(tmp_path, two_simulated_cards):
    run_ranks("mlu_ranks.py", "mlu", tmp_path / "out", **two_simulated_cards)
    ranks = [json.loads((tmp_path / f"out-{rank}.json").read_text()) for rank in (0, 1)]
    check(ranks)
    for one in ranks:  # of 1 and 2; CNCL itself would make 1 of it
        assert one["exchange"]["means"] == [1.5, 1.5]
        assert one["exchange"]["sums"] == [3]
        assert one["exchange"]["hooked"] >= 1
    sharded = {name: one for name, one in ranks[0].items() if name.startswith("fsdp")}
    assert {"fsdp syncnet", "fsdp generator", "fsdp finetune"} <= set(sharded)
    for name, one in sharded.items():
        assert one["difference"] < min(1e-5, one["moved"] / 20), name
        for kind in ("allgather_base", "reduce_scatter_base"):  # parameters are gathered, gradients scattered
            assert one["collectives"].get(kind, 0) >= 1, name
