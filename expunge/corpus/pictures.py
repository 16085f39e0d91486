"""Pictures as sources have them → plain RGB pictures of a bounded size, without metadata.

Transparency is put on a stated background, a picture is turned as its EXIF says, of an animation the first frame
counts, CMYK and 16 bits become RGB of 8. Place, time and author in a file's metadata are not taken along.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageOps

from expunge.corpus.quarantine import Unusable
from expunge.project.errors import ExpungeError, one_line

MAX_PIXELS = 64 * 2**20
"""A picture that decodes to more pixels is refused: a few kilobytes can otherwise ask for gigabytes."""
MAX_PICTURE = 64 << 20
"""A picture file of more bytes is refused."""
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""What data sets hold. Pillow knows many more, among them some whose decoder starts another program (EPS)."""
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    AttributeError,
    NotImplementedError,
    MemoryError,
    RuntimeError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""Pillow's decoders raise whatever a damaged file leads them to; its warning of a bomb is an exception of its own."""
WHITE = "white"
ORIENTATION = 0x0112
JPEG_QUALITY = 95
SPARE = 3
"""A large JPEG is decoded at a half, a quarter or an eighth of its size that is still so many times the size wanted."""


def as_rgb(image: Image.Image, background: str = WHITE) -> Image.Image:
    """A loaded picture as RGB of 8 bits, transparent parts on `background`.

    Raises:
        ValueError: Pillow cannot convert its mode.
    """
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        clear = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, background), clear).convert("RGB")
    return image.convert("RGB")


def decode_image(data: bytes, sample_id: str) -> Image.Image:
    """Decode an encoded picture of one of `FORMATS` to RGB, transparent parts on white.

    Raises:
        ExpungeError: the bytes are not such an image, or it has more than `MAX_PIXELS` pixels.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ExpungeError(f"The image of {sample_id} is {image.width} x {image.height}, over the limit.")
            return as_rgb(image)
    except DECODER_ERRORS as error:
        raise ExpungeError(f"The image of {sample_id} cannot be decoded ({one_line(error)}).") from error


def normalised(data: bytes, size: int, background: str = WHITE) -> tuple[bytes, list[str]]:
    """The picture in `data` as the catalog keeps it, and what was done to it.

    Args:
        size: pixels of the shorter side at most; smaller pictures keep theirs.

    Returns:
        An encoded RGB picture: the bytes as they were where nothing had to be done, else JPEG for a JPEG and PNG for
        anything else; and the names of the changes.

    Raises:
        Unusable: the bytes are not a picture of `FORMATS`, are cut off, or decode to more than `MAX_PIXELS`.
    """
    if len(data) > MAX_PICTURE:
        raise Unusable("huge_picture", f"{len(data) >> 20} MiB")
    with _refusing(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise Unusable("huge_picture", f"{image.width} x {image.height} pixels")
        return _plain(image, data, size, background)


def _plain(image: Image.Image, data: bytes, size: int, background: str) -> tuple[bytes, list[str]]:
    kind = image.format
    done: list[str] = []
    if getattr(image, "n_frames", 1) > 1:
        image.seek(0)
        done.append("first_frame_taken")
    if kind == "JPEG" and min(image.size) > SPARE * size:
        # The decoder itself leaves out the finest of its frequencies, so that most pixels are never computed.
        scale = SPARE * size / min(image.size)
        image.draft(image.mode, (math.ceil(image.width * scale), math.ceil(image.height * scale)))
    image.load()
    exif = image.getexif()
    plain: Image.Image = image
    if exif.get(ORIENTATION, 1) in range(2, 9):
        plain = ImageOps.exif_transpose(image)
        done.append("turned_upright")
    if _is_transparent(plain):
        done.append("put_on_background")
    elif plain.mode == "CMYK":
        done.append("cmyk_to_rgb")
    elif plain.mode.startswith("I") or plain.mode == "F":
        done.append("reduced_to_8_bits")
    plain = as_rgb(plain, background)
    shorter = min(plain.size)
    if shorter > size:
        wanted = tuple(max(1, round(side * size / shorter)) for side in plain.size)
        plain = plain.resize((wanted[0], wanted[1]), Image.Resampling.BICUBIC, reducing_gap=3.0)
    told = len(exif) or getattr(image, "text", None) or image.info.keys() & {"comment", "xmp", "photoshop"}
    if not done and not told and shorter <= size and kind in ("JPEG", "PNG"):
        return data, done
    stream = io.BytesIO()
    # A new picture: what Pillow knows of the old one, its comments among it, would be written along.
    fresh = Image.frombytes("RGB", plain.size, plain.tobytes())
    if kind == "JPEG":
        fresh.save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        fresh.save(stream, "PNG")
    return stream.getvalue(), done


def _is_transparent(image: Image.Image) -> bool:
    if "transparency" not in image.info and image.mode not in ("RGBA", "LA", "PA", "La", "RGBa"):
        return False
    lowest, _ = image.convert("RGBA").getchannel("A").getextrema()
    return float(lowest) < 255  # type: ignore[arg-type]  # one channel has one pair of extrema


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey levels of 16 or 32 bits, or floats, as 8 bits; floats up to 1 are shares of white."""
    levels = np.asarray(image, dtype=np.float64)
    if not np.isfinite(levels).all():
        raise ValueError("a grey level is not a number")
    highest = float(levels.max(initial=0.0))
    white = 1.0 if image.mode == "F" and highest <= 1 else 255.0 if highest <= 255 else 65535.0
    return Image.fromarray((levels.clip(0, white) * (255 / white)).round().astype(np.uint8))


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Unusable("huge_picture", "more pixels than are decoded") from error
    except DECODER_ERRORS as error:
        raise Unusable("unreadable_picture", type(error).__name__) from error
