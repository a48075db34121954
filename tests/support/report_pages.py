"""What a report is held to: tags that close, no address outside itself, numbers that are numbers."""

import math
from html.parser import HTMLParser

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


def check_page(path):
    text = path.read_text(encoding="utf-8")
    parser = TagCheck()
    parser.feed(text)
    assert parser.open == []
    assert "http://" not in text
    assert "https://" not in text
    assert "nan" not in text.split("base64")[0].lower().replace("finance", "")
    return text, parser.seen


def is_finite(value):
    if isinstance(value, dict):
        return all(is_finite(item) for item in value.values())
    if isinstance(value, list):
        return all(is_finite(item) for item in value)
    return not isinstance(value, float) or math.isfinite(value)
