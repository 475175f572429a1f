"""Reading: truncated and foreign files are named; headers and decoders agree on the size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from detector.data.image import image_size, read_image, read_with_damage, resize_stretch
from search_spaces.errors import UserError


def saved(path: Path, size: tuple[int, int] = (40, 56)) -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    cv2.imwrite(str(path), noise)
    return path


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
def test_header_and_decoder_agree(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"a{suffix}")
    assert image_size(path) == read_image(path).shape[:2] == (40, 56)


def test_rgb_order(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "red.png"), np.full((8, 8, 3), (0, 0, 255), dtype=np.uint8))
    assert read_image(tmp_path / "red.png")[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.5, 0.99])
def test_truncated_files_are_named(tmp_path: Path, suffix: str, share: float) -> None:
    path = saved(tmp_path / f"cut{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match=rf"cut\{suffix}: the image file is cut short"):
        read_image(path)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16"])
def test_other_kinds_of_pixels_become_rgb(tmp_path: Path, mode: str) -> None:
    levels = np.tile(np.repeat(np.array([0, 255], dtype=np.uint8), 16), (24, 1))
    if mode == "I;16":
        picture = PillowImage.fromarray(levels.astype(np.uint16) * 257)
    else:
        picture = PillowImage.fromarray(np.stack([levels] * 3, axis=2)).convert(mode)
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    picture.save(path)
    found = read_image(path)
    assert found.dtype == np.uint8
    assert image_size(path) == found.shape[:2] == (24, 32)
    np.testing.assert_allclose(found, np.stack([levels] * 3, axis=2), atol=8)


def test_damage_within_a_jpeg_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path / "a.jpg", (200, 300))
    assert read_with_damage(path)[1] == ""
    data = path.read_bytes()
    half = len(data) // 2
    path.write_bytes(data[:half] + b"\xff\xd9" + data[half + 2 :])
    assert read_with_damage(path)[1].startswith("Corrupt JPEG data")
    assert capfd.readouterr().err == ""
    # padding before the end marker, as some cameras write it, harms nothing
    path.write_bytes(data[:-2] + bytes(3) + data[-2:])
    assert read_with_damage(path)[1] == ""


def test_truncated_jpeg_may_be_let_pass(tmp_path: Path) -> None:
    path = saved(tmp_path / "cut.jpg")
    path.write_bytes(path.read_bytes()[:-200])
    assert read_image(path, allow_truncated=True).shape == (40, 56, 3)


def test_other_failures_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.jpg").touch()
    for name, expected in (("text", "not a readable image"), ("empty", "file is empty"), ("gone", "cannot read")):
        with pytest.raises(UserError, match=rf"{name}.jpg: .*{expected}"):
            read_image(tmp_path / f"{name}.jpg")
    with pytest.raises(UserError, match="the image is 56x40 but its annotations say 50x40"):
        read_image(saved(tmp_path / "a.jpg"), expected_hw=(40, 50))


def with_orientation(path: Path, orientation: int) -> None:
    """Insert an EXIF block that holds nothing but an orientation."""
    entry = b"\x01\x12\x00\x03\x00\x00\x00\x01" + orientation.to_bytes(2, "big") + b"\0\0"
    body = b"Exif\0\0MM\x00\x2a\x00\x00\x00\x08\x00\x01" + entry + b"\0\0\0\0"
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + data[2:])


def test_exif_rotation(tmp_path: Path) -> None:
    path = saved(tmp_path / "turned.jpg")
    with_orientation(path, 6)
    assert read_image(path).shape[:2] == image_size(path) == (56, 40)
    assert read_image(path, expected_hw=(40, 56)).shape[:2] == (40, 56)


def test_stretch_scales_each_axis() -> None:
    boxes = np.array([[10, 10, 20, 30]], dtype=np.float32)
    image, moved = resize_stretch(np.zeros((40, 80, 3), dtype=np.uint8), boxes, (80, 40))
    assert image.shape == (80, 40, 3)
    np.testing.assert_allclose(moved, [[5, 20, 10, 60]])
