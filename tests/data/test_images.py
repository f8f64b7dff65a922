"""Images of any kind at 32x32: against NumPy's arithmetic; hostile files are refused."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxcifar.data.images import read_image, to_square

ANY = np.random.RandomState(0).randint(0, 256, (32, 32, 3)).astype(np.uint8)


def weights(size):
    """Keys' cubic (a = -1/2), widened by the factor by which an axis shrinks, `[32, size]`."""
    scale = size / 32
    t = np.abs((np.arange(size) + 0.5) / scale - (np.arange(32)[:, None] + 0.5))
    if scale < 1:
        t = t * scale
    near, far = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    kernel = np.where(t < 1, near, np.where(t < 2, far, 0))
    return kernel / kernel.sum(1, keepdims=True)


@pytest.mark.parametrize(("height", "width"), [(96, 131), (75, 64), (20, 17), (33, 32)])
def test_the_middle_square_is_shrunk_without_aliases(height, width):
    image = np.random.RandomState(1).randint(0, 256, (height, width, 3)).astype(np.uint8)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side].astype(float)
    w = weights(side)
    rows = np.clip(np.einsum("jw,hwc->hjc", w, square).round(), 0, 255)  # held in 8 bits between
    expected = np.clip(np.einsum("ih,hjc->ijc", w, rows), 0, 255)
    ours = to_square(Image.fromarray(image))
    assert ours.dtype == np.uint8
    np.testing.assert_allclose(ours, expected, atol=1.1)


def test_32x32_stays_as_it_is():
    np.testing.assert_array_equal(to_square(Image.fromarray(ANY)), ANY)


UPRIGHT = {  # EXIF's number -> what turns the stored rows and columns upright
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: np.rot90(x),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_turned_as_exif_says(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(ANY).save(path, exif=exif)
    np.testing.assert_array_equal(read_image(path)[0], UPRIGHT[orientation](ANY))


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("size", [(32, 61), (61, 32)])
def test_the_middle_square_is_that_of_the_upright_picture(tmp_path, orientation, size):
    """The odd margin is not the same on both sides, so turning after the crop shows too."""
    stored = np.random.RandomState(4).randint(0, 256, (*size, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    upright = UPRIGHT[orientation](stored)
    top, left = ((length - 32) // 2 for length in upright.shape[:2])
    middle = upright[top : top + 32, left : left + 32]
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0], middle)


def test_transparency_lies_on_white(tmp_path):
    alpha = np.random.RandomState(2).randint(0, 256, (32, 32, 1)).astype(np.uint8)
    expected = (ANY * (alpha / 255) + 255 - alpha).round()
    ours = to_square(Image.fromarray(np.concatenate([ANY, alpha], axis=2)))
    np.testing.assert_allclose(ours, expected, atol=1)
    grey = Image.fromarray(np.concatenate([ANY[..., :1], alpha], axis=2), "LA")
    np.testing.assert_allclose(to_square(grey)[..., 1], expected[..., 0], atol=1)

    palette = Image.new("P", (32, 32))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.paste(1, (0, 0, 16, 32))
    palette.save(tmp_path / "p.png", transparency=0)
    ours = read_image(tmp_path / "p.png").pixels
    assert ours[0, 31].tolist() == [255, 255, 255]
    assert ours[0, 0].tolist() == [0, 0, 255]


def test_grey_of_16_bits_is_scaled(tmp_path):
    values = np.linspace(0, 65_535, 1024).astype(np.uint16).reshape(32, 32)
    expected = np.repeat((values / 257).round()[..., None], 3, axis=2)
    for name, array in {"a.png": values, "a.tiff": values, "b.tiff": values.astype(">u2")}.items():
        Image.fromarray(array).save(tmp_path / name)
        np.testing.assert_array_equal(read_image(tmp_path / name)[0], expected)


def test_cmyk_images_become_rgb(tmp_path):
    ink = np.random.RandomState(3).randint(0, 256, (32, 32, 4)).astype(np.uint8)
    Image.fromarray(ink, "CMYK").save(tmp_path / "a.tiff")
    paper = 255.0 - ink
    expected = paper[..., :3] * paper[..., 3:] / 255
    np.testing.assert_allclose(read_image(tmp_path / "a.tiff")[0], expected, atol=1)
    # Solid black: a JPEG of Adobe's kind stores ink the other way round.
    Image.new("CMYK", (32, 32), (0, 0, 0, 255)).save(tmp_path / "a.jpg", quality=100)
    assert read_image(tmp_path / "a.jpg")[0].max() < 10


def test_the_first_frame_of_an_animation_is_read(tmp_path):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    image = read_image(tmp_path / "a.gif")
    assert (image.pixels[5, 5].tolist(), image.has_more_frames) == ([255, 0, 0], True)
    frames[0].save(tmp_path / "b.gif")
    assert not read_image(tmp_path / "b.gif").has_more_frames


def png_header(width, height):
    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"")) * 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not an image"),
        (b"text", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n", "not an image"),
        (png_header(8_001, 8_000), "8001x8000 pixels"),  # refused before any pixel is decoded
        (png_header(20_000, 20_000), r"^the image has (20000x20000|more than 64,000,000) pixels"),
        (png_header(32, 32), r"^the image is damaged \("),
        (png_header(0, 32), "^the (file is not an image that Pillow reads|image has 0x32 pixels)"),
    ],
)
def test_what_can_not_be_read_says_why(tmp_path, content, words):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        read_image(tmp_path / "a")
    assert "\n" not in str(caught.value)


def test_damaged_and_strange_files_are_refused(tmp_path):
    path = tmp_path / "a.jpg"
    Image.effect_noise((200, 200), 80).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match=r"damaged \(.*truncated"):
        read_image(path)
    Image.new("F", (32, 32)).save(tmp_path / "f.tiff")
    with pytest.raises(ValueError, match="float"):
        read_image(tmp_path / "f.tiff")
    os.mkfifo(tmp_path / "fifo")  # opening one waits for a writer, if it is done carelessly
    with pytest.raises(ValueError, match="not a regular file"):
        read_image(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(ValueError, match="is a link"):
        read_image(tmp_path / "link")
