"""Pictures of a clip, asked for by several threads at once, as sessions of one avatar do."""

import subprocess
import sys

import pytest
from small_avatars import built, checkpoint, picture, stand_in_detector, video  # noqa: F401

from anchor.avatars.avatar import Avatar
from anchor.avatars.pictures import ClipPictures
from anchor.errors import AvatarError

TOGETHER = """
import sys, threading
from anchor.avatars.avatar import Avatar
clip = Avatar.open(sys.argv[1]).idle
wanted = [int(clip.pictures[number].sum()) for number in range(4)]
wrong = []
def look():
    for _ in range(150):
        for number in range(4):
            if int(clip.pictures[number].sum()) != wanted[number]:
                wrong.append(number)
threads = [threading.Thread(target=look) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
sys.exit(f"{len(wrong)} pictures are another's") if wrong else print("alike")
"""


def test_threads_that_share_a_picture_see_it_whole(built):  # noqa: F811
    done = subprocess.run([sys.executable, "-c", TOGETHER, str(built)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "alike"), done.stderr[-500:]


def test_a_film_of_no_known_codec_is_refused(built, tmp_path):  # noqa: F811
    pictures = Avatar.open(built).idle.pictures
    strange = tmp_path / "idle.mp4"
    strange.write_bytes(pictures.path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(AvatarError, match=r"idle\.mp4 is no H\.264 video"):
        ClipPictures(strange, len(pictures), pictures.size)
