"""Every kind of bad and unusual image: decoded by rule, or skipped with a reason, and never a crash."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from bitface.data.images import MAX_PIXELS, ImageSkipped, image_size, pixels_of, read_image
from bitface.errors import BitfaceError

DOWN, RIGHT = np.mgrid[:120, :90]
PHOTO = np.stack([RIGHT * 2, DOWN, np.full_like(DOWN, 60)], -1).astype(np.uint8)


def encode(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def written(folder: Path, content: bytes, name: str = "face.jpg") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def reason(path: Path) -> str:
    with pytest.raises(ImageSkipped) as caught:
        read_image(path)
    assert isinstance(caught.value, BitfaceError)
    assert caught.value.reason
    assert "\n" not in caught.value.reason
    return caught.value.reason


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("form", ["PNG", "BMP", "PPM", "TIFF"])
def test_lossless_formats_give_the_very_pixels_whatever_the_name(tmp_path: Path, form: str) -> None:
    image = read_image(written(tmp_path, encode(Image.fromarray(PHOTO), form), "named.jpg"))
    assert image.dtype == np.uint8
    assert image.flags.writeable
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, PHOTO)


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "GIF"])
def test_lossy_formats_come_near(tmp_path: Path, form: str) -> None:
    image = read_image(written(tmp_path, encode(Image.fromarray(PHOTO), form)))
    assert np.abs(image.astype(int) - PHOTO).mean() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(Image.fromarray(PHOTO), form, exif=exif)
    oracle = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    assert oracle.shape == ((120, 90, 3) if orientation < 5 else (90, 120, 3))
    path = written(tmp_path, content)
    np.testing.assert_array_equal(read_image(path), oracle)
    assert image_size(path) == oracle.shape[:2]
    with Image.open(path) as opened:  # which isn't decoded yet, and then is
        np.testing.assert_array_equal(pixels_of(opened), oracle)
        np.testing.assert_array_equal(pixels_of(opened), oracle)


def test_grey_and_palette(tmp_path: Path) -> None:
    grey = read_image(written(tmp_path, encode(Image.fromarray(PHOTO[..., 0]), "PNG")))
    np.testing.assert_array_equal(grey, np.repeat(PHOTO[..., :1], 3, axis=2))
    flat = np.zeros((40, 40, 3), np.uint8)
    flat[20:] = (250, 128, 7)
    palette = Image.fromarray(flat).convert("P", palette=Image.Palette.ADAPTIVE, colors=2)
    np.testing.assert_array_equal(read_image(written(tmp_path, encode(palette, "PNG"))), flat)
    bits = read_image(written(tmp_path, encode(Image.fromarray(PHOTO[..., 0] > 90), "PNG")))
    assert set(np.unique(bits)) == {0, 255}


def test_transparency_is_composited_onto_black(tmp_path: Path) -> None:
    alpha = np.array([[255, 0, 128]], np.uint8).repeat(2, axis=0)
    rgba = np.dstack([np.full((2, 3, 3), 200, np.uint8), alpha])
    expected = [[200] * 3, [0] * 3, [100] * 3]
    for image in (Image.fromarray(rgba), Image.fromarray(rgba[..., 2:])):
        decoded = read_image(written(tmp_path, encode(image, "PNG")))
        assert np.abs(decoded[0].astype(int) - expected).max() <= 1
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([10, 20, 30, 200, 100, 50])
    decoded = read_image(written(tmp_path, encode(palette, "PNG", transparency=1)))
    np.testing.assert_array_equal(decoded, [[[10, 20, 30], [0, 0, 0]]])


def test_cmyk_jpeg_keeps_light_light(tmp_path: Path) -> None:
    image = read_image(written(tmp_path, encode(Image.fromarray(PHOTO).convert("CMYK"), "JPEG", quality=95)))
    assert np.abs(image.astype(int) - PHOTO).mean() < 5


@pytest.mark.parametrize("form", ["PNG", "PPM", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path, form: str) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    image = read_image(written(tmp_path, encode(Image.fromarray(ramp), form)))
    np.testing.assert_array_equal(image[..., 1], np.round(ramp / 257).astype(np.uint8))


def test_16_bit_colour_is_scaled_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 32 * 32 * 3).astype(">u2").reshape(32, 32, 3)
    rows = b"".join(b"\0" + row.tobytes() for row in ramp)
    image = read_image(written(tmp_path, png(32, 32, 16, 2, rows)))
    assert np.abs(image - ramp / 257).max() <= 1


def test_wider_pixels_are_skipped(tmp_path: Path) -> None:
    wide = Image.fromarray(np.full((40, 40), 70_000, np.int32))
    assert "16 bits" in reason(written(tmp_path, encode(wide, "TIFF")))
    real = Image.fromarray(np.ones((40, 40), np.float32))
    assert "floating-point" in reason(written(tmp_path, encode(real, "TIFF")))


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animations_give_their_first_frame(tmp_path: Path, form: str) -> None:
    first, second = Image.new("RGB", (40, 40), (250, 0, 0)), Image.new("RGB", (40, 40), (0, 0, 250))
    image = read_image(written(tmp_path, encode(first, form, save_all=True, append_images=[second])))
    assert np.abs(image.astype(int) - (250, 0, 0)).max() < 8


@pytest.mark.parametrize("shape", [(1, 1), (1, 20_000)])
def test_odd_sizes_decode(tmp_path: Path, shape: tuple[int, int]) -> None:
    content = encode(Image.fromarray(np.zeros((*shape, 3), np.uint8)), "PNG")
    assert read_image(written(tmp_path, content)).shape == (*shape, 3)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF"])
def test_truncated_files_are_skipped(tmp_path: Path, form: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    content = encode(Image.fromarray(noise), form)
    reason(written(tmp_path, content[: int(share * len(content))]))


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"\xff\xd8", b"not an image\n" * 9, b"%PDF-1.4\n" + bytes(99), b"BM" + bytes(60)],
    ids=["empty", "one byte", "start of a JPEG", "text", "another format", "zeros in a BMP"],
)
def test_what_is_no_image_is_skipped(tmp_path: Path, content: bytes) -> None:
    reason(written(tmp_path, content))


def test_other_formats_of_the_decoder_are_refused(tmp_path: Path) -> None:
    assert "JPEG, PNG" in reason(written(tmp_path, encode(Image.fromarray(PHOTO), "PCX")))


def test_what_is_no_file_is_skipped(tmp_path: Path) -> None:
    assert "No such file" in reason(tmp_path / "missing.png")
    assert "regular file" in reason(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "regular file" in reason(tmp_path / "pipe.jpg")


@pytest.mark.parametrize("side", [8_001, 12_000, 50_000])
def test_bombs_are_refused_by_their_header(tmp_path: Path, side: int) -> None:
    assert side * side > MAX_PIXELS
    size = struct.pack("<HH", side, side)
    gif = b"GIF89a" + size + b"\xf0\0\0" + bytes(6) + b"," + bytes(4) + size + b"\0\x02\x02D\x01\0;"
    for bomb in (png(side, side, 8, 2, bytes(1000)), f"P6 {side} {side} 255\n".encode() + bytes(1000), gif):
        assert "64 megapixels" in reason(written(tmp_path, bomb))


SEEDS = [
    encode(Image.fromarray(PHOTO), form, **options)
    for form, options in (
        [(form, {}) for form in ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF", "GIF")]
        + [("TIFF", {"compression": kind}) for kind in ("tiff_lzw", "tiff_deflate", "jpeg")]
        + [("JPEG", {"progressive": True})]
    )
]


def survives(path: Path) -> None:
    try:
        image = read_image(path)
    except ImageSkipped:
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_fuzzed_files_never_crash(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(1, 8))):
        # Headers are where the harm is.
        content[data.draw(st.integers(0, min(len(content), 300) - 1))] = data.draw(st.integers(0, 255))
    survives(written(tmp_path, bytes(content[: data.draw(st.integers(1, len(content)))])))


def test_damaged_files_are_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for turn in range(600):
            content = bytearray(SEEDS[turn % len(SEEDS)])
            for place in random.integers(0, len(content), 6):
                content[place] = random.integers(256)
            survives(written(tmp_path, bytes(content)))
    assert not caught
    output = capfd.readouterr()
    assert output.out == ""
    assert output.err == ""


def deep_tiff(values: np.ndarray, bits: int, sample_format: int = 1, photometric: int = 1) -> bytes:
    """An uncompressed grey TIFF, little-endian, in one strip; numbers of 12 bits are packed, the highest bits first."""
    height, width = values.shape
    if bits == 12:
        pairs = values.reshape(height, -1, 2).astype(np.uint32)
        whole = pairs[..., 0] << 12 | pairs[..., 1]
        strip = np.stack([whole >> 16, whole >> 8 & 255, whole & 255], -1).astype(np.uint8).tobytes()
    else:
        strip = values.astype(f"<{'i' if sample_format == 2 else 'u'}{bits // 8}").tobytes()
    entries = {
        256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 0, 277: 1, 278: height, 279: len(strip),
        339: sample_format,
    }  # fmt: skip
    entries[273] = 8 + 2 + 12 * len(entries) + 4
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + fields + b"\0" * 4 + strip


@pytest.mark.parametrize(("bits", "photometric"), [(16, 1), (16, 0), (12, 1)])
def test_deep_grey_is_as_light_as_its_depth_says(tmp_path: Path, bits: int, photometric: int) -> None:
    white = (1 << bits) - 1
    levels = np.linspace(0, white, 40 * 40).round().reshape(40, 40)
    expected = np.rint(levels * 255 / white)
    image = read_image(written(tmp_path, deep_tiff(levels, bits, photometric=photometric)))
    assert np.abs(image[..., 0] - (expected if photometric else 255 - expected)).max() <= 1


@pytest.mark.parametrize(("bits", "sample_format"), [(32, 1), (32, 2), (16, 2)])
def test_grey_of_which_nobody_knows_what_is_white(tmp_path: Path, bits: int, sample_format: int) -> None:
    with pytest.raises(ImageSkipped, match=r"more than 16 bits|signed"):
        read_image(written(tmp_path, deep_tiff(np.full((40, 40), 200), bits, sample_format)))
