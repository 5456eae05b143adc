"""A simulator of tissue: one hidden anatomy that every modality is rendered from."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_accr.data.anatomy import Anatomy, Region, TissueSettings
from napari_accr.data.cells import Nuclei, NucleusKind, draw_nuclei, wall_distance
from napari_accr.data.fibres import Bundles, deposit, orientation_field, trace_fibres
from napari_accr.data.layout import Plan, cut_section, plan_regions
from napari_accr.data.noise import fractal_noise, scatter, sigmoid, smooth_noise
from napari_accr.image import Array, Floats, Grid


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
    um = 1 / s.spacing
    plan = plan_regions(shape, rng, s)
    field = orientation_field(shape, 70 * um, rng, s.coherence, plan.to_gland * um, 18 * um)
    section = cut_section(shape, rng, s)
    collagen, fibrils, clefts = _collagen(plan.labels == Region.STROMA, field, rng, s)
    fat_wall = _fat(plan, rng, s)
    groups = _place_nuclei(plan, field, section * (clefts < 0.4), fat_wall, rng, s)
    nuclei = draw_nuclei(groups, shape, s.spacing, rng)
    epithelium, membrane = _epithelium(plan, groups, rng, s)
    other = _other_cytoplasm(plan, nuclei.chromatin, fat_wall, rng, s)
    present = section > 0.5
    outside = 1 - 0.75 * np.clip(nuclei.chromatin, 0, 1)  # a nucleus takes the room of the rest

    def seen(part: Array) -> Array:
        return np.asarray(part * section, np.float32)

    return Anatomy(
        grid=Grid(shape, (s.spacing, s.spacing), unit="micrometer"),
        labels=np.where(present, plan.labels, Region.BACKGROUND).astype(np.uint8),
        section=section,
        collagen=seen(collagen * (1 - clefts) * outside),
        fibrils=seen(fibrils * (1 - clefts) * outside),
        orientation=np.asarray(np.mod(np.angle(field) / 2, np.pi), np.float32),
        chromatin=seen(nuclei.chromatin),
        nucleus_ids=np.where(present, nuclei.ids, 0),
        nucleus_kinds=nuclei.kinds,
        cytoplasm=seen((epithelium + other) * outside),
        epithelium=seen(epithelium * outside),
        membrane=seen(membrane),
        blood=seen(_blood(plan, rng, s)),
    )


def _collagen(
    stroma: Array, field: Array, rng: np.random.Generator, s: TissueSettings
) -> tuple[Array, Array, Array]:
    """Collagen, its ordered part, and the clefts between bundles."""
    shape, um = stroma.shape, 1 / s.spacing
    dense = 0.5 + 1.3 * (s.collagen - 0.5) + 0.3 * fractal_noise(shape, 60 * um, rng)
    dense = np.clip(dense, 0, 1)
    coarse = Bundles(110 * um, 7 * um, s.crimp * um, 38 * um, 9)
    fine = Bundles(60 * um, 8 * um, 0.8 * s.crimp * um, 22 * um, 6)
    thick = trace_fibres(scatter(0.15 + 0.85 * dense, 13 * um, rng), coarse, field, rng)
    thin = trace_fibres(scatter(0.4 + 0.6 * dense, 11 * um, rng), fine, field, rng)
    strands = deposit(thick, rng.gamma(1.5, 0.67, len(thick.points)), shape, 1.2 * um)
    threads = deposit(thin, rng.gamma(1.5, 0.67, len(thin.points)), shape, 0.5 * um)
    strands, threads = strands / (strands + 1.2), threads / (threads + 0.8)
    packed = 0.30 + 0.62 * strands + 0.34 * threads
    loose = 0.05 + 0.42 * strands + 0.38 * threads
    collagen = dense * packed + (1 - dense) * loose
    # Few bundles lie in the plane and in focus: their brightness has a long tail,
    # and each fades in and out along its way.
    fibrils = deposit(thick, _long_tailed(thick.bundle, 0.9, rng), shape, 0.55 * um)
    fibrils += 0.8 * deposit(thin, _long_tailed(thin.bundle, 1.1, rng), shape, 0.4 * um)
    in_focus = np.exp(0.5 * fractal_noise(shape, 10 * um, rng))
    fibrils *= in_focus * (0.25 + 0.75 * dense)
    gaps = Bundles(60 * um, 4 * um, s.crimp * um, 38 * um, 2.0)
    torn = trace_fibres(scatter(s.clefts * (1 - 0.6 * dense), 22 * um, rng), gaps, field, rng)
    clefts = deposit(torn, rng.gamma(1.5, 0.7, len(torn.points)), shape, 0.9 * um)
    clefts *= np.exp(0.5 * fractal_noise(shape, 8 * um, rng))
    clefts += 1.1 * s.clefts * (1 - dense) * np.clip(1 - 2.4 * strands, 0, 1)
    clefts = sigmoid(6 * (clefts - 0.85))
    soft = ndimage.gaussian_filter(stroma.astype(np.float32), 0.5 * um)
    return collagen * soft, fibrils * soft, clefts * soft


def _long_tailed(bundle: Array, tail: float, rng: np.random.Generator) -> Floats:
    """Brightness of each fibre: few bundles are bright, and fibres differ within them."""
    bundles = int(bundle.max(initial=0)) + 1
    brightness: Floats = rng.lognormal(-tail, tail, bundles)[bundle]
    return brightness * rng.lognormal(0, 0.6, len(bundle))


def _fat(plan: Plan, rng: np.random.Generator, s: TissueSettings) -> Array:
    """Distance to the walls of fat cells, in micrometres; infinite outside fat."""
    fat = plan.labels == Region.FAT
    cells = scatter(fat.astype(float), 36 / s.spacing, rng)
    return wall_distance(cells, fat) * np.float32(s.spacing)


def _place_nuclei(
    plan: Plan,
    field: Array,
    room: Array,
    fat_wall: Array,
    rng: np.random.Generator,
    s: TissueSettings,
) -> list[Nuclei]:
    """Nuclei by kind, where there is `room` for them."""
    shape, um = room.shape, 1 / s.spacing
    stroma = (plan.labels == Region.STROMA) & (room > 0.5)
    cuffs = np.exp(-plan.to_gland / 40)
    crowd = fractal_noise(shape, 35 * um, rng) + 2.2 * s.infiltrate + cuffs - 1.7
    crowd = np.clip(0.6 * crowd, 0, 0.9)
    patchy = np.exp(0.7 * fractal_noise(shape, 30 * um, rng))
    spindle = np.clip(0.10 * s.fibroblasts * patchy, 0, 1) * (1 - crowd)
    epithelium = plan.labels == Region.EPITHELIUM
    lined = ndimage.maximum_filter(plan.labels == Region.LUMEN, int(2 * 14 * um) + 1) & epithelium
    basal = np.exp(-(((plan.depth - 5.5) / 2.2) ** 2))
    solid = np.clip((plan.depth - 2.5) / 2, 0, 1)
    rows_of_cells = np.where(lined, basal, solid)
    lining = (plan.labels == Region.VESSEL) & (np.abs(plan.wall - 4.5) < 0.8)
    septum = 0.15 * (fat_wall < 0.8)
    gradient = np.gradient(ndimage.gaussian_filter(np.minimum(fat_wall, 9), um))
    along, across_fat = np.angle(field) / 2, np.arctan2(*gradient)
    tangent = np.pi / 2
    plans: list[tuple[NucleusKind, Array, float, Array, float]] = [
        (NucleusKind.FIBROBLAST, stroma * spindle, 8.0, along, 0.15),
        (NucleusKind.LYMPHOCYTE, stroma * (0.01 * s.infiltrate + crowd), 6.4, along, 2.0),
        (NucleusKind.EPITHELIAL, epithelium * rows_of_cells, 6.4, plan.outward, 0.3),
        (NucleusKind.ENDOTHELIAL, lining * 1.0, 9.0, plan.outward + tangent, 0.1),
        (NucleusKind.ADIPOCYTE, septum, 18.0, across_fat + tangent, 0.1),
    ]
    groups = []
    for kind, weight, apart, angle, spread in plans:
        points = scatter(weight, apart * um, rng)
        rows, columns = np.round(points).astype(int).T
        turned = angle[rows, columns] + rng.normal(0, spread, len(points))
        groups.append(Nuclei(kind, points, turned))
    return groups


def _epithelium(
    plan: Plan, groups: list[Nuclei], rng: np.random.Generator, s: TissueSettings
) -> tuple[Array, Array]:
    """Cytoplasm of epithelial cells, and the walls between them."""
    inside = plan.labels == Region.EPITHELIUM
    texture = fractal_noise(inside.shape, 2.0 / s.spacing, rng)
    centers = [g.centers for g in groups if g.kind == NucleusKind.EPITHELIAL]
    wall = wall_distance(np.concatenate(centers), inside) * s.spacing
    return inside * (0.85 + 0.14 * texture), np.exp(-((wall / 0.55) ** 2)) * inside


def _other_cytoplasm(
    plan: Plan, chromatin: Array, fat_wall: Array, rng: np.random.Generator, s: TissueSettings
) -> Array:
    """Muscle of vessels, walls of fat cells, the surrounds of stromal nuclei, secretions."""
    shape, um = chromatin.shape, 1 / s.spacing
    texture = 1 + 0.15 * fractal_noise(shape, 2 * um, rng)
    vessel = plan.labels == Region.VESSEL
    muscle = vessel * np.clip(plan.wall / 2, 0, 1) * np.clip((7 - plan.wall) / 1.5, 0, 1)
    halo = ndimage.gaussian_filter(chromatin, 1.6 * um) * (plan.labels == Region.STROMA)
    secretion = np.clip(smooth_noise(shape, 15 * um, rng), 0, 1) * (plan.labels == Region.LUMEN)
    wall = np.exp(-((fat_wall / 1.0) ** 2))
    return np.asarray(texture * (muscle + 0.5 * halo + 0.12 * secretion + 0.9 * wall), np.float32)


def _blood(plan: Plan, rng: np.random.Generator, s: TissueSettings) -> Array:
    """Red blood cells inside vessels."""
    um = 1 / s.spacing
    lumen = (plan.labels == Region.VESSEL) & (plan.wall > 6.5)
    filled = smooth_noise(lumen.shape, 20 * um, rng) > -0.3
    cells = scatter((lumen & filled).astype(float), 5.2 * um, rng)
    if len(cells) == 0:
        return np.zeros(lumen.shape, np.float32)
    seeds = np.ones(lumen.shape, bool)
    seeds[tuple(np.round(cells).astype(int).T)] = False
    distance = ndimage.distance_transform_edt(seeds) * s.spacing
    disc = sigmoid((3.1 - distance) / 0.25)
    return np.asarray(disc * (0.7 + 0.3 * np.clip(distance / 2, 0, 1)), np.float32)
