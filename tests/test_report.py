"""Reports: a folder with four pictures and one page."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from napari_accr.errors import OutputError
from napari_accr.image import Grid, Image, Modality
from napari_accr.registration.result import RegistrationResult, StageRecord
from napari_accr.registration.settings import Settings
from napari_accr.report import check_report, figures, write_report
from napari_accr.transforms import Affine, DisplacementField, Transform

PICTURES = {"overlay_before.png", "overlay_after.png", "checkerboard.png", "displacement.png"}


def blob(shape: tuple[int, ...], modality: Modality = Modality.SHG) -> Image:
    grid = Grid(shape)
    square = ((grid.points() - grid.center) ** 2).sum(axis=-1)
    bright = np.exp(-square / (0.1 * max(shape)) ** 2)
    return Image((255 * bright).astype(np.uint8)[np.newaxis], grid, modality)


def result(transform: Transform, accepted: bool = True) -> RegistrationResult:
    stages = (StageRecord("search", 1.5, {"score": 0.25}), StageRecord("refine", 0.5, {}))
    return RegistrationResult(transform, accepted, 0.9, stages, Settings(seed=7), "mind")


class Page(HTMLParser):
    """The text, links and tags of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.tags: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links |= {v for k, v in attrs if k in ("src", "href") and v}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_pictures_scores_settings_and_verdict(tmp_path: Path) -> None:
    path = write_report(tmp_path / "r", blob((60, 80)), blob((50, 70)), result(Affine(np.eye(3))))
    assert {p.name for p in path.parent.iterdir()} == {"index.html", *PICTURES}
    page = Page(path)
    assert page.links == PICTURES  # nothing from elsewhere
    for word in ("Accepted", "confidence 90%", "search", "score", "0.25", "1.50", "seed", "0.8"):
        assert word in page.text
    for name in PICTURES:
        with Picture.open(path.parent / name) as picture:
            assert min(picture.size) > 300


def test_an_unaccepted_result_is_said_to_be_so(tmp_path: Path) -> None:
    image = blob((40, 40))
    path = write_report(tmp_path / "r", image, image, result(Affine(np.eye(3)), accepted=False))
    assert "Not accepted" in Page(path).text


def test_names_are_escaped(tmp_path: Path) -> None:
    image = blob((40, 40))
    names = ("<script>alert(1)</script>.tif", '"&.tif')
    path = write_report(tmp_path / "r", image, image, result(Affine(np.eye(3))), names=names)
    page = Page(path)
    assert "script" not in page.tags
    assert names[0] in page.text
    assert names[1] in page.text


@pytest.mark.parametrize("shape", [(60, 80), (5, 60, 80), (1, 1), (4, 200)])
def test_every_dimension_shape_and_transform(tmp_path: Path, shape: tuple[int, ...]) -> None:
    image = blob(shape)
    nodes = Grid((3,) * len(shape), (20.0,) * len(shape))
    vectors = np.random.default_rng(0).normal(0, 2, (len(shape), *nodes.shape))
    path = write_report(tmp_path / "r", image, image, result(DisplacementField(vectors, nodes)))
    assert "Transform" not in Page(path).text  # no matrix to show


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0.0, np.nan])
def test_empty_images_and_no_overlap(tmp_path: Path, value: float) -> None:
    image = Image(np.full((1, 30, 30), value, np.float32))
    away = Affine.from_linear(np.eye(2), shift=[500, 0])
    write_report(tmp_path / "r", image, image, result(away))


def test_large_images_are_shown_small() -> None:
    grid = figures.display_grid(Grid((3000, 6000), (0.5, 0.5), unit="micrometer"))
    assert max(grid.shape) <= 900
    np.testing.assert_allclose(grid.extent, [1500, 3000], rtol=0.01)


def test_bright_field_is_bright_where_it_is_stained() -> None:
    slide = np.full((3, 20, 20), 240, np.uint8)
    slide[:, 5:15, 5:15] = 90
    image = Image(slide, modality=Modality.BRIGHT_FIELD, channels=("red", "green", "blue"))
    shown = figures.brightness(image).data[0]
    assert shown[10, 10] == 1
    assert shown[0, 0] == 0


def test_a_colour_picture_keeps_its_colours() -> None:
    data = np.zeros((3, 4, 4), np.uint8)
    data[0] = 255
    image = Image(data, channels=("red", "green", "blue"))
    np.testing.assert_array_equal(figures.picture(image).data[:, 0, 0], [1, 0, 0])


def test_an_existing_folder_is_kept(tmp_path: Path) -> None:
    image, folder = blob((40, 40)), tmp_path / "r"
    write_report(folder, image, image, result(Affine(np.eye(3))))
    with pytest.raises(OutputError, match="already exists"):
        write_report(folder, image, image, result(Affine(np.eye(3))))
    write_report(folder, image, image, result(Affine(np.eye(3))), overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["r"]


def test_a_folder_with_other_files_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="holds more than a report"):
        check_report(tmp_path, overwrite=True)


def test_nothing_is_left_where_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    image = blob((40, 40))
    with pytest.raises(OutputError, match="No space left"):
        write_report(tmp_path / "r", image, image, result(Affine(np.eye(3))))
    assert list(tmp_path.iterdir()) == []
