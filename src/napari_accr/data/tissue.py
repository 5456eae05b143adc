"""A simulator of tissue: one hidden anatomy that every modality is rendered from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from scipy import ndimage

from napari_accr.data.cells import Nuclei, NucleusKind, draw_nuclei, wall_distance
from napari_accr.data.fibres import Bundles, deposit, orientation_field, trace_fibres
from napari_accr.data.noise import fractal_noise, scatter, smooth_noise
from napari_accr.errors import SettingsError
from napari_accr.image import Array, Floats, Grid


class Region(IntEnum):
    """What a place of the section belongs to."""

    BACKGROUND = 0
    STROMA = 1
    EPITHELIUM = 2
    LUMEN = 3
    FAT = 4
    VESSEL = 5


@dataclass(frozen=True)
class TissueSettings:
    """What kind of tissue to make.

    Parameters
    ----------
    spacing
        Micrometres a sample.
    outline
        ``"core"`` (a disc), ``"sheet"`` (one torn edge) or ``"full"``.
    core_diameter
        Diameter of a core, as a fraction of the shorter side.
    glands, nests
        Glands with a lumen and solid epithelial nests, a square millimetre.
    gland_radius
        Mean radius, in micrometres.
    vessels
        Vessels a square millimetre.
    fat
        Fraction of the area that is fat.
    collagen
        From 0, loose stroma, to 1, dense.
    coherence
        From 0, fibres in all directions, to about 3, all in one.
    crimp
        Amplitude of the waves of fibres, in micrometres.
    fibroblasts, infiltrate
        Density of spindle cells and of lymphocytes, 0 to 1.
    clefts
        How torn the stroma is along its fibres, 0 to 1.
    folds
        Number of folds of the section.
    """

    spacing: float = 0.5
    outline: str = "full"
    core_diameter: float = 0.85
    glands: float = 22.0
    nests: float = 25.0
    gland_radius: float = 42.0
    vessels: float = 14.0
    fat: float = 0.08
    collagen: float = 0.6
    coherence: float = 0.8
    crimp: float = 1.6
    fibroblasts: float = 0.5
    infiltrate: float = 0.3
    clefts: float = 0.5
    folds: int = 0

    def __post_init__(self) -> None:
        if self.outline not in ("core", "sheet", "full"):
            raise SettingsError(f"outline must be core, sheet or full, not {self.outline!r}")
        if not self.spacing > 0:
            raise SettingsError(f"spacing must be positive, not {self.spacing}")

    @classmethod
    def draw(cls, rng: np.random.Generator, spacing: float = 0.5) -> TissueSettings:
        """Return random settings, from sparse fatty stroma to dense tumour."""
        return cls(
            spacing=spacing,
            outline=str(rng.choice(["core", "sheet", "full"], p=[0.4, 0.2, 0.4])),
            core_diameter=rng.uniform(0.7, 0.98),
            glands=rng.choice([0.0, 10.0, 30.0, 60.0]),
            nests=rng.choice([0.0, 20.0, 80.0, 200.0]),
            gland_radius=rng.uniform(25, 55),
            vessels=rng.uniform(0, 30),
            fat=rng.choice([0.0, 0.0, 0.1, 0.3]),
            collagen=rng.uniform(0.2, 1.0),
            coherence=rng.uniform(0, 2.5),
            crimp=rng.uniform(0.5, 3.0),
            fibroblasts=rng.uniform(0.2, 1.0),
            infiltrate=rng.choice([0.05, 0.3, 0.8]),
            clefts=rng.uniform(0.1, 1.0),
            folds=int(rng.choice([0, 0, 1, 2])),
        )


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The hidden truth of a section: maps of shape ``grid.shape``, float32 where not said.

    Parameters
    ----------
    grid
        Where the samples sit, in micrometres.
    labels
        `Region` of each sample, uint8.
    section
        Thickness: 0 where there is no tissue, 1 on the section, 2 in a fold.
    collagen
        Amount of collagen of all kinds.
    fibrils
        The ordered part of it, which second harmonics come from.
    orientation
        Angle of the fibres, 0 to pi, from the columns axis towards the rows axis.
    chromatin
        Amount of DNA.
    nucleus_ids
        0 outside nuclei, else 1 + the index into `nucleus_kinds`, int32.
    nucleus_kinds
        `NucleusKind` of each nucleus, uint8, shape ``(n,)``.
    cytoplasm
        Amount of cytoplasm and muscle.
    epithelium
        The epithelial part of it.
    membrane
        Walls between epithelial cells and around fat cells.
    blood
        Red blood cells.
    """

    grid: Grid
    labels: Array
    section: Array
    collagen: Array
    fibrils: Array
    orientation: Array
    chromatin: Array
    nucleus_ids: Array
    nucleus_kinds: Array
    cytoplasm: Array
    epithelium: Array
    membrane: Array
    blood: Array


@dataclass(frozen=True, eq=False)
class _Plan:
    """Regions, and the distances to their edges in micrometres."""

    labels: Array
    depth: Array  # inside a gland, from its base; 0 outside
    to_gland: Array  # outside glands and vessels, to the nearest
    wall: Array  # inside a vessel, from its outer edge; 0 outside
    outward: Array  # angle of the normal of glands and vessels


def simulate_anatomy(
    shape: tuple[int, int],
    rng: np.random.Generator,
    settings: TissueSettings | None = None,
) -> Anatomy:
    """Make the hidden anatomy of a field.

    Parameters
    ----------
    shape
        Rows and columns.
    rng
        Source of randomness; the same state gives the same tissue.
    settings
        What kind of tissue; drawn from `rng` where not given.

    Returns
    -------
    Anatomy
        Maps to render modalities from.
    """
    s = settings or TissueSettings.draw(rng)
    plan = _plan_regions(shape, rng, s)
    field = orientation_field(
        shape, 70 / s.spacing, rng, s.coherence, plan.to_gland / s.spacing, 18 / s.spacing
    )
    section = _section(shape, rng, s)
    stroma = plan.labels == Region.STROMA
    collagen, fibrils, clefts = _collagen(stroma, field, rng, s)
    adipocytes = scatter((plan.labels == Region.FAT).astype(float), 34 / s.spacing, rng)
    fat_wall = wall_distance(adipocytes, plan.labels == Region.FAT) * s.spacing
    groups = _place_nuclei(plan, field, section * (clefts < 0.4), fat_wall, rng, s)
    nuclei = draw_nuclei(groups, shape, s.spacing, rng)
    epithelial = np.concatenate(
        [g.centers for g in groups if g.kind == NucleusKind.EPITHELIAL] + [np.zeros((0, 2))]
    )
    inside = plan.labels == Region.EPITHELIUM
    cell_wall = wall_distance(epithelial, inside) * s.spacing
    texture = fractal_noise(shape, 2.0 / s.spacing, rng)
    epithelium = inside * (0.85 + 0.12 * texture)
    muscle = (plan.labels == Region.VESSEL) * np.clip(plan.wall / 2, 0, 1) * (1 + 0.15 * texture)
    halo = 0.5 * ndimage.gaussian_filter(nuclei.chromatin, 1.6 / s.spacing) * stroma
    secretion = (plan.labels == Region.LUMEN) * np.clip(smooth_noise(shape, 15 / s.spacing, rng), 0, 1)
    membrane = np.exp(-((cell_wall / 0.55) ** 2)) * inside
    membrane += 1.1 * np.exp(-((fat_wall / 0.9) ** 2)) * (plan.labels == Region.FAT)
    keep = section * (1 - clefts)
    labels = np.where(section > 0.5, plan.labels, Region.BACKGROUND).astype(np.uint8)
    blood = _blood(plan, rng, s)

    def seen(part: Array) -> Array:
        return np.asarray(part * section, np.float32)

    return Anatomy(
        grid=Grid(shape, (s.spacing, s.spacing), unit="micrometer"),
        labels=labels,
        section=section,
        collagen=np.asarray(collagen * keep, np.float32),
        fibrils=np.asarray(fibrils * keep, np.float32),
        orientation=np.asarray(np.mod(np.angle(field) / 2, np.pi), np.float32),
        chromatin=seen(nuclei.chromatin),
        nucleus_ids=np.where(section > 0.5, nuclei.ids, 0),
        nucleus_kinds=nuclei.kinds,
        cytoplasm=seen(epithelium + muscle + halo + 0.12 * secretion),
        epithelium=seen(epithelium),
        membrane=seen(membrane),
        blood=seen(blood),
    )


def _plan_regions(shape: tuple[int, int], rng: np.random.Generator, s: TissueSettings) -> _Plan:
    area = shape[0] * shape[1] * s.spacing**2 / 1e6  # square millimetres
    ragged = fractal_noise(shape, 14 / s.spacing, rng)
    glands = _blobs(shape, rng.poisson(s.glands * area), s.gland_radius / s.spacing, 0.3, rng)
    nests = _blobs(shape, rng.poisson(s.nests * area), 0.4 * s.gland_radius / s.spacing, 0.7, rng)
    vessels = _blobs(shape, rng.poisson(s.vessels * area), 14 / s.spacing, 0.4, rng)
    gland = glands + 0.10 * ragged > 0
    nest = (nests + 0.25 * ragged > 0) & ~gland
    vessel = (vessels + 0.05 * ragged > 0) & ~ndimage.binary_dilation(gland | nest, iterations=6)
    depth = np.asarray(ndimage.distance_transform_edt(gland | nest) * s.spacing, np.float32)
    wall = np.asarray(ndimage.distance_transform_edt(vessel) * s.spacing, np.float32)
    height = 13 + 3.0 * smooth_noise(shape, 30 / s.spacing, rng) + 1.0 * ragged
    labels = np.full(shape, Region.STROMA, np.uint8)
    if s.fat > 0:
        level = fractal_noise(shape, 60 / s.spacing, rng)
        labels[level > np.quantile(level, 1 - s.fat)] = Region.FAT
    labels[vessel] = Region.VESSEL
    labels[gland | nest] = Region.EPITHELIUM
    labels[gland & (depth > height)] = Region.LUMEN
    to_gland = ndimage.distance_transform_edt(~(gland | nest | vessel)) * s.spacing
    signed = ndimage.gaussian_filter(to_gland - depth - wall, 2.0 / s.spacing)
    rows, columns = np.gradient(signed)
    outward = np.arctan2(rows, columns)
    return _Plan(labels, depth, np.asarray(to_gland, np.float32), wall, outward)


def _blobs(
    shape: tuple[int, int], count: int, radius: float, stretch: float, rng: np.random.Generator
) -> Array:
    """Return a map that is positive inside `count` ellipses, 1 in their middles."""
    level = np.full(shape, -1.0, np.float32)
    for _ in range(count):
        center = rng.uniform(0, 1, 2) * shape
        r = radius * rng.lognormal(0, 0.35)
        ratio = np.exp(stretch * rng.uniform(0, 1))
        angle = rng.uniform(0, np.pi)
        low = np.maximum(0, center - 2.2 * r * ratio).astype(int)
        high = np.minimum(shape, center + 2.2 * r * ratio).astype(int)
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        dy, dx = np.ogrid[window]
        dy, dx = dy - center[0], dx - center[1]
        u = (np.cos(angle) * dx + np.sin(angle) * dy) / (r * ratio)
        v = (np.cos(angle) * dy - np.sin(angle) * dx) / r * ratio
        level[window] = np.maximum(level[window], 1 - np.hypot(u, v))
    return level


def _section(shape: tuple[int, int], rng: np.random.Generator, s: TissueSettings) -> Array:
    """Thickness of the section: its outline, uneven cutting, and folds."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    ragged = 5 * fractal_noise(shape, 12 / s.spacing, rng, 4)  # micrometres
    if s.outline == "core":
        center = (np.array(shape) - 1) / 2
        radius = s.core_diameter * min(shape) / 2
        edge = (radius - np.hypot(rows - center[0], columns - center[1])) * s.spacing
        edge += 6 * smooth_noise(shape, 60 / s.spacing, rng)
    elif s.outline == "sheet":
        angle = rng.uniform(0, 2 * np.pi)
        across = np.cos(angle) * (columns - shape[1] / 2) + np.sin(angle) * (rows - shape[0] / 2)
        edge = (across + 0.3 * min(shape)) * s.spacing
        edge += 15 * smooth_noise(shape, 60 / s.spacing, rng)
    else:
        edge = np.full(shape, 50.0, np.float32)
    section = 1 / (1 + np.exp(-np.clip(2.0 * (edge + ragged), -30, 30)))
    section *= 1 + 0.06 * smooth_noise(shape, 80 / s.spacing, rng)
    for _ in range(s.folds):
        level = smooth_noise(shape, 90 / s.spacing, rng)
        gradient = np.hypot(*np.gradient(level)) / s.spacing + 1e-6
        part = smooth_noise(shape, 60 / s.spacing, rng) > 0.3
        section *= 1 + np.exp(-((level / gradient / 5) ** 2)) * ndimage.gaussian_filter(
            part.astype(np.float32), 8 / s.spacing
        )
    return np.asarray(section, np.float32)


def _collagen(
    stroma: Array, field: Array, rng: np.random.Generator, s: TissueSettings
) -> tuple[Array, Array, Array]:
    """Collagen, its ordered part, and the clefts between bundles."""
    shape = stroma.shape
    um = 1 / s.spacing
    dense = np.clip(0.5 + 1.3 * (s.collagen - 0.5) + 0.28 * fractal_noise(shape, 70 * um, rng), 0, 1)
    coarse = Bundles(110 * um, 7 * um, s.crimp * um, 38 * um, 9)
    fine = Bundles(55 * um, 6 * um, 0.8 * s.crimp * um, 22 * um, 7)
    thick = trace_fibres(scatter(0.15 + 0.85 * dense, 13 * um, rng), coarse, field, rng)
    thin = trace_fibres(scatter(0.3 + 0.7 * dense, 13 * um, rng), fine, field, rng)
    strands = deposit(thick, rng.gamma(2.0, 0.5, len(thick.points)), shape, 1.3 * um)
    threads = deposit(thin, rng.gamma(2.0, 0.5, len(thin.points)), shape, 0.55 * um)
    body = 0.22 + 0.78 * dense
    collagen = body * (0.55 + 0.45 * np.tanh(0.45 * strands)) + 0.20 * np.tanh(0.8 * threads)
    # Few bundles lie in the plane and in focus: their brightness has a long tail.
    bright = rng.lognormal(-1.2, 1.1, int(thick.bundle.max(initial=0)) + 1)[thick.bundle]
    single = rng.lognormal(0, 0.6, len(bright))
    fibrils = deposit(thick, bright * single, shape, 0.6 * um)
    spark = rng.lognormal(-2.0, 1.2, int(thin.bundle.max(initial=0)) + 1)[thin.bundle]
    fibrils += deposit(thin, spark, shape, 0.4 * um)
    fibrils += 0.06 * strands
    gaps = Bundles(26 * um, 5 * um, 0.5 * s.crimp * um, 38 * um, 2.0)
    torn = trace_fibres(scatter(s.clefts * (1 - 0.6 * dense), 17 * um, rng), gaps, field, rng)
    clefts = deposit(torn, rng.gamma(2.0, 0.6, len(torn.points)), shape, 0.9 * um)
    clefts = 1 / (1 + np.exp(-np.clip(9 * (clefts - 0.75), -30, 30)))
    loose = fractal_noise(shape, 5 * um, rng) * (1 - dense) > 1.1
    clefts = np.maximum(clefts, s.clefts * ndimage.gaussian_filter(loose.astype(np.float32), um))
    soft = ndimage.gaussian_filter(stroma.astype(np.float32), 0.5 * um)
    return collagen * soft, fibrils * soft * (0.3 + 0.7 * dense), clefts * soft


def _place_nuclei(
    plan: _Plan,
    field: Array,
    room: Array,
    fat_wall: Array,
    rng: np.random.Generator,
    s: TissueSettings,
) -> list[Nuclei]:
    """Nuclei by kind, where there is `room` for them."""
    um = 1 / s.spacing
    shape = room.shape
    stroma = (plan.labels == Region.STROMA) & (room > 0.5)
    cuffs = np.exp(-plan.to_gland / 40)
    clusters = np.clip(fractal_noise(shape, 35 * um, rng) + 2.2 * s.infiltrate + cuffs - 1.7, 0, 1)
    lymphocytes = scatter(stroma * (0.02 * s.infiltrate + clusters), 6.8 * um, rng)
    spindles = scatter(stroma * 0.5 * s.fibroblasts * (1 - clusters), 11 * um, rng)
    along = np.angle(field) / 2
    epithelium = plan.labels == Region.EPITHELIUM
    lined = ndimage.maximum_filter(plan.labels == Region.LUMEN, int(2 * 14 * um) + 1) & epithelium
    basal = np.exp(-(((plan.depth - 5.5) / 2.2) ** 2))
    solid = np.clip((plan.depth - 2.5) / 2, 0, 1)
    epithelial = scatter(np.where(lined, basal, solid) * epithelium, 6.4 * um, rng)
    lining = (plan.labels == Region.VESSEL) & (np.abs(plan.wall - 4.5) < 0.8)
    endothelial = scatter(lining.astype(float), 9 * um, rng)
    fat = (plan.labels == Region.FAT) & (fat_wall < 0.8)
    adipocytes = scatter(0.15 * fat, 18 * um, rng)
    wall_angle = np.arctan2(*np.gradient(ndimage.gaussian_filter(np.minimum(fat_wall, 9), 1.0)))

    def angles(points: Floats, of: Array, turn: float, spread: float) -> Floats:
        rows, columns = np.round(points).astype(int).T
        return of[rows, columns] + turn + rng.normal(0, spread, len(points))

    tangent = np.pi / 2
    return [
        Nuclei(NucleusKind.FIBROBLAST, spindles, angles(spindles, along, 0, 0.15)),
        Nuclei(NucleusKind.LYMPHOCYTE, lymphocytes, angles(lymphocytes, along, 0, 2.0)),
        Nuclei(NucleusKind.EPITHELIAL, epithelial, angles(epithelial, plan.outward, 0, 0.3)),
        Nuclei(NucleusKind.ENDOTHELIAL, endothelial, angles(endothelial, plan.outward, tangent, 0.1)),
        Nuclei(NucleusKind.ADIPOCYTE, adipocytes, angles(adipocytes, wall_angle, tangent, 0.1)),
    ]


def _blood(plan: _Plan, rng: np.random.Generator, s: TissueSettings) -> Array:
    """Red blood cells inside vessels."""
    um = 1 / s.spacing
    lumen = (plan.labels == Region.VESSEL) & (plan.wall > 6.0)
    filled = smooth_noise(lumen.shape, 20 * um, rng) > -0.3
    cells = scatter((lumen & filled).astype(float), 5.6 * um, rng)
    if len(cells) == 0:
        return np.zeros(lumen.shape, np.float32)
    seeds = np.ones(lumen.shape, bool)
    seeds[tuple(np.round(cells).astype(int).T)] = False
    distance = ndimage.distance_transform_edt(seeds) * s.spacing
    disc = 1 / (1 + np.exp(np.clip((distance - 3.0) / 0.25, -30, 30)))
    return np.asarray(disc * (0.75 + 0.25 * np.clip(distance / 2, 0, 1)), np.float32)


def crop_anatomy(anatomy: Anatomy, window: tuple[slice, slice]) -> Anatomy:
    """Return the part of an anatomy in a window, at its place in the world."""
    maps = {
        name: value[window]
        for name, value in vars(anatomy).items()
        if name not in ("grid", "nucleus_kinds")
    }
    low = [part.indices(n)[0] for part, n in zip(window, anatomy.grid.shape, strict=True)]
    grid = replace(
        anatomy.grid,
        shape=maps["labels"].shape,
        origin=tuple(anatomy.grid.to_world(low)),
    )
    return replace(anatomy, grid=grid, **maps)
