"""Shards on a real web server on loopback, one that misbehaves."""

import hashlib
import itertools
import logging
import os
import re
import ssl
import subprocess
import sys
import time
import traceback

import pytest
from remote_workers import QUICK
from servers import WebServer

from anchor.errors import AnchorError, ConfigError, ShardError
from anchor.shards.cache import CacheSettings
from anchor.shards.faults import Fault
from anchor.shards.remote import MissingFileError, RemoteFolder, shown_url
from anchor.shards.retries import Retries

NAME = "shard-000000.tar"
BODY = bytes(range(256)) * 2000
SHA = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def web(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / NAME).write_bytes(BODY)
    (folder / "manifest.json").write_text('{"clips": []}')
    with WebServer(folder) as server:
        yield server


@pytest.fixture
def folder(web, tmp_path):
    return RemoteFolder(web.url, CacheSettings(tmp_path / "cache"), QUICK)


def kept(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").iterdir())


BAD_SERVERS = [  # what it does, what the message says, requests that it gets (None: its client library may repeat some)
    ("hang", "no byte came for 0.4 s (tried 3 times", 3),
    ("stall", "no byte came for 0.4 s (tried 3 times", 3),
    ("trickle", "bytes per second arrive (tried 3 times", 3),
    ("cut", "the connection ended in the middle of the file (tried 3 times", 3),
    ("cut unannounced", f"{len(BODY) // 2} of {len(BODY)} bytes arrived (tried 3 times", 3),
    ("announce less", f"{len(BODY) - 100} bytes lie there, the manifest says {len(BODY)} (tried 2 times", 2),
    ("announce more", "the connection ended in the middle of the file (tried 3 times", 3),
    ("page", "a web page arrived in place of the file (tried once)", 1),
    ("flip", f"arrived, the manifest says {SHA} (tried 2 times", 2),
    ("endless", f"more arrives than the {len(BODY)} bytes of the manifest (tried 2 times", 2),
    ("redirect", "it redirects without end (tried once)", 10),
    ("redirect to file", "it is, or redirects to, no web address (tried once)", 1),
    ("reset", "the connection ended in the middle of the file (tried 3 times", 3),
    ("hang up", "the server hung up without an answer (tried 3 times", None),
    ("babble", "what answers does not speak HTTP (tried 3 times", 3),
    (404, "the server answers 404 Not Found (tried once)", 1),
    (403, "the server answers 403 Forbidden (tried once)", 1),
    (500, "the server answers 500 Internal Server Error (tried 3 times", 3),
    (503, "the server answers 503 Service Unavailable (tried 3 times", 3),
]


@pytest.mark.parametrize(("fault", "message", "requests"), BAD_SERVERS, ids=[str(bad[0]) for bad in BAD_SERVERS])
def test_a_bad_server_ends_in_one_sentence_and_leaves_nothing(web, folder, tmp_path, fault, message, requests):
    web.faults[NAME] = fault
    with pytest.raises(ShardError, match=re.escape(message)) as caught:
        folder.fetch(NAME, len(BODY), SHA)
    text = str(caught.value)
    assert text.startswith(f"{web.url}/{NAME}: ")
    assert text.endswith(".")
    assert "\n" not in text
    assert isinstance(caught.value, FileNotFoundError) == (fault == 404)
    assert requests in (None, web.counts["GET", NAME])
    assert kept(tmp_path) == []
    web.faults.clear()
    assert folder.fetch(NAME, len(BODY), SHA).read_bytes() == BODY


def test_what_passes_is_tried_again_until_it_is_there(web, tmp_path):
    folder = RemoteFolder(web.url, CacheSettings(tmp_path / "cache"), Retries(attempts=6, base_s=0.01, stall_s=0.4))
    web.faults[NAME] = [503, "cut", "reset", "hang", "flip"]
    assert folder.fetch(NAME, len(BODY), SHA).read_bytes() == BODY
    assert web.counts["GET", NAME] == 6
    assert kept(tmp_path) == [SHA]


def test_small_files_ranges_and_sizes_are_read(web, folder):
    assert folder.read("manifest.json") == b'{"clips": []}'
    assert folder.read_range(NAME, 300, 70) == BODY[300:370]
    assert folder.read_range(NAME, len(BODY) - 5, 70) == BODY[-5:]
    assert folder.read_range(NAME, len(BODY), 70) == b""
    assert folder.sizes([NAME, "manifest.json", "nowhere"]) == {NAME: len(BODY), "manifest.json": 13, "nowhere": None}
    assert folder.names() is None
    with pytest.raises(MissingFileError, match=r"/nowhere: the server answers 404"):
        folder.read("nowhere")


@pytest.mark.parametrize("habit", ["no ranges", "no head"])
def test_servers_without_ranges_or_head_are_good_enough(web, folder, habit):
    web.faults[NAME] = habit
    assert folder.read_range(NAME, 300_000, 70) == BODY[300_000:300_070]
    assert folder.sizes([NAME]) == {NAME: len(BODY)}


def test_another_range_than_the_one_asked_for_is_refused(web, folder):
    web.faults[NAME] = "wrong range"
    with pytest.raises(ShardError, match="bytes from 0 arrived, and from 300 were asked for"):
        folder.read_range(NAME, 300, 10)


@pytest.mark.parametrize("fault", [None, "endless"])
def test_a_small_file_that_is_large_is_refused(web, folder, fault):
    web.faults[NAME] = fault
    with pytest.raises(ShardError, match=r"such a file has at most 1000 bytes \(tried once\)"):
        folder.read(NAME, limit=1000)


@pytest.mark.parametrize("fault", ["cut", "page", "announce more", "hang", 500])
def test_half_a_small_file_never_arrives(web, folder, fault):
    web.faults["manifest.json"] = fault
    with pytest.raises(ShardError, match=r"manifest\.json: "):
        folder.read("manifest.json")
    web.faults["manifest.json"] = [fault] if fault != "page" else None
    assert folder.read("manifest.json") == b'{"clips": []}'


def test_sizes_of_a_thousand_files_come_in_one_go_and_only_failures_are_repeated(web, folder):
    names = [f"shard-{number:06d}.idx" for number in range(1000)]
    for name in names:
        (web.folder / name).write_bytes(b"x" * (len(name) % 7))
    web.faults["shard-000500.idx"] = [503, 503]
    sizes = folder.sizes([*names, "missing"])
    assert sizes == {**{name: len(name) % 7 for name in names}, "missing": None}
    assert web.counts["HEAD", "shard-000500.idx"] == 3
    assert web.counts["HEAD", "shard-000501.idx"] == 1
    web.faults.update({names[3]: 500, names[4]: 500})
    with pytest.raises(ShardError, match=r"500 Internal Server Error for shard-00000[34].idx \(and 1 more files\)"):
        folder.sizes(names)


def test_no_message_shows_a_secret_and_the_server_gets_it(web, tmp_path, caplog):
    url = web.url.replace("://", "://alice77:hunter2@") + "?signature=swordfish#part"
    folder = RemoteFolder(url, CacheSettings(tmp_path / "cache"), QUICK)
    folder.read("manifest.json")
    assert web.headers["manifest.json"]["Authorization"].startswith("Basic ")
    shown = [folder.url, repr(folder), str(folder)]
    fetch, sizes = lambda: folder.fetch(NAME, len(BODY), SHA), lambda: folder.sizes([NAME])
    with caplog.at_level(logging.DEBUG, logger="anchor"):
        for fault, deed in itertools.product(("cut", "hang up", "babble", "redirect", 403, 404, 500), (fetch, sizes)):
            web.faults[NAME] = fault
            if deed is sizes and fault in ("cut", 404):
                deed()
                continue
            with pytest.raises(AnchorError) as caught:
                deed()
            shown += traceback.format_exception(caught.value)
    shown += caplog.messages
    assert len(shown) > 12
    assert not [text for text in shown if "hunter2" in text or "swordfish" in text or "alice77" in text]
    assert folder.url == web.url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a:b@host:81/x/?q=1", "https://host:81/x"),
        ("https://a:b%40c@host/x@y#z", "https://host/x@y"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("https://host?q=a/b", "https://host"),
    ],
)
def test_addresses_are_shown_without_secrets(url, shown):
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("pipe:cat /etc/passwd", "pipe: would run a command"),
        ("pipe://cat", "pipe: would run a command"),
        ("ftp://host/set", "Anchor reads shards from a folder, https://, http:// and s3://, not from ftp:"),
        ("gs://bucket/set", "not from gs:"),
        ("http:///set", "is no web address"),
        ("http://u:secret@host:99999/set", r"^http://host:99999/set is no web address"),
        ("s3://", "an S3 address is s3://bucket/folder"),
        ("s3://key:secret@bucket/set", r"^s3://bucket/set: an S3 address"),
    ],
)
def test_other_addresses_are_refused_by_name(url, message):
    with pytest.raises(ConfigError, match=message):
        RemoteFolder(url)


@pytest.mark.parametrize("name", ["", "../manifest.json", "a/b", "http://other/x", ".hidden", "a\\b", "a\nb"])
def test_names_that_leave_the_folder_are_refused(folder, web, name):
    for deed in (folder.read, lambda n: folder.sizes([n]), lambda n: folder.fetch(n, 1, SHA)):
        with pytest.raises(ShardError, match="no plain file name"):
            deed(name)
    assert not web.counts


@pytest.mark.parametrize("sha256", ["", "../../x", SHA.upper(), SHA + "\n"])
def test_checksums_that_are_none_never_become_a_path(folder, web, sha256):
    with pytest.raises(ShardError, match="which is none"):
        folder.fetch(NAME, len(BODY), sha256)
    assert not web.counts


def test_odd_names_and_folders_reach_the_server(tmp_path):
    folder = tmp_path / "x"
    folder.mkdir()
    with WebServer(folder) as web:
        remote = RemoteFolder(web.url.replace("/set", "/a b/ü%20?sig=%2B%2F"), CacheSettings(tmp_path / "c"), QUICK)
        with pytest.raises(MissingFileError):
            remote.read("a b?c#d%.json")
        assert list(web.counts) == [("GET", "a%20b%3Fc%23d%25.json")]


def test_nobody_listening_is_said(tmp_path):
    with WebServer(tmp_path) as web:
        gone = web.url
    with pytest.raises(ShardError, match=r"it cannot be reached \(Connection refused\) \(tried 3 times"):
        RemoteFolder(gone, CacheSettings(tmp_path / "cache"), QUICK).read("manifest.json")


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ConfigError, match=r"pip install 'virtual-anchor\[s3\]'"):
        RemoteFolder("s3://bucket/set").read("manifest.json")


def test_pauses_grow_with_jitter_up_to_their_cap_and_end_with_the_time(monkeypatch):
    clock, pauses = [0.0], []

    def sleep(seconds):
        pauses.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", sleep)

    def fail(deadline):
        raise Fault("no")

    with pytest.raises(Fault) as caught:
        Retries(attempts=7, base_s=1.0, cap_s=4.0, total_s=1000).run("there", fail)
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses, [1, 2, 4, 4, 4, 4], strict=True))
    assert len(set(pauses)) == 6
    assert "no (tried 7 times in " in caught.value.sentence("there")
    clock[0], before = 0.0, len(pauses)
    with pytest.raises(Fault):
        Retries(attempts=1000, base_s=1.0, cap_s=4.0, total_s=20.0).run("there", fail)
    assert sum(pauses[before:]) < 20.0


def _certificate(folder):
    """A key and a certificate for 127.0.0.1 that only this test trusts."""
    import datetime
    import ipaddress

    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def test_https_needs_a_certificate_that_is_trusted(web, tmp_path):
    _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with WebServer(web.folder, "https", context) as secure:
        folder = RemoteFolder(secure.url, CacheSettings(tmp_path / "cache"), QUICK)
        with pytest.raises(ShardError, match=r"no secure connection comes about \(.*certificate.*\) \(tried once\)"):
            folder.read("manifest.json")
        code = f"from anchor.shards.remote import RemoteFolder as R; print(R({secure.url!r}).read('manifest.json'))"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True,
            env={**os.environ, "SSL_CERT_FILE": str(tmp_path / "cert.pem")},
        )  # fmt: skip
    assert done.stdout == "b'{\"clips\": []}'\n", done.stderr
