"""Hostile pictures and films: playlists that name other files, and headers that claim all the memory there is."""

import resource
import struct
import zlib

import numpy as np
import pytest

from anchor.errors import MediaError
from anchor.imports.pictures import read_picture
from anchor.inference.still import read_still
from anchor.media import probe, read_audio
from anchor.media.container import open_media
from anchor.media.pictures import read_image
from anchor.media.writer import write_video

PLAYLISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\n{other}\n#EXT-X-ENDLIST\n",
    "m3u8-passwd": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "m3u8-net": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
    "m3u8-bom": "\ufeff#EXTM3U\n#EXTINF:1.0,\n{other}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile {name}\n",
    "concat-protocol": "ffconcat version 1.0\nfile concat:{other}|{other}\n",
    "dash": "<?xml version='1.0'?><MPD><Period><AdaptationSet><Representation><BaseURL>{other}</BaseURL>"
    "</Representation></AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
}


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write_video(path, (np.full((64, 64, 3), i, np.uint8) for i in range(10)), audio=np.zeros(6400, np.float32))
    return path


@pytest.mark.parametrize("ending", ["m3u8", "mp4"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_is_no_film(film, kind, ending):
    path = film.with_name(f"list.{ending}")
    path.write_text(PLAYLISTS[kind].format(other=film, name=film.name))
    for read in (probe, read_audio):
        with pytest.raises(MediaError, match="a playlist, which names other files and addresses; none is followed"):
            read(path)


@pytest.mark.parametrize(
    "name", ["concat:a.mp4|b.mp4", "http:x.mp4", "pipe:0", "%03d.mp4", "subfile,,start,0,end,9,,:a"]
)
def test_a_name_is_a_name_and_no_protocol(film, tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(film.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert probe(name).width == 64


def test_the_film_itself_is_read(film):
    with open_media(film) as container:
        assert len(list(container.decode(video=0))) == 10


def bomb_png(path, side):
    """A PNG of zeros, ``side`` pixels square, of a few kilobytes."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    data = b"".join(packer.compress(row * 1000) for _ in range(side // 1000)) + packer.flush()
    head = side.to_bytes(4, "big") * 2 + b"\x01\x00\x00\x00\x00"  # one bit a pixel
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


@pytest.mark.parametrize("side", [9000, 20_000])
def test_a_picture_cannot_claim_all_memory(tmp_path, side):
    bomb_png(tmp_path / "bomb.png", side)
    assert (tmp_path / "bomb.png").stat().st_size < 2e6
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for read in (read_image, read_still):
        with pytest.raises(MediaError, match="more pixels than a picture of a person needs"):
            read(tmp_path / "bomb.png")
    with pytest.raises(MediaError):
        probe(tmp_path / "bomb.png")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


def test_a_film_cannot_claim_all_memory(tmp_path):
    import av

    path = tmp_path / "bomb.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 9000, 9000, "monob"
        frame = av.VideoFrame(9000, 9000, "monob")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MediaError):
        probe(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_timestamps_cannot_claim_all_memory(tmp_path):
    """A hole in the sound becomes silence; one of a thousand hours would be 230 GB of it."""
    from fractions import Fraction

    import av

    path = tmp_path / "hole.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for start in (0, 1000 * 3600 * 16_000):
            frame = av.AudioFrame.from_ndarray(np.ones((1, 1600), np.int16), "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, start, Fraction(1, 16_000)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    with pytest.raises(MediaError, match=r"its sound would last 1000 h, and 12 h are read"):
        read_audio(path)


def wav(path, rate, samples_L, code=1):
    """int16 mono samples under a header that may say anything."""
    data = samples_L.astype("<i2").tobytes()
    head = (
        b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, code, 1, rate, 0, 2, 16)
    )
    path.write_bytes(head + b"data" + struct.pack("<I", len(data)) + data)
    return path


@pytest.mark.parametrize(
    ("rate", "code", "says"),
    [
        (16_000, 0x2401, "FFmpeg does not know the codec of its sound"),  # it was an AttributeError
        (598_949_504, 1, "claims 598949504 samples a second"),
    ],
)
def test_a_header_of_sound_may_say_anything(tmp_path, rate, code, says):
    with pytest.raises(MediaError, match=says):
        read_audio(wav(tmp_path / "a.wav", rate, np.ones(16_000), code))


@pytest.mark.parametrize("rate", [15_999, 44_057])
def test_an_odd_rate_takes_no_memory(tmp_path, rate):
    """A filter of torchaudio's between rates without a common factor takes gigabytes."""
    tone = np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)
    heard = read_audio(wav(tmp_path / "a.wav", rate, 20_000 * tone))
    assert abs(len(heard) - 32_000) <= 2
    expected = np.sin(2 * np.pi * 440 * np.arange(len(heard)) / 16_000) * 20_000 / 32_768
    assert np.abs(heard - expected)[100:-100].max() < 1e-3


def test_a_png_cannot_claim_what_it_does_not_have(tmp_path):
    """OpenCV and Pillow take memory for all that a piece claims: gigabytes for a file of a hundred bytes."""
    bomb_png(tmp_path / "a.png", 1000)
    whole = (tmp_path / "a.png").read_bytes()
    assert read_still(tmp_path / "a.png").shape == (1000, 1000, 3)
    place = whole.index(b"IDAT") - 4
    (tmp_path / "a.png").write_bytes(whole[:place] + b"\xff\xff\xff\xff" + whole[place + 4 :])
    for read in (read_still, read_image):
        with pytest.raises(MediaError, match="cut off or damaged"):
            read(tmp_path / "a.png")
    with pytest.raises(MediaError, match="damaged PNG"):
        read_picture(tmp_path / "a.png", tmp_path)


def test_a_picture_of_a_size_beyond_opencvs_bounds_is_refused(tmp_path):
    """It was OpenCV's own error."""
    head = struct.pack("<IiiHHIIiiII", 40, 2**21, 16, 1, 24, 0, 0, 0, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(b"BM" + struct.pack("<IHHI", 3000, 0, 0, 54) + head + bytes(3000))
    with pytest.raises(MediaError, match="no picture that can be read"):
        read_still(tmp_path / "a.png")
