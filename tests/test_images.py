"""Pictures through the engine against Pillow: formats, colours, sizes, and those that cannot be read."""

import io
import json
import warnings

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageOps

from stoker.engine import core
from stoker.errors import UserError
from stoker.inputs import Image, as_inputs, from_json, to_json
from test_inputs import both, sent_batch, spec_of

ANY = st.integers(1, 70)
MODES = {"PNG": ["1", "L", "LA", "P", "RGB", "RGBA"], "WEBP": ["RGB", "RGBA"]}


def pixels_of(item, files):
    """Of each file, as the model would see it with mean 0 and deviation 1 / 255."""
    tensors = both(item, [{"c": file} for file in files], {"c": pa.binary()})
    return np.rint(tensors * 255).astype(int)


def encoded(picture, kind, **how):
    file = io.BytesIO()
    picture.save(file, kind, **how)
    return file.getvalue()


def noise(draw, width, height, bands):
    values = np.random.default_rng(draw(st.integers(0, 2**32))).integers(0, 256, (height, width, bands), np.uint8)
    return Pillow.fromarray(values[:, :, 0] if bands == 1 else values)


def smooth(width, height, seed=0):
    """Waves of colour, as photographs mostly are."""
    y, x = np.mgrid[0:height, 0:width] / 40
    waves = [np.sin(x * (1 + 0.3 * seed) + c) * np.cos(y + c) for c in range(3)]
    return Pillow.fromarray((np.stack(waves, -1) * 110 + 128).astype(np.uint8))


def as_planes(picture):
    values = np.asarray(picture).astype(int)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


@st.composite
def files(draw):
    kind = draw(st.sampled_from(sorted(MODES)))
    picture = noise(draw, draw(ANY), draw(ANY), 3).convert(draw(st.sampled_from(MODES[kind])))
    if picture.mode in ("LA", "RGBA"):
        picture.putalpha(noise(draw, *picture.size, 1))
    how = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    if picture.mode == "P" and draw(st.booleans()):
        how["transparency"] = 3
    return encoded(picture, kind, **how)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_lossless_pictures_are_pillow_s(data):
    file, channels = data.draw(files()), data.draw(st.sampled_from([1, 3]))
    size, fit = data.draw(st.tuples(ANY, ANY)), data.draw(st.sampled_from(["stretch", "cover"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = Pillow.open(io.BytesIO(file)).convert("RGB" if channels == 3 else "L")
    turned = (size[1], size[0])
    want = read.resize(turned, Pillow.Resampling.BILINEAR)
    if fit == "cover":
        want = ImageOps.fit(read, turned, Pillow.Resampling.BILINEAR)
    got = pixels_of(Image("c", size, fit=fit, channels=channels), [file])[0]
    # Pillow makes the cheaper of its two passes first, which moves a rounding between them: one, now and then two.
    far = np.abs(got - as_planes(want))
    assert far.max() <= 2
    assert (far > 1).sum() <= max(2, 0.01 * far.size)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_jpegs_are_pillow_s_whole_or_reduced(data):
    width, height = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 300))
    size = data.draw(st.tuples(ANY, ANY))
    how = {"subsampling": data.draw(st.sampled_from([0, 1, 2])), "progressive": data.draw(st.booleans())}
    file = encoded(smooth(width, height), "JPEG", quality=data.draw(st.integers(60, 95)), **how)
    reduced = Pillow.open(io.BytesIO(file))
    by = max(d for d in (1, 2, 4, 8) if d == 1 or (width >= d * size[1] and height >= d * size[0]))
    reduced.draft("RGB", (width // by, height // by))
    want = reduced.resize((size[1], size[0]), Pillow.Resampling.BILINEAR, box=(0, 0, width / by, height / by))
    got = pixels_of(Image("c", size), [file])[0]
    np.testing.assert_allclose(got, as_planes(want), rtol=0, atol=2)


def test_reduced_jpegs_look_like_whole_ones():
    picture = smooth(640, 480)
    got = pixels_of(Image("c", (60, 80)), [encoded(picture, "JPEG", quality=95)])[0]
    want = as_planes(picture.resize((80, 60), Pillow.Resampling.BILINEAR))
    assert np.abs(got - want).mean() < 2


def test_jpegs_in_grey_and_in_inks():
    picture = smooth(50, 40)
    for mode, atol in (("L", 2), ("CMYK", 3), ("RGB", 3)):
        file = encoded(picture.convert(mode), "JPEG", quality=95)
        for channels in (1, 3):
            want = Pillow.open(io.BytesIO(file)).convert("RGB" if channels == 3 else "L")
            got = pixels_of(Image("c", (40, 50), channels=channels), [file])[0]
            np.testing.assert_allclose(got, as_planes(want), rtol=0, atol=atol, err_msg=f"{mode} {channels}")


def test_lossy_webp_and_sixteen_bits():
    lossy = encoded(smooth(50, 40), "WEBP", quality=80)
    want = as_planes(Pillow.open(io.BytesIO(lossy)).convert("RGB"))
    np.testing.assert_allclose(pixels_of(Image("c", (40, 50)), [lossy])[0], want, rtol=0, atol=1)
    deep = Pillow.fromarray((np.arange(12, dtype=np.uint16) * 5000).reshape(3, 4))
    got = pixels_of(Image("c", (3, 4), channels=1), [encoded(deep, "PNG")])[0]
    np.testing.assert_array_equal(got[0].ravel(), np.arange(12) * 5000 >> 8)


def test_turns_that_exif_asks_for_are_not_made():
    picture, exif = smooth(30, 20), Pillow.Exif()
    exif[0x0112] = 6
    plain, turned = encoded(picture, "JPEG"), encoded(picture, "JPEG", exif=exif)
    got = pixels_of(Image("c", (20, 30)), [plain, turned])
    np.testing.assert_array_equal(got[0], got[1])


def test_numbers_are_normalised_by_channel_as_torchvision_does():
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    picture = smooth(8, 8)
    item = Image("c", (8, 8), mean=mean, std=std)
    got = both(item, [{"c": encoded(picture, "PNG")}], {"c": pa.binary()})
    want = (as_planes(picture) / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    np.testing.assert_allclose(got[0], want, rtol=1e-5, atol=1e-6)
    doubles = both(item, [{"c": encoded(picture, "PNG")}], {"c": pa.binary()}, dtype="float64")
    np.testing.assert_allclose(doubles[0], want, rtol=1e-12, atol=1e-14)


def test_the_middle_is_cropped_where_nothing_is_drawn():
    picture = smooth(20, 12)
    got = pixels_of(Image("c", (12, 20), crop=(6, 10), flip=True), [encoded(picture, "PNG")])[0]
    np.testing.assert_array_equal(got, as_planes(picture.crop((5, 3, 15, 9))))


def test_nulls_are_filled_where_that_is_asked_for():
    files = [encoded(smooth(4, 4), "PNG"), None]
    filled = pixels_of(Image("c", (2, 2), nulls="fill", fill=7), files)
    assert (filled[1] == 7).all() and (filled[0] != 7).any()


def test_rows_take_a_byte_a_pixel():
    item = Image("c", (6, 5), crop=(2, 3))
    store = core().ColumnStore(json.dumps([spec_of("x", item)]), [0], 0)
    store.append(sent_batch(item, [{"c": encoded(smooth(40, 30), "JPEG")}], {"c": pa.binary()}))
    assert store.bytes() == 3 * 6 * 5


def damaged(file, at):
    return file[:at] + bytes([file[at] ^ 0xFF]) + file[at + 1 :]


PNG, JPEG = encoded(smooth(64, 48), "PNG"), encoded(smooth(64, 48), "JPEG")
WEBP = encoded(smooth(64, 48), "WEBP")
FILM = encoded(smooth(8, 8), "WEBP", save_all=True, append_images=[Pillow.new("RGB", (8, 8), "red")])
BAD = [
    (b"not a picture", r"is no JPEG, PNG or WebP \(13 bytes, which begin 6e 6f 74 20\)"),
    (PNG[: len(PNG) // 2], r"is a broken PNG: the file ends too soon \(\d+ bytes\)"),
    (damaged(PNG, len(PNG) // 2), r"is a broken PNG: [a-z]+ .*\(\d+ bytes\)"),
    (JPEG[: len(JPEG) // 2], "is a broken JPEG: Premature end of JPEG file"),
    (JPEG[:4] + JPEG[-20:], "is a broken JPEG: "),
    (WEBP[: len(WEBP) // 2], "is a broken WebP: the file ends too soon"),
    (FILM, "is an animated WebP, expected a single picture"),
    (encoded(smooth(101, 100), "PNG"), "has 101 x 100 pixels, more than the 10000 that maxPixels allows"),
    (encoded(smooth(101, 100), "JPEG"), "has 101 x 100 pixels, more than the 10000 that maxPixels allows"),
    (encoded(smooth(101, 100), "WEBP"), "has 101 x 100 pixels, more than the 10000 that maxPixels allows"),
    (None, "is null; nulls='fill' allows that"),
]


@pytest.mark.parametrize("file, words", BAD, ids=range(len(BAD)))
def test_a_picture_that_cannot_be_read_is_named_with_place_and_cause(file, words):
    item = Image("c", (4, 4), maxPixels=10_000)
    batch = sent_batch(item, [{"c": PNG}, {"c": file}], {"c": pa.binary()})
    store = core().ColumnStore(json.dumps([spec_of("x", item)]), [0], 5)
    with pytest.raises(core().UserError, match=f"column 'c', partition 5, row 1: {words}"):
        store.append(batch)


def test_bad_pictures_are_left_out_and_counted_by_reason():
    item = Image("c", (4, 4), maxPixels=10_000)
    store = core().ColumnStore(json.dumps([spec_of("x", item)]), [0], 5, skip_bad=True)
    rows = [{"c": file} for file in (PNG, *(file for file, _ in BAD), JPEG)]
    store.append(sent_batch(item, rows, {"c": pa.binary()}))
    assert store.rows() == 2
    assert store.skipped() == {
        "column 'c' has too many pixels": 3,
        "column 'c' is a broken image": 5,
        "column 'c' is no image that can be read": 2,
        "column 'c' is null": 1,
    }


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([PNG, JPEG, WEBP]), st.lists(st.integers(0, 2**32), min_size=1, max_size=8), st.booleans())
def test_damaged_files_are_read_or_refused_and_nothing_else(file, places, cut):
    for place in places:
        file = damaged(file, place % len(file))
    if cut:
        file = file[: places[0] % len(file)]
    item = Image("c", (4, 4), maxPixels=10_000)
    store = core().ColumnStore(json.dumps([spec_of("x", item)]), [0], 5, skip_bad=True)
    store.append(sent_batch(item, [{"c": file}], {"c": pa.binary()}))
    assert store.rows() + sum(store.skipped().values()) == 1


def test_declarations_survive_json():
    told = as_inputs({"x": Image("c", (8, 9), crop=(4, 4), flip=True, mean=[0.1, 0.2, 0.3], std=0.5, fit="cover")})
    assert from_json(json.loads(json.dumps(to_json(told)))) == told


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Image("c", 224), r"size is \(height, width\) in pixels, such as \(224, 224\), not 224"),
        (lambda: Image("c", (0, 4)), "size is"),
        (lambda: Image("c", (4, 4), crop=(5, 4)), r"crop \[5, 4\] is larger than size \[4, 4\]"),
        (lambda: Image("c", (4, 4), channels=4), "channels is 3 .* or 1 .*, not 4"),
        (lambda: Image("c", (4, 4), fit="fill"), "fit is 'stretch' or 'cover', not 'fill'"),
        (lambda: Image("c", (4, 4), nulls="mask"), "nulls is 'error' or 'fill'"),
        (lambda: Image("c", (4, 4), mean=[1, 2]), "mean is a number, or one for each of the 3 channels"),
        (lambda: Image("c", (4, 4), std=0), "std is not 0"),
        (lambda: spec_of("x", Image("c", (4, 4)), "int64"), "pictures are floats, and inputTypes says int64"),
    ],
)
def test_declarations_that_make_no_sense(make, words):
    with pytest.raises(UserError, match=words):
        make()
