"""What a picture file is, read from its own structure: turned, with much before EXIF, with other data behind it, cut."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from detector.data.image import fills_the_range, look_at, read_image
from detector.data.picture_header import read_header
from search_spaces.errors import UserError

MARKED = np.zeros((40, 60, 3), np.uint8)
MARKED[:10, :20] = 255
MARKED[30:, 50:] = 128


def jpeg(pixels: npt.NDArray[np.uint8] = MARKED, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=95, **options)
    return out.getvalue()


def exif_segment(orientation: int, order: str = "big") -> bytes:
    mark, code = (b"MM\0*", ">") if order == "big" else (b"II*\0", "<")
    tiff = mark + struct.pack(f"{code}IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    return segment(0xE1, b"Exif\0\0" + tiff)


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def saved(path: Path, kind: str, orientation: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"exif": exif, "quality": 95}, "PNG": {"exif": exif}, "WEBP": {"exif": exif, "lossless": True},
               "TIFF": {"tiffinfo": {0x0112: orientation}}}  # fmt: skip
    Image.fromarray(MARKED).save(path, kind, **options[kind])
    return path


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_turn_of_every_kind_is_as_other_viewers_show_it(tmp_path: Path, kind: str, orientation: int) -> None:
    path = saved(tmp_path / "a", kind, orientation)
    with Image.open(path) as file:
        expected = np.asarray(ImageOps.exif_transpose(file).convert("RGB")).astype(int)
    found = read_image(path)
    np.testing.assert_allclose(found, expected, atol=12)
    assert look_at(path)[:2] == (expected.shape[:2], (40, 60))
    if orientation >= 5:
        np.testing.assert_allclose(read_image(path, expected_hw=(40, 60)), MARKED, atol=100)


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("ahead", [0, 5_000, 60_000])
def test_exif_counts_wherever_it_stands(tmp_path: Path, order: str, ahead: int) -> None:
    profile = segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(ahead))
    path = tmp_path / "a.jpg"
    path.write_bytes(
        b"\xff\xd8" + profile + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0") + exif_segment(6, order) + jpeg()[2:]
    )
    assert read_image(path).shape[:2] == look_at(path)[0] == (60, 40)


@pytest.mark.parametrize(("size", "orientation"), [((640, 637), 1), ((637, 640), 6), ((637, 640), 8), ((1000, 993), 1)])
def test_nearly_square_pictures(tmp_path: Path, size: tuple[int, int], orientation: int) -> None:
    path = tmp_path / "a.jpg"
    data = jpeg(np.zeros((*size, 3), np.uint8))
    path.write_bytes(data[:2] + exif_segment(orientation) + data[2:])
    shown = size if orientation < 5 else size[::-1]
    assert look_at(path) == (shown, size, 8)
    assert read_image(path).shape[:2] == shown


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize(
    "behind",
    [
        b"\0\0\0\x18ftypmp42" + np.random.default_rng(3).bytes(200_000),
        bytes(64) + b"\xff\xda tail",
        b"\xff\xd8\xff\xda",
    ],
)
def test_data_behind_the_picture_are_not_of_it(tmp_path: Path, progressive: bool, behind: bytes) -> None:
    path = tmp_path / "MVIMG_1.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    whole = jpeg(noise, progressive=progressive)
    path.write_bytes(whole + behind)
    assert read_header(whole + behind).whole
    assert read_image(path).shape == (120, 160, 3)
    # cut within its own scan, the second picture's end is not its end
    assert not read_header(whole[:-300] + b"" + jpeg()[:-2]).whole


def test_restart_markers_and_thumbnails_end_no_scan() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    _, data = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2])
    whole = data.tobytes()
    assert b"\xff\xd0" in whole
    with_thumbnail = whole[:2] + segment(0xE1, b"Exif\0\0" + jpeg()) + whole[2:]
    for content in (whole, with_thumbnail):
        assert read_header(content).whole
        assert read_header(content).stored_hw == (64, 64)
        for cut in (len(content) - 2, len(content) - 100):
            assert not read_header(content[:cut]).whole


def test_two_pictures_in_one_file_show_the_first(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    first, second = Image.fromarray(MARKED), Image.fromarray(np.full((20, 30, 3), 99, np.uint8))
    first.save(path, "MPO", save_all=True, append_images=[second], quality=95)
    assert look_at(path)[0] == (40, 60)
    np.testing.assert_allclose(read_image(path), MARKED, atol=12)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp"])
def test_no_bytes_make_the_header_fail(suffix: str) -> None:
    _, data = cv2.imencode(suffix, MARKED)
    content = data.tobytes()
    rng = np.random.default_rng(1)
    for cut in range(0, min(len(content), 600), 7):
        read_header(content[:cut])
    for _ in range(200):
        broken = bytearray(content)
        for place in rng.integers(0, min(len(content), 300), 4).tolist():
            broken[place] = int(rng.integers(256))
        read_header(bytes(broken))


def png_claiming(width: int, height: int, bits: int = 1) -> bytes:
    _, data = cv2.imencode(".png", MARKED)
    content = data.tobytes()
    return content[:16] + struct.pack(">IIBB", width, height, bits, 0) + content[26:]


def test_pictures_beyond_the_limit_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scan.png"
    path.write_bytes(png_claiming(40000, 30000) + bytes(200_000))
    with pytest.raises(
        UserError, match=r"is 40000x30000, 1\.2 gigapixels, above OpenCV's limit .*cut it into tiles, or set"
    ):
        look_at(path)
    monkeypatch.setenv("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 31))
    assert look_at(path)[0] == (30000, 40000)


def test_headers_that_promise_more_than_the_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_claiming(30000, 30000))
    with pytest.raises(UserError, match=r"is damaged: its \d+ bytes cannot hold the 30000x30000 pixels"):
        read_image(path)
    content = bytearray(jpeg())
    frame = content.index(b"\xff\xc0") + 5
    content[frame : frame + 4] = struct.pack(">HH", 60000, 60000)
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UserError, match=r"above OpenCV's limit|is damaged"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_32_bit_samples_say_so(tmp_path: Path, kind: type, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.full((12, 16), 7, kind)).save(path)
    for read in (look_at, read_image):
        with pytest.raises(UserError, match=r"a\.tif: has 32-bit samples; expected 8 or 16 bits, convert it"):
            read(path)
    assert capfd.readouterr().err == ""


def test_twelve_bits_in_sixteen_are_told_apart(tmp_path: Path) -> None:
    levels = np.linspace(0, 4095, 12 * 16).reshape(12, 16).astype(np.uint16)
    for name, samples, fills in (
        ("dark", levels, False),
        ("full", levels * 16, True),
        ("eight", (levels // 16).astype(np.uint8), True),
    ):
        cv2.imwrite(str(tmp_path / f"{name}.png"), samples)
        assert fills_the_range(tmp_path / f"{name}.png") is fills
    assert look_at(tmp_path / "dark.png")[2] == 16


@pytest.mark.parametrize(
    ("start", "kind"), [(b"\0\0\0\x18ftypheic", "HEIC"), (b"GIF89a", "GIF"), (b"%PDF-1.4", "PDF"), (b"<html>", "HTML"),
                        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer")]
)  # fmt: skip
def test_what_is_no_picture_says_what_it_is(tmp_path: Path, start: bytes, kind: str) -> None:
    (tmp_path / "a.jpg").write_bytes(start + bytes(40))
    with pytest.raises(UserError, match=rf"not a readable image \(.*{kind}"):
        read_image(tmp_path / "a.jpg")
