"""How good a registration is: lines, folds, landmarks and labels."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest

from napari_accr.errors import IncompatibleImages, OutputError
from napari_accr.image import Grid, Image
from napari_accr.inspection import (
    compare_labels,
    folding,
    grid_lines,
    landmark_errors,
    save_table,
)
from napari_accr.metrics import hausdorff, mean_surface_distance
from napari_accr.tables import Table, order, shown
from napari_accr.transforms import Affine, Chain, DisplacementField, Inverse
from napari_accr.transforms.affine import beyond_affine

GRID = Grid((40, 60), (0.5, 0.5), unit="micrometer")


def folded() -> DisplacementField:
    """A field that goes back on itself in one place."""
    nodes = Grid((5, 5), (5.0, 7.5))
    vectors = np.zeros((2, 5, 5))
    vectors[1, :, 2] = 12
    return DisplacementField(vectors, nodes)


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


# Lines, folds and displacement


def test_lines_of_the_moving_image_lie_where_the_inverse_puts_them() -> None:
    transform = Affine.from_linear([[0.9, -0.2], [0.2, 0.9]], shift=(2, -1))
    moving = Grid((30, 40), (1.0, 1.0))
    lines = grid_lines(transform, GRID, moving, lines=5)
    levels = [np.linspace(-0.5, n - 0.5, 6) for n in moving.shape]
    for line in lines:
        index = moving.to_index(transform(line))
        # A straight line stays one, along one of the levels.
        assert len(line) == 2
        off = [np.abs(index[:, [a]] - levels[a]).min(axis=1).max() for a in (0, 1)]
        assert min(off) < 1e-3
        assert (index > -1.2).all()
        assert (index < np.array(moving.shape) + 0.2).all()


def test_nothing_moved_gives_the_whole_grid() -> None:
    lines = grid_lines(Affine.identity(2), GRID, GRID, lines=4)
    assert len(lines) == 10
    ends = np.vstack(lines)
    np.testing.assert_allclose(ends.min(axis=0), [-0.25, -0.25], atol=0.01)
    np.testing.assert_allclose(ends.max(axis=0), [19.75, 29.75], atol=0.01)


def test_lines_are_drawn_where_it_folds_and_none_where_nothing_is_seen() -> None:
    assert len(grid_lines(folded(), GRID, GRID)) > 20
    away = Affine.from_linear(np.eye(2), shift=(500, 500))
    assert grid_lines(away, GRID, GRID) == []
    with pytest.raises(IncompatibleImages, match="planes only"):
        grid_lines(Affine.identity(3), Grid((3, 9, 9)), Grid((3, 9, 9)))


@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_an_affine_stretches_alike_everywhere(mirror: float) -> None:
    found = folding(Affine.from_linear([[2.0, 0.0], [0.0, 1.5 * mirror]]), GRID)
    np.testing.assert_allclose(found.determinants.data, 3.0, rtol=1e-5)
    assert found.fraction == 0
    assert "No folding" in found.summary
    assert found.determinants.grid.shape == (39, 59)
    np.testing.assert_allclose(found.determinants.grid.origin, [0.25, 0.25])


def test_folds_are_found_where_they_are() -> None:
    found = folding(folded(), GRID)
    assert found.fraction == pytest.approx(folded().folding_fraction(GRID))
    assert 0.1 < found.fraction < 0.5
    where = np.argwhere(found.determinants.data[0] <= 0)
    places = found.determinants.grid.to_world(where)
    assert places[:, 1].min() > 14.5  # beyond the summit of the displacement
    assert places[:, 1].max() < 23
    assert "Folds at" in found.summary
    with pytest.raises(IncompatibleImages, match="3D transform does not fit"):
        folding(Affine.identity(3), GRID)


@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_folds_are_counted_alike_everywhere(mirror: float) -> None:
    transform = folded().then(Affine.from_linear(np.diag([1.0, mirror])))
    stretches = transform.stretches(GRID)
    np.testing.assert_allclose(stretches, folded().stretches(GRID))
    assert folding(transform, GRID).fraction == transform.folding_fraction(GRID)
    assert transform.folding_fraction(GRID) == np.mean(stretches <= 0)


@pytest.mark.parametrize("shape", [(9, 9), (1, 1), (1, 9, 9)])
def test_what_an_affine_does_is_no_bending(shape: tuple[int, ...]) -> None:
    points = Grid(shape).points()  # a plane of a volume and a single point too
    rng = np.random.default_rng(0)
    n = len(shape)
    moved = Affine.from_linear(rng.normal(size=(n, n)), rng.normal(size=n) * 50)(points)
    np.testing.assert_allclose(beyond_affine(points, moved), np.zeros(shape), atol=1e-12)
    if shape != (1, 1):
        moved[..., 4, 4, :] += [1.0, *[0.0] * (n - 1)]
        assert beyond_affine(points, moved).max() == pytest.approx(1, abs=0.05)


def test_an_inverse_is_taken_apart_where_it_has_a_closed_form() -> None:
    affine, field = Affine.from_linear(2 * np.eye(2), [1, 2]), folded()
    steps = Chain((Inverse(Chain((affine, field))), Inverse(affine))).steps()
    assert [type(step) for step in steps] == [Inverse, Affine, Affine]
    np.testing.assert_allclose(steps[1].then(affine)([[3, 4]]), [[3, 4]])


# Landmarks


def test_landmark_errors_are_what_is_left_over() -> None:
    transform = Affine.from_linear(2 * np.eye(2), shift=(1, 0))
    fixed = np.array([[0.0, 0.0], [5.0, 5.0], [10.0, 0.0]])
    off = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, -2.0]])
    found = landmark_errors(transform, fixed, transform(fixed) + off, GRID)
    np.testing.assert_allclose(found.errors, [0, 5, 2])
    assert (found.mean, found.median, found.largest) == (pytest.approx(7 / 3), 2, 5)
    np.testing.assert_allclose(found.relative, found.errors / np.hypot(20, 30))
    np.testing.assert_allclose(found.residuals, off)
    np.testing.assert_allclose(found.ends - found.starts, off / 2)
    rows = read(found.table().to_csv())
    assert rows[0] == ["landmark", "error (µm)", "relative (%)", "y (µm)", "x (µm)"]
    assert [float(row[1]) for row in rows[1:]] == pytest.approx([0, 5, 2])
    assert "mean error 2.333 µm" in found.summary


def test_a_fold_leaves_the_errors_and_no_arrows() -> None:
    points = np.array([[10.0, 17.0], [10.0, 20.0]])
    found = landmark_errors(folded(), points, points)
    assert np.isfinite(found.errors).all()
    assert math.isnan(found.diagonal)
    assert read(found.table().to_csv())[1][2] == ""


@pytest.mark.parametrize(
    ("fixed", "moving", "words"),
    [
        (np.zeros((0, 2)), np.zeros((0, 2)), "no landmarks"),
        (np.zeros((3, 2)), np.zeros((2, 2)), "3 fixed and 2 moving"),
        (np.full((1, 2), np.nan), np.zeros((1, 2)), "no finite place"),
    ],
)
def test_landmarks_that_do_not_serve(fixed: np.ndarray, moving: np.ndarray, words: str) -> None:
    with pytest.raises(IncompatibleImages, match=words):
        landmark_errors(Affine.identity(2), fixed, moving)


# Labels


def labels(*boxes: tuple[int, tuple[slice, slice]], dtype: type = np.int32) -> Image:
    data = np.zeros((1, *GRID.shape), dtype)
    for label, box in boxes:
        data[0][box] = label
    return Image(data, GRID)


def test_each_common_label_is_measured_as_in_the_whole_image() -> None:
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 6, (8, 10)), np.ones((5, 6), int))[np.newaxis]
    a = Image(blocks, GRID)
    b = Image(np.roll(blocks, (2, 3), (1, 2)), GRID)
    found = compare_labels(a, b)
    assert [one.label for one in found.common] == [1, 2, 3, 4, 5]
    for one in found.common:
        x, y = a.data[0] == one.label, b.data[0] == one.label
        assert one.dice == pytest.approx(2 * (x & y).sum() / (x.sum() + y.sum()))
        assert one.hausdorff == pytest.approx(hausdorff(x, y, GRID.spacing))
        assert one.mean_distance == pytest.approx(mean_surface_distance(x, y, GRID.spacing))


def test_distances_are_in_world_units_and_strangers_are_named() -> None:
    a = labels((7, np.s_[10:20, 10:20]), (2**31 - 1, np.s_[30:35, 30:35]))
    b = labels((7, np.s_[10:20, 14:24]), (3, np.s_[0:4, 0:4]))
    found = compare_labels(a, b)
    assert [one.label for one in found.common] == [7]
    assert found.common[0].dice == pytest.approx(0.6)
    assert found.common[0].hausdorff == pytest.approx(2.0)
    assert found.only_fixed == (2**31 - 1,)
    assert found.only_moving == (3,)
    table = found.table()
    assert table.columns[2] == "Hausdorff (µm)"
    assert any("Only in the moving image: 3." in note for note in table.notes)
    assert read(table.to_csv())[1][:2] == ["7", "0.6"]


def test_moving_labels_are_laid_on_the_fixed_ones() -> None:
    a = labels((1, np.s_[10:20, 10:20]), dtype=np.uint8)
    b = labels((1, np.s_[14:24, 16:26]), dtype=np.uint8)
    shift = Affine.from_linear(np.eye(2), shift=(2.0, 3.0))
    assert compare_labels(a, b, shift).common[0].dice == 1
    assert compare_labels(a, b).common[0].dice < 0.3


def test_no_common_label_is_said() -> None:
    found = compare_labels(labels((1, np.s_[:4, :4])), labels((2, np.s_[:4, :4])))
    assert found.common == ()
    assert "No label" in found.table().notes[0]
    many = labels(*((n, np.s_[n : n + 1, :4]) for n in range(1, 20)))
    assert "and 9 more" in compare_labels(many, labels()).table().notes[1]


def test_images_are_no_labels() -> None:
    image = Image(np.zeros((1, 40, 60), np.float32), GRID)
    with pytest.raises(IncompatibleImages, match="moving image holds no labels"):
        compare_labels(labels(), image)


# Tables


def test_a_table_is_saved_whole_or_not_at_all(tmp_path: Path) -> None:
    table = Table("Title", ("name", "value"), (("a, b", 0.1), ("c", math.nan)))
    path = save_table(tmp_path / "out", table)
    assert path.name == "out.csv"
    assert read(path.read_text()) == [["name", "value"], ["a, b", "0.1"], ["c", ""]]
    with pytest.raises(OutputError, match="already exists"):
        save_table(path, table)
    save_table(path, table, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]


def test_a_table_is_copied_with_tabs_as_it_is_saved() -> None:
    table = Table("Title", ("name", "value"), (("a, b", 0.1), ("c", math.nan)))
    assert table.to_csv("\t") == "name\tvalue\na, b\t0.1\nc\t\n"


@pytest.mark.parametrize("descending", [False, True])
def test_what_is_not_known_is_sorted_last(descending: bool) -> None:
    cells = (3, math.nan, 0.5, math.inf, math.nan, -2)

    def by(cell: float) -> tuple[int, float, str]:
        return order(cell, descending=descending)

    found = sorted(cells, key=by, reverse=descending)
    known = [-2, 0.5, 3, math.inf]
    assert found[:4] == (known[::-1] if descending else known)
    assert np.isnan(found[4:]).all()
    assert sorted(["b", 1, "a"], key=order) == [1, "a", "b"]


def test_cells_as_a_person_reads_them() -> None:
    cells = (1, "a", 0.123456, math.nan, math.inf)
    assert [shown(cell) for cell in cells] == ["1", "a", "0.1235", "–", "∞"]
