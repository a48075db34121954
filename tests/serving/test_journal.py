"""One line an event, and no secret in it."""

import io
import json
import logging

import pytest

from anchor.serving.journal import Journal
from anchor.serving.metrics import Histogram


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_line_an_event_and_no_secret(form):
    out = io.StringIO()
    journal = Journal(form, out)
    journal.tell("sentence", {"session": 3, "text": "a secret\nof two lines", "id": "secret", "token": "secret"})
    journal.tell("on_air", {"url": "http://here/"}, "me on air: http://here/")
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert "secret" not in lines[0]
    if form == "json":
        first, second = map(json.loads, lines)
        assert (first["event"], first["session"], first["characters"]) == ("sentence", 3, 21)
        assert first["at"].endswith("Z")
        assert second["url"] == "http://here/"
    else:
        assert "sentence session=3 characters=21" in lines[0]
        assert lines[1] == "me on air: http://here/"


def test_warnings_of_libraries_are_events_and_a_closed_output_ends_nothing():
    out = io.StringIO()
    journal = Journal("json", out)
    journal.take_over("a.library")
    logging.getLogger("a.library").warning("two\nlines")
    logging.getLogger("a.library").info("nobody asked")
    (line,) = out.getvalue().splitlines()
    assert json.loads(line)["message"] == "two"
    out.close()
    journal.tell("closed", {})


def test_a_histogram_counts_up_to_each_bound():
    histogram = Histogram()
    for seconds in (0.05, 0.1, 0.22, 9.0):
        histogram.add(seconds)
    lines = histogram.lines("first_sound_seconds", "how long")
    assert 'anchor_first_sound_seconds_bucket{le="0.1"} 2' in lines
    assert 'anchor_first_sound_seconds_bucket{le="0.25"} 3' in lines
    assert 'anchor_first_sound_seconds_bucket{le="+Inf"} 4' in lines
    assert "anchor_first_sound_seconds_count 4" in lines
