import contextlib
import hashlib
import http.server
import re
import shutil
import threading
import urllib.request
import zipfile
from pathlib import Path

import pytest

from anchor.arguments import parse_arguments
from anchor.errors import ConfigError, FaceError
from anchor.faces import fetch as fetch_module
from anchor.faces.fetch import fetch
from anchor.faces.packs import PACKS, ModelFile, ModelPack
from anchor.faces.stock import list_models

DET, MARKS = b"a detector" * 5000, b"marks" * 3000


def describe(name, content):
    return ModelFile(name, hashlib.sha256(content).hexdigest(), len(content))


def zip_of(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def tiny(bare, monkeypatch):
    """A pack "tiny" in the table, and the archive of it; ``tiny(members)`` makes another archive of that name."""

    def make(members, restricted=False):
        archive = zip_of(bare / "tiny.zip", members)
        pack = ModelPack(
            name="tiny",
            files=(describe("det_10g.onnx", DET), describe("2d106det.onnx", MARKS)),
            archive=describe("tiny.zip", archive.read_bytes()),
            url=archive.as_uri(),
            licence="tests",
            terms="For tests only.",
            gives="nothing",
            is_restricted=restricted,
        )
        monkeypatch.setitem(PACKS, "tiny", pack)
        return archive

    return make


GOOD = {"det_10g.onnx": DET, "2d106det.onnx": MARKS, "w600k_r50.onnx": b"not kept"}


def test_the_table_is_complete():
    for name, pack in PACKS.items():
        assert name == pack.name
        assert pack.url.startswith("https://")
        assert pack.licence
        assert pack.terms.endswith(".")
        for file in (*pack.files, pack.download):
            assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
            assert file.size > 0
        assert pack.is_restricted == ("non-commercial" in pack.licence)
    assert {name for name, pack in PACKS.items() if pack.is_restricted} == {"buffalo_l", "buffalo_sc"}


@pytest.mark.parametrize("folder", ["", "tiny/"])
def test_a_pack_arrives_whole_and_once(tiny, bare, capsys, folder):
    tiny({folder + name: content for name, content in GOOD.items()})
    fetch(name="tiny", out=bare / "models")
    pack = bare / "models" / "tiny"
    assert {path.name: path.read_bytes() for path in pack.iterdir()} == {"det_10g.onnx": DET, "2d106det.onnx": MARKS}
    assert [path.name for path in (bare / "models").iterdir()] == ["tiny"]  # and nothing half done
    assert "licence: tests. For tests only." in capsys.readouterr().out
    (bare / "tiny.zip").unlink()
    fetch(name="tiny", out=bare / "models")
    assert "there and whole" in capsys.readouterr().out


def test_a_damaged_pack_is_fetched_again(tiny, bare, capsys):
    tiny(GOOD)
    fetch(name="tiny", out=bare)
    (bare / "tiny" / "det_10g.onnx").write_bytes(DET[:-1] + b"?")  # the same size
    (bare / "tiny" / "mine.onnx").write_bytes(b"the user's own")
    fetch(name="tiny", out=bare)
    assert "det_10g.onnx is damaged and is replaced" in capsys.readouterr().out
    assert (bare / "tiny" / "det_10g.onnx").read_bytes() == DET
    assert (bare / "tiny" / "mine.onnx").exists()


def test_models_go_where_they_are_looked_for(tiny, bare, monkeypatch):
    tiny(GOOD)
    fetch(name="tiny")
    assert (bare / ".cache" / "anchor" / "models" / "tiny" / "det_10g.onnx").exists()
    monkeypatch.setenv("ANCHOR_MODELS", str(bare / "named"))
    fetch(name="tiny")
    assert (bare / "named" / "tiny" / "det_10g.onnx").exists()


@pytest.mark.parametrize("name", ["buffalo_l", "buffalo_sc"])
def test_a_licence_is_accepted_by_the_user_or_nothing_is_fetched(bare, name, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(urllib.request, "urlopen", lambda *args, **kwargs: asked.append(args))
    with pytest.raises(ConfigError, match=r"non-commercial research.*Add accept_licence=true"):
        fetch(**parse_arguments(fetch, [f"name={name}"]))
    assert "non-commercial research" in capsys.readouterr().out
    assert asked == []
    assert list(bare.iterdir()) == []


def test_an_accepted_licence_fetches_what_the_table_says(bare, monkeypatch):
    asked = []

    def refuse(request, timeout):
        asked.append((request.full_url, timeout))
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(FaceError, match=r"no network.*By hand: bring https://.*sha256 80ffe37d.*url=FILE") as caught:
        fetch(**parse_arguments(fetch, ["name=buffalo_l", "accept_licence=true"]))
    assert asked == [(PACKS["buffalo_l"].url, fetch_module.TIMEOUT_S)]
    assert "\n" not in str(caught.value)


def test_a_mirror_must_have_the_same_bytes(bare):
    mirror = bare / "yunet.onnx"
    mirror.write_bytes(b"something else")
    for url in (str(mirror), mirror.as_uri()):
        with pytest.raises(FaceError, match=r"gave 14 bytes with sha256 [0-9a-f]{64}.*sha256 25a606a1.*Nothing was"):
            fetch(name="yunet", url=url, out=bare / "models")
    mirror.write_bytes(bytes(400_000))
    with pytest.raises(FaceError, match="longer than the 317466 bytes"):
        fetch(name="yunet", url=str(mirror), out=bare / "models")
    assert list((bare / "models").iterdir()) == []


def test_the_real_files_are_those_of_the_table(bare, data_dir, capsys):
    shared = data_dir / "models"
    fetch(name="yunet", url=str(shared / "yunet_n_640_640.onnx"), out=bare)
    fetch(name="face_landmarker", url=str(shared / "face_landmarker_v2_with_blendshapes.task"), out=bare)
    assert (bare / "yunet_n_640_640.onnx").stat().st_size == 317_466
    capsys.readouterr()
    rows = listed(capsys, bare)
    assert rows["yunet"][0] == rows["face_landmarker"][0] == "present"


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"../det_10g.onnx": DET, "2d106det.onnx": MARKS}, r"holds no det_10g\.onnx"),
        ({"/det_10g.onnx": DET, "2d106det.onnx": MARKS}, r"holds no det_10g\.onnx"),
        ({"det_10g.onnx": DET}, r"holds no 2d106det\.onnx"),
        ({"det_10g.onnx": DET * 100, "2d106det.onnx": MARKS}, r"another det_10g\.onnx"),
        ({"det_10g.onnx": DET[::-1], "2d106det.onnx": MARKS}, r"another det_10g\.onnx"),
    ],
)
def test_an_archive_gives_only_what_is_listed(tiny, bare, members, complaint):
    tiny(members)
    with pytest.raises(FaceError, match=complaint):
        fetch(name="tiny", out=bare / "deep" / "models")
    assert list((bare / "deep").rglob("*.onnx")) == []
    assert list((bare / "deep" / "models").iterdir()) == []


def test_a_link_in_an_archive_is_not_followed(tiny, bare):
    link = zipfile.ZipInfo("det_10g.onnx")
    link.external_attr = 0o120777 << 16
    tiny({link: "/etc/passwd", "2d106det.onnx": MARKS})
    with pytest.raises(FaceError, match=r"holds no det_10g\.onnx"):
        fetch(name="tiny", out=bare / "models")


def test_what_is_no_archive_is_said(tiny, bare):
    archive = tiny(GOOD)
    archive.write_bytes(b"PK not really")
    pack = PACKS["tiny"]
    PACKS["tiny"] = ModelPack(**{**vars(pack), "archive": describe("tiny.zip", archive.read_bytes())})
    with pytest.raises(FaceError, match=r"tiny\.zip is no archive"):
        fetch(name="tiny", out=bare / "models")


@pytest.fixture
def server(tmp_path):
    """A real HTTP server: ``/short`` ends before the length it promised, ``/gone`` is 404, ``/long`` is 256 MB."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = (tmp_path / "tiny.zip").read_bytes()
            if self.path == "/long":
                self.send_response(200)
                self.end_headers()
                with contextlib.suppress(OSError):
                    for _ in range(256):
                        self.wfile.write(bytes(1 << 20))
                    (tmp_path / "all of it was taken").touch()
                return
            self.send_response(404 if self.path == "/gone" else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if self.path == "/short" else body)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_download_over_http(tiny, bare, server):
    tiny(GOOD)
    for path, complaint in (("/short", r"."), ("/gone", r"cannot be fetched from .*Not Found")):
        with pytest.raises(FaceError, match=rf"{complaint}.*By hand: bring .*url=FILE out={bare / 'models'}"):
            fetch(name="tiny", url=server + path, out=bare / "models")
        assert list((bare / "models").iterdir()) == []
    fetch(name="tiny", url=server + "/good", out=bare / "models")
    assert (bare / "models" / "tiny" / "det_10g.onnx").read_bytes() == DET


def test_what_is_too_long_is_not_read_to_its_end(tiny, bare, server):
    tiny(GOOD)
    with pytest.raises(FaceError, match=r"/long is longer than the \d+ bytes of tiny\.zip"):
        fetch(name="tiny", url=server + "/long", out=bare / "models")
    assert not (bare / "all of it was taken").exists()


def test_nobody_answers(tiny, bare):
    tiny(GOOD)
    with pytest.raises(FaceError, match=r"cannot be fetched from http://127\.0\.0\.1:9/tiny.*refused"):
        fetch(name="tiny", url="http://127.0.0.1:9/tiny", out=bare / "models")


def test_an_interrupted_fetch_leaves_nothing(tiny, bare, monkeypatch):
    tiny(GOOD)

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch_module, "_show_progress", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(name="tiny", out=bare / "models")
    assert list((bare / "models").iterdir()) == []


def test_what_cannot_be_asked_for(tiny, bare):
    tiny(GOOD)
    with pytest.raises(ConfigError, match=r"no model Anchor knows.*Did you mean buffalo_l\?.*yunet"):
        fetch(name="bufalo_l")
    for url in ("ftp://host/tiny.zip", str(bare / "nowhere.zip"), "data:,x"):
        with pytest.raises(ConfigError, match=r"neither https://"):
            fetch(name="tiny", url=url, out=bare)
    (bare / "file").write_text("in the way")
    with pytest.raises(FaceError, match=r"tiny cannot be written to .*file.*out=DIR"):
        fetch(name="tiny", out=bare / "file" / "models")


def listed(capsys, out):
    """The table by name: state, use, licence and place."""
    list_models(out=out)
    *lines, hint = capsys.readouterr().out.splitlines()
    assert hint.startswith("anchor models fetch")
    return {name: row for name, *row in (re.split(" {2,}", line) for line in lines)}


def test_the_list_tells_present_absent_damaged_and_unlisted(tiny, bare, models, capsys):
    rows = listed(capsys, bare / "nowhere")
    assert all(rows[name][0] == "absent" for name in PACKS)
    assert rows["buffalo_l"][2] == "non-commercial research"
    tiny(GOOD)
    fetch(name="tiny", out=bare)
    capsys.readouterr()
    shutil.copytree(models / "buffalo_l", bare / "antelopev2")
    shutil.copytree(models / "buffalo_l", bare / "buffalo_l")  # its files are not those of the table
    (bare / "other_yunet.onnx").write_bytes(b"unknown")
    rows = listed(capsys, bare)
    assert rows["tiny"] == ["present", "nothing", "tests", str(bare / "tiny")]
    assert rows["buffalo_l"][0] == "damaged"
    assert rows["antelopev2"] == ["unlisted", "?", "not known to Anchor", str(bare / "antelopev2")]
    assert rows["other_yunet"][0] == "unlisted"
    (bare / "tiny" / "2d106det.onnx").unlink()
    assert listed(capsys, bare)["tiny"][0::3] == ["damaged", f"{bare / 'tiny' / '2d106det.onnx'} is missing"]


def test_a_known_file_is_known_under_another_name(bare, data_dir, capsys):
    task = data_dir / "models" / "face_landmarker_v2_with_blendshapes.task"
    shutil.copy(task, bare)
    rows = listed(capsys, bare)
    assert rows["face_landmarker"][0::3] == ["present", str(bare / task.name)]
    assert Path(task.name).stem not in rows
