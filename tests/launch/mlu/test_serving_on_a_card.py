"""`anchor serve device=mlu` on a simulated card: mouths are drawn there, in half precision, and seen in the film."""

import asyncio
import json
import re
import time

import httpx
import pytest
from live_avatars import build_coded
from live_browser import Command
from live_film import GREY, TEXT, mouths, record

pytestmark = pytest.mark.slow


def test_mouths_are_drawn_on_the_card(two_simulated_cards, tmp_path):
    build_coded(tmp_path / "avatars" / "ann")
    log = tmp_path / "log"
    command = Command(tmp_path / "avatars", log, two_simulated_cards, device="mlu", logs="json", max_speaking=2)
    try:
        (line,) = [one for one in map(json.loads, re.findall(r"^\{.*\}$", log.read_text(), re.M)) if "url" in one]
        assert (line["device"], line["precision"]) == ("mlu", "float16")
        with httpx.Client(base_url=command.url, timeout=30) as http:
            id = http.post("/api/sessions", json={}).json()["id"]
            http.post(f"/api/sessions/{id}/say", json={"text": TEXT}).raise_for_status()
            deadline = time.monotonic() + 60

            def is_drawn():
                state = http.get(f"/api/sessions/{id}").json()
                assert time.monotonic() < deadline, state
                return state["mouths"] - state["late"] > 20

            ticks, reds = mouths(asyncio.run(record(command, id, is_drawn)))
            assert ticks == sorted(set(ticks))
            assert (reds > GREY).any()
    finally:
        command.stop()
