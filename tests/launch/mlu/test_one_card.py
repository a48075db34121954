"""The plugin on one simulated card; a process of its own, for a device once registered stays."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[3]
HAS_FSDP2 = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 6)


@pytest.fixture(scope="module")
def answers(tmp_path_factory, simulator):
    """What tests/support/mlu_card.py found, by question."""
    folder = tmp_path_factory.mktemp("card")
    environment = {
        **os.environ, "ANCHOR_MLU_SIM": "2", "ANCHOR_MLU_SIM_MEMORY_GB": "0.08", "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}",
    }  # fmt: skip
    command = [sys.executable, str(ROOT / "tests" / "support" / "mlu_card.py"), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_plain_lightning_trains_on_the_card_in_each_precision(answers):
    names = answers["names"]
    assert names["mlu 32-true"] == ["SingleMLUStrategy", "mlu:0 torch.float32", None]
    strategy, seen, scale = names["mlu 16-mixed"]
    assert (strategy, seen) == ("SingleMLUStrategy", "mlu:0 torch.float16")
    assert scale  # a scaler for CUDA is switched off, and has none
    assert names["ddp bf16-mixed"] == ["MLUDDPStrategy", "mlu:0 torch.bfloat16", None]
    assert names["mlu_ddp 32-true"] == ["MLUDDPStrategy", "mlu:0 torch.float32", None]
    assert names["group"] == "cpu:gloo,mlu:cncl"  # metrics of the CPU travel too
    assert names["resolver"] == ["mlu:1 torch.bfloat16"]


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("auto strategy", "would train on cpu, and an MLU was asked for"),
        ("float32", "bf16-mixed is made for cuda; on an MLU the run would compute in float32"),
        ("lightning's fsdp", "requires a GPU accelerator"),
        ("fork", "a forked process cannot use an MLU"),
        ("notebook", "a forked process cannot use an MLU"),
        ("too many", "asks for MLU 0, 1, 2, and 2 are visible"),
        ("twice", "asks for MLU 0, 0"),
        ("gloo alone", "gloo moves nothing of an MLU"),
        ("16-mixed in fsdp2", "FSDP2 has no scaler for float16" if HAS_FSDP2 else "FSDP2 needs PyTorch 2.6 or later"),
    ],
)
def test_nothing_falls_in_silence(question, says, answers):
    assert says in answers["falls"][question]


def test_bfloat16_is_refused_by_the_name_of_a_card_without_it(answers):
    for sentence in answers["bfloat16"]:
        assert "MLU370-X8 has no bfloat16" in sentence
        assert "Use 16-mixed or 32-true" in sentence


def test_the_machine_of_a_configuration(answers):
    found = answers["machines"]
    assert found["auto"] == "2 x mlu (MLU590-M9, simulated), bf16-mixed"
    for sentence, variable in zip(found["many"], ("ANCHOR_MLU_SIM=2", "MLU_VISIBLE_DEVICES=0,1"), strict=True):
        assert f"accelerator.devices=3: this machine shows 2 MLU cards ({variable})" in sentence
    assert "strategy=fsdp shards a network over cards, and this is 1 x mlu" in found["shard"][0]
    sentence, chosen = found["bf16"]
    assert "DeviceError: precision=bf16-mixed: MLU370-X8 has no bfloat16" in sentence
    assert chosen == "32-true"


def test_checkpoints_move_from_the_card_to_the_cpu_and_back(answers):
    found = answers["checkpoints"]
    assert found["stock"] == "mlu:0"  # as Lightning saves it, and a machine without a card cannot load it
    assert found["places"] == ["cpu"]
    assert found["shared"]
    assert found["difference"] < 1e-6


def test_a_cards_random_numbers_go_on_where_they_stood(answers):
    assert answers["randomness"] == {"same": True, "other": False, "place": "cpu", "off": None}


def test_a_card_is_measured_and_profiled(answers):
    found = answers["measures"]
    assert {"free_bytes", "total_bytes", "current", "peak"} <= set(found["stats"])
    assert found["waits"] >= 8  # the clock of each batch is read when the card is done
    assert "ProfilerActivity.PrivateUse1" in found["activities"]
    assert found["profile"] == ["aten::addmm", "Self CPU"]


def test_the_search_for_a_batch_size_goes_on_when_the_card_is_full(answers):
    assert answers["memory"]["found"] == 1024  # 3 x 2048 x 4096 floats are more than 0.08 GB
    assert answers["memory"]["refused"].startswith("OutOfMemoryError: MLU out of memory. Tried to allocate")


def test_a_pair_of_sizes_is_a_mesh_of_cards(answers):
    assert answers["mesh"] == "mlu"
