"""Reports: a folder with four pictures and one page."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from napari_accr.errors import OutputError
from napari_accr.image import Grid, Image, Modality
from napari_accr.registration.result import RegistrationResult, StageRecord
from napari_accr.registration.settings import Settings
from napari_accr.report import check_report, iter_report, write_report
from napari_accr.tables import Table
from napari_accr.transforms import Affine, DisplacementField, Transform

OTHERS = Modality.OTHER, Modality.OTHER
PICTURES = {"overlay_before.png", "overlay_after.png", "checkerboard.png", "displacement.png"}


def blob(shape: tuple[int, ...], modality: Modality = Modality.SHG) -> Image:
    grid = Grid(shape)
    square = ((grid.points() - grid.center) ** 2).sum(axis=-1)
    bright = np.exp(-square / (0.1 * max(shape)) ** 2)
    return Image((255 * bright).astype(np.uint8)[np.newaxis], grid, modality)


def result(transform: Transform, accepted: bool = True) -> RegistrationResult:
    stages = (StageRecord("search", 1.5, {"score": 0.25}), StageRecord("refine", 0.5, {}))
    return RegistrationResult(transform, accepted, 0.9, stages, Settings(seed=7), "mind", OTHERS)


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


def test_a_page_can_be_sent_alone(tmp_path: Path) -> None:
    image = blob((60, 80))
    path = write_report(
        tmp_path / "r.html", image, image, result(Affine(np.eye(3))), single_file=True
    )
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]
    links = Page(path).links
    assert len(links) == 4
    for link in links:
        kind, data = link.split(",", 1)
        assert kind == "data:image/png;base64"
        with Picture.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert min(picture.size) > 300
    with pytest.raises(OutputError, match="already exists"):
        check_report(path, overwrite=False, single_file=True)
    with pytest.raises(OutputError, match=r"let it end in \.html"):
        check_report(tmp_path / "r", overwrite=False, single_file=True)


def test_what_was_measured_is_on_the_page(tmp_path: Path) -> None:
    image = blob((60, 80))
    tables = [
        Table("Landmarks", ("landmark", "error (µm)"), ((1, 0.123456), (2, np.nan)), ("Few.",)),
        Table("Labels", ("label", "Dice"), (), ("No label is in both images.",)),
    ]
    nodes = Grid((3, 3), (30.0, 40.0))
    vectors = np.zeros((2, 3, 3))
    vectors[1, :, 1] = 50
    bent = result(DisplacementField(vectors, nodes))
    path = write_report(tmp_path / "r", image, image, bent, tables=tables, folding=True)
    page = Page(path)
    assert page.links == PICTURES | {"folding.png"}
    for word in ("Landmarks", "0.1235", "–", "Few.", "No label is in both", '"seed": 7'):
        assert word in page.text
    write_report(path.parent, image, image, bent, overwrite=True)


def test_a_transform_alone_has_a_report(tmp_path: Path) -> None:
    image = blob((60, 80))
    page = Page(write_report(tmp_path / "r", image, image, Affine(np.eye(3))))
    assert page.links == PICTURES - {"overlay_before.png"}
    assert "ccepted" not in page.text
    assert "Settings" not in page.text
    assert "Transform" in page.text


def test_a_report_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    image = blob((60, 80))
    work = iter_report(tmp_path / "r", image, image, result(Affine(np.eye(3))))
    for _ in range(5):
        next(work)
    work.close()
    assert list(tmp_path.iterdir()) == []


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
