from pathlib import Path

import numpy as np
import pdqhash
import pytest
from PIL import Image

from provenance.fingerprint.hashes.pdq import PdqHasher, canonical_pixels
from provenance.fingerprint.similarity import hamming_distance
from provenance.testing.pictures import natural_picture
from provenance.types import PerceptualHash, RasterImage

PHOTOS = Path("../shared/data/photos")


def reference(image):
    """Meta's own code on the same canonical pixels."""
    bits, quality = pdqhash.compute(np.ascontiguousarray(canonical_pixels(image)))
    return PerceptualHash("pdq-1", np.packbits(bits).tobytes().hex(), quality)


@pytest.mark.parametrize("size", [(512, 512), (64, 64), (300, 500), (1024, 700), (65, 999)])
def test_equals_the_reference_bit_for_bit(size):
    for seed in range(3):
        image = natural_picture(*size, seed=seed)
        ours, theirs = PdqHasher().hash(image), reference(image)
        # Coefficients that equal the median up to rounding may fall either way.
        assert hamming_distance(ours, theirs) <= 2
        assert abs(ours.quality - theirs.quality) <= 1


def test_equals_the_reference_on_photographs():
    if not PHOTOS.is_dir():
        pytest.skip("the folder ../shared/data/photos is not here")
    for path in sorted(PHOTOS.glob("*-sk.jpg")) + sorted(PHOTOS.glob("*-crop.jpg"))[:6]:
        with Image.open(path) as photo:
            image = RasterImage(np.asarray(photo.convert("RGB")))
        ours, theirs = PdqHasher(min_quality=0).hash(image), reference(image)
        assert hamming_distance(ours, theirs) <= 2, path.name
        assert abs(ours.quality - theirs.quality) <= 1, path.name


def test_known_hash_never_changes():
    """Registries hold hashes of today: a change of the algorithm needs another name."""
    rows, columns = np.mgrid[0:512, 0:512]
    waves = 127 + 60 * np.sin(rows / 31) + 60 * np.cos((columns + rows / 2) / 17)
    pixels = np.repeat(np.rint(waves)[..., None], 3, axis=2).astype(np.uint8)
    assert (
        PdqHasher().hash(RasterImage(pixels)).hex
        == "01ff035401ff0b5501ff0b5501ffab5501ffab5501ffab55fe0054aafe0054aa"
    )


def test_eight_variants_are_the_reference_s():
    image = natural_picture(512, 512, seed=7)
    ours = PdqHasher().hash_variants(image)
    assert ours[0] == PdqHasher().hash(image)
    hashes, _ = pdqhash.compute_dihedral(np.ascontiguousarray(image.pixels))
    theirs = {np.packbits(bits).tobytes().hex() for bits in hashes}
    assert {variant.hex for variant in ours} == theirs
    assert len(theirs) == 8


def test_a_turned_picture_is_near_one_of_the_variants():
    image = natural_picture(512, 512, seed=7)
    variants = PdqHasher().hash_variants(image)
    for quarter in range(4):
        turned = RasterImage(np.ascontiguousarray(np.rot90(image.pixels[:, ::-1], quarter)))
        distances = [hamming_distance(v, PdqHasher().hash(turned)) for v in variants]
        assert sorted(distances)[0] <= 31 < sorted(distances)[1]


def test_a_batch_answers_as_one_by_one_does():
    pictures = [natural_picture(300 + 40 * n, 256, seed=n) for n in range(4)]
    pictures.insert(2, RasterImage(np.full((99, 99, 3), 77, dtype=np.uint8)))
    pictures.append(natural_picture(63, 99, seed=1))
    found = PdqHasher().hash_batch(pictures)
    assert list(found) == [PdqHasher().hash(one) for one in pictures]
    assert [one is None for one in found] == [False, False, True, False, False, True]
    assert PdqHasher().hash_batch([]) == ()


def test_a_picture_without_a_hash_has_no_variants():
    grey = RasterImage(np.full((99, 99, 3), 77, dtype=np.uint8))
    assert PdqHasher().hash_variants(grey) == ()
    assert PdqHasher().hash_variants(natural_picture(63, 99, seed=1)) == ()
    assert PdqHasher().hash(natural_picture(63, 99, seed=1)) is None


def test_the_floor_is_an_argument():
    image = natural_picture(256, 256, seed=5)
    faint = RasterImage(np.rint(120 + image.pixels * 0.03).astype(np.uint8))
    assert PdqHasher().hash(faint) is None
    assert PdqHasher(min_quality=0).hash(faint).quality < 10


def test_one_picture_at_many_sizes_has_nearly_one_hash():
    full = natural_picture(1024, 768, seed=9)
    expected = PdqHasher().hash(full)
    for size in ((768, 576), (512, 384), (256, 192), (900, 500)):
        small = Image.fromarray(full.pixels).resize(size, Image.Resampling.LANCZOS)
        assert hamming_distance(PdqHasher().hash(RasterImage(np.asarray(small))), expected) <= 10
