"""Gates: what has not learnt is refused by the number it holds, and what is forced past stays known."""

import json

import pytest
import torch
from omegaconf import OmegaConf

from anchor.errors import ConfigError, GateError
from anchor.evaluation.gates import note_gates
from anchor.models import LipGenerator, SyncNet, describe, read_held_out
from launch.cli import check_run
from launch.gates import judge, load_gates
from launch.worker import run

ASKED = {"enforce": True, "quality": {"gain_db": {"least": 1.0}, "jitter_ratio": {"least": 0.5, "most": 1.5}}}


def expert(path, scores, gates=()):
    net = SyncNet()
    checkpoint = {"state_dict": {f"net.{key}": value for key, value in net.state_dict().items()}}
    checkpoint["hyper_parameters"] = {"stage": "syncnet", "net": describe(net)}
    checkpoint["held_out"] = {"step": 10, "scores": scores, "gates": list(gates)}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, path)
    return path


def checked(composed, path, *words):
    config = OmegaConf.create(composed("generator", f"module.expert={path}", *words))
    return check_run(config)[0]["gates"]["verdicts"]


@pytest.mark.parametrize(("scores", "says"), [
    ({"val/pair_accuracy": 0.52}, r"gate 'expert': pair_accuracy .*is 0\.520, asked is at least 0\.75"),
    ({"val/pair_accuracy": float("nan")}, "pair_accuracy was never measured"),
    ({}, "pair_accuracy was never measured"),
])  # fmt: skip
def test_an_expert_that_has_not_learnt_teaches_no_generator(composed, tmp_path, scores, says):
    path = expert(tmp_path / "weak.ckpt", scores)
    with pytest.raises(GateError, match=says) as refused:
        checked(composed, path)
    assert str(path) in str(refused.value)
    assert "gates=off" in str(refused.value)
    assert refused.value.status == 3
    (verdict,) = checked(composed, path, "gates=off")
    assert verdict["outcome"] == "forced"


def test_one_that_has_learnt_passes_and_one_without_scores_is_named(composed, tmp_path, expert_checkpoint):
    (verdict,) = checked(composed, expert(tmp_path / "good.ckpt", {"val/pair_accuracy": 0.9}))
    assert (verdict["outcome"], verdict["compared"]["pair_accuracy"]["value"]) == ("passed", 0.9)
    (verdict,) = checked(composed, expert_checkpoint)
    assert verdict["outcome"] == "unmeasured"
    assert "holds no scores" in verdict["sentence"]


def test_the_scores_after_the_last_save_count(composed, tmp_path):
    path = expert(tmp_path / "expert" / "checkpoints" / "last.ckpt", {"val/pair_accuracy": 0.5})
    (tmp_path / "expert" / "result.json").write_text(json.dumps({"steps": 12, "metrics": {"val/pair_accuracy": 0.8}}))
    assert checked(composed, path)[0]["outcome"] == "passed"
    (tmp_path / "expert" / "result.json").write_text(json.dumps({"steps": 9, "metrics": {"val/pair_accuracy": 0.8}}))
    with pytest.raises(GateError):
        checked(composed, path)


def test_both_ends_of_a_threshold_and_every_score_that_fails_are_named():
    scores = {"val/mouth_psnr": 20.0, "val/copy_psnr": 20.5, "val/jitter_ratio": 1.8}
    with pytest.raises(GateError, match=r"gain_db .* is -0\.500, asked is at least 1; jitter_ratio .* at most 1\.5"):
        judge("quality", ASKED, scores, "here")
    better = {**scores, "val/mouth_psnr": 22.0, "val/jitter_ratio": 1.0}
    assert judge("quality", ASKED, better, "here")["outcome"] == "passed"


def test_a_base_is_judged_by_what_it_draws_of_the_data_to_come(composed, tmp_path):
    net = LipGenerator()
    net.face_decoder.last.bias.data[-4:] = -20.0  # the gate shut: it copies, whatever it says of itself
    checkpoint = {"state_dict": {f"net.{key}": value for key, value in net.state_dict().items()}}
    checkpoint["hyper_parameters"] = {"stage": "generator", "net": describe(net)}
    flattering = {"val/mouth_psnr": 30.0, "val/copy_psnr": 20.0, "val/jitter_ratio": 1.0}
    checkpoint["held_out"] = {"step": 10, "scores": flattering, "gates": []}
    torch.save(checkpoint, tmp_path / "copies.ckpt")
    words = [f"module.base={tmp_path / 'copies.ckpt'}", "module.expert=null"]
    with pytest.raises(GateError, match=r"drawing held-out windows of the data: .*gain_db .* is -?0\.000"):
        check_run(OmegaConf.create(composed("quality", *words)))
    words += ["gates.quality.gain_db.least=-0.1", "gates.quality.jitter_ratio.least=null"]
    (verdict,) = check_run(OmegaConf.create(composed("quality", *words)))[0]["gates"]["verdicts"]
    assert verdict["outcome"] == "passed"
    assert verdict["compared"]["jitter_ratio"]["value"] == pytest.approx(0, abs=1e-3)


def test_a_threshold_that_cannot_be_is_a_sentence():
    with pytest.raises(ConfigError, match=r"gates\.expert\.nothing"):
        load_gates({"gates.expert.nothing.least": 1}, True)
    for limits in (0.8, {"least": "much"}, {"lest": 1}):
        with pytest.raises(ConfigError, match=r"gates\.expert\.pair_accuracy"):
            judge("expert", {"enforce": True, "expert": {"pair_accuracy": limits}}, {}, "here")


def test_what_was_forced_is_in_the_record_the_checkpoint_and_the_report(composed, tmp_path):
    weak = expert(tmp_path / "weak.ckpt", {"val/pair_accuracy": 0.5})
    config = composed("generator", f"module.expert={weak}", "gates=off")
    resolved, _ = check_run(OmegaConf.create(config))
    path = tmp_path / "run" / "config.yaml"
    path.parent.mkdir()
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(resolved)))
    run(path)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    held = read_held_out(last)
    assert held.step == 1
    assert {"val/mouth_psnr", "val/copy_psnr", "val/jitter_ratio"} <= set(held.scores)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["gates"][0]["outcome"] == "forced"
    (sentence,) = note_gates((last, None))
    assert "pair_accuracy" in sentence
    words = (f"module.base={last}", "module.expert=null", "gates=off")
    tuned = OmegaConf.create(composed("finetune", *words, run_dir=tmp_path / "tuned"))
    inherited = check_run(tuned)[0]["gates"]["verdicts"]
    assert [one["inherited"] for one in inherited][-1]
    assert inherited[-1]["sentence"] == sentence
