"""How many ranks begin to load before the command has looked at their configuration."""

import os
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from launch.cli import _run
from launch.spares import count_spares


@pytest.mark.parametrize(
    ("accelerator", "count"),
    [
        ({"name": "cpu", "devices": 2}, 2),
        ({"name": "mlu", "devices": "2"}, 2),
        ({"name": "auto", "devices": 2}, 0),
        ({"name": "mlu_sim", "devices": 2}, 0),
        ({"name": "cuda", "devices": "auto"}, 0),
        ({"name": "cpu", "devices": "abc"}, 0),
        ({"name": "cpu", "devices": 5000}, 0),
    ],
)
def test_only_ranks_that_are_sure_to_come_begin_to_load(accelerator, count, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert count_spares(accelerator) == count


@pytest.mark.parametrize(("find_batch_size", "count"), [(False, 3), (True, 1)])
def test_the_search_for_a_batch_size_begins_to_load_once(monkeypatch, find_batch_size, count):
    begun = []
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    spares = SimpleNamespace(close=lambda: None)
    monkeypatch.setattr("launch.spares.Spares", lambda number, environment: begun.append(number) or spares)
    monkeypatch.setattr("launch.cli._launch", lambda config, spares: None)
    options = {"accelerator": {"name": "cpu", "devices": 3}, "find_batch_size": find_batch_size}
    _run(OmegaConf.create(options))
    assert begun == [count]
