"""An avatar without a video, and a server that shows it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from live_server import DrawnPictures, Server


@pytest.fixture
def pictures():
    return DrawnPictures()


@pytest.fixture
def workers():
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def run():
    """Run a coroutine to its end."""
    return lambda coroutine: asyncio.run(asyncio.wait_for(coroutine, 60))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("avatars")
    (folder / "ann").mkdir()
    (folder / "bob").mkdir()
    running = Server(folder, max_sessions=3, max_speaking=2, lease_s=2.0)
    yield running
    running.stop()
