"""Avatars that come, change and go while sessions are on air."""

import asyncio
import dataclasses

import pytest
from live_server import load_face, open_avatar

from anchor.errors import AnchorError
from anchor.serving.shelf import Shelf


class Press:
    """In the place of the drawing process: notes what it is told; a folder with "heavy" in it is too much for it."""

    def __init__(self):
        self.held = {}

    async def add(self, name, path):
        load_face(path)
        if path.endswith("heavy"):
            raise AnchorError("out of memory.")
        self.held[name] = path
        return dict.fromkeys((1, 2, 4, 8, 16), 0.001)

    def forget(self, name):
        del self.held[name]


def put(folder, name, content="1"):
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "avatar.json").write_text(content)


@pytest.fixture
def folder(tmp_path):
    put(tmp_path, "ann")
    put(tmp_path, "bob")
    return tmp_path


def test_a_broken_change_leaves_what_is_on_air(folder):
    async def life():
        press = Press()
        shelf = Shelf(open_avatar, press)
        first = await shelf.load(folder)
        assert (first.added, first.refused) == (["ann", "bob"], [])
        before = shelf.avatars["ann"]
        assert dataclasses.asdict(await shelf.load(folder)) == {
            "added": [], "changed": [], "removed": [], "refused": [],
        }, "nothing has changed, nothing is opened again"  # fmt: skip

        put(folder, "ann", "22")
        (folder / "ann" / "bad").touch()
        put(folder, "heavy")
        second = await shelf.load(folder)
        assert [sentence.partition(":")[0] for sentence in second.refused] == ["ann", "heavy"]
        assert shelf.avatars["ann"] is before
        assert before.key in press.held
        assert "heavy" not in shelf.avatars

        (folder / "ann" / "bad").unlink()
        third = await shelf.load(folder)
        assert (third.changed, [sentence[:5] for sentence in third.refused]) == (["ann"], ["heavy"])
        now = shelf.avatars["ann"]
        assert now.key != before.key
        shelf.forget_unused({before.key})
        assert {before.key, now.key} <= set(press.held), "a session still shows the old one"
        shelf.forget_unused(set())
        assert before.key not in press.held
        assert set(shelf.costs) == {one.key for one in shelf.avatars.values()}

        for file in (folder / "bob").iterdir():
            file.unlink()
        (folder / "bob").rmdir()
        assert (await shelf.load(folder)).removed == ["bob"]
        assert list(shelf.avatars) == ["ann"]

    asyncio.run(life())


def test_two_of_one_name_are_not_mixed(folder):
    async def life():
        shelf = Shelf(lambda path: dataclasses.replace(open_avatar(path), name="one"), Press())
        changes = await shelf.load(folder)
        assert changes.added == ["one"]
        assert "another avatar is named" in changes.refused[0]

    asyncio.run(life())
