"""The face models that Anchor knows: what they are, where they come from, how to tell that they are whole.

Checksums: of YuNet and the face landmarker, computed from copies at hand; YuNet's address names a commit whose
yunet_n_dynamic.onnx is byte for byte the copy at hand, its yunet_n_640_640.onnx was not compared. Of insightface's
packs, those which several independent public projects pin; they were not downloaded to write this table.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PACKS", "ModelFile", "ModelPack", "faults", "is_intact", "place_of"]

_INSIGHTFACE = "https://github.com/deepinsight/insightface/releases/download/v0.7"
_YUNET = "https://github.com/ShiqiYu/libfacedetection.train/raw/dca340aa082c71081a68d17db8e58b33a58a914b/onnx"
_MEDIAPIPE = "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1"
_RESEARCH = "non-commercial research"
_RESEARCH_TERMS = "insightface gives these weights for non-commercial research only; its code is MIT."


@dataclass(frozen=True)
class ModelFile:
    """One file, whole when its bytes have this size and SHA-256."""

    name: str
    sha256: str
    size: int  # bytes


@dataclass(frozen=True)
class ModelPack:
    """A model that can be fetched: one file, or a folder of files that arrive in one archive."""

    name: str
    files: tuple[ModelFile, ...]  # what is kept
    url: str
    licence: str  # its name
    terms: str  # what the user reads before it is fetched: one sentence or two
    gives: str
    archive: ModelFile | None = None  # the zip that the files arrive in; None where the one file is the download
    is_restricted: bool = False  # fetched only where the user accepts the licence

    @property
    def download(self) -> ModelFile:
        """What lies at ``url``."""
        return self.archive or self.files[0]


_DET_10G = ModelFile("det_10g.onnx", "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91", 16_923_827)
_2D106 = ModelFile("2d106det.onnx", "f001b856447c413801ef5c42091ed0cd516fcd21f2d6b79635b1e733a7109dbf", 5_030_888)
_3D68 = ModelFile("1k3d68.onnx", "df5c06b8a0c12e422b2ed8947b8869faa4105387f199c477af038aa01f9a45cc", 143_607_619)
_DET_500M = ModelFile("det_500m.onnx", "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a", 2_524_817)

PACKS = {
    pack.name: pack
    for pack in (
        ModelPack(
            name="yunet",
            files=(
                ModelFile(
                    "yunet_n_640_640.onnx", "25a606a145a5b6d7271ae138fbd00eba91dad8b83222ae3f2c7ecd0f4a7b0e31", 317_466
                ),
            ),
            url=f"{_YUNET}/yunet_n_640_640.onnx",
            licence="Apache-2.0",
            terms="From Shiqi Yu, libfacedetection.train.",
            gives="detector=yunet",
        ),
        ModelPack(
            name="face_landmarker",
            files=(
                ModelFile(
                    "face_landmarker.task",
                    "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
                    3_758_596,
                ),
            ),
            url=f"{_MEDIAPIPE}/face_landmarker.task",
            licence="Apache-2.0",
            terms="From Google. The package mediapipe, which reads it, sends measurements of its use to Google.",
            gives="landmarks=mediapipe (478 points)",
        ),
        # Recognition and gender/age networks are in both archives too: Anchor needs neither, and leaves them there.
        ModelPack(
            name="buffalo_l",
            files=(_DET_10G, _2D106, _3D68),
            archive=ModelFile(
                "buffalo_l.zip", "80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f", 288_621_354
            ),
            url=f"{_INSIGHTFACE}/buffalo_l.zip",
            licence=_RESEARCH,
            terms=_RESEARCH_TERMS,
            gives="detector=insightface, landmarks=insightface (106 points)",
            is_restricted=True,
        ),
        ModelPack(
            name="buffalo_sc",
            files=(_DET_500M,),
            archive=ModelFile(
                "buffalo_sc.zip", "57d31b56b6ffa911c8a73cfc1707c73cab76efe7f13b675a05223bf42de47c72", 14_969_382
            ),
            url=f"{_INSIGHTFACE}/buffalo_sc.zip",
            licence=_RESEARCH,
            terms=_RESEARCH_TERMS,
            gives="detector=insightface (small and quick)",
            is_restricted=True,
        ),
    )
}


def place_of(pack: ModelPack, folder: Path, file: ModelFile) -> Path:
    """Where ``file`` of ``pack`` lies in the models' ``folder``: packs from archives have a folder of their own."""
    return folder / pack.name / file.name if pack.archive else folder / file.name


def faults(pack: ModelPack, folder: Path) -> list[Path]:
    """The files of ``pack`` that are missing from ``folder`` or are not the bytes they should be; [] when whole."""
    places = [(place_of(pack, folder, file), file) for file in pack.files]
    return [path for path, file in places if not is_intact(path, file)]


def is_intact(path: Path, file: ModelFile) -> bool:
    """Whether ``path`` holds exactly the bytes of ``file``."""
    try:
        if path.stat().st_size != file.size:
            return False
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError:
        return False
    return digest.hexdigest() == file.sha256
