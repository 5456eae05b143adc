"""Where in one image a place of the other is seen again: maps to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from napari_accr.errors import IncompatibleImages, ModelError
from napari_accr.image import Floats, Grid, Image, Modality
from napari_accr.models.precision import Precision
from napari_accr.models.settings import COARSE, COARSE_CENTER
from napari_accr.registration.inputs import check_images
from napari_accr.registration.learned import Learned
from napari_accr.registration.methods import prepare
from napari_accr.registration.settings import SHIPPED, Settings
from napari_accr.registration.start import begin
from napari_accr.registration.views import View, laid
from napari_accr.sampling import sample
from napari_accr.transforms import Affine, Transform


def similarity_map(
    fixed: Image,
    moving: Image,
    point: Sequence[float] | Floats,
    *,
    transform: Transform | None = None,
    model: str = SHIPPED,
    device: str = "auto",
) -> Image:
    """Compare the features at one place of the fixed image with those all over the moving one.

    Parameters
    ----------
    fixed, moving
        The images.
    point
        The place, in world units of the fixed image, in the order of its axes.
    transform
        From the fixed to the moving world; features know the moving image only where it is
        turned and sized as the fixed one. The worlds are the same where not given.
    model
        Name or file of the model.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.

    Returns
    -------
    Image
        One channel, float32, on a grid of about 120 samples a side in the fixed world: the
        cosine of the features, -1 to 1; NaN where the moving image was not observed.

    Raises
    ------
    IncompatibleImages
        If the point lies outside the fixed image, or where nothing was observed, or the
        transform is of another dimension.
    ModelError
        If there is no such model, or it is of other images.
    """
    at, views, learned = _prepared(fixed, moving, point, transform, model, device)
    described = [learned(v.data, v.valid, v.modality) for v in views]
    ndim = len(at)
    here = sample(described[0], at.reshape(1, *[1] * ndim, ndim)).flatten()
    if not float(here.norm()) > 0:
        raise IncompatibleImages("there is nothing to see at the point; choose another")
    lengths = described[1].norm(dim=1)[0] * here.norm()
    cosine = torch.einsum("c,c...->...", here, described[1][0]) / lengths.clamp(min=1e-6)
    cosine = torch.where(views[1].valid[0, 0] > 0, cosine, torch.nan)
    return _map(cosine, views[0].grid)


def attention_map(
    fixed: Image,
    moving: Image,
    point: Sequence[float] | Floats,
    *,
    model: str,
    transform: Transform | None = None,
    device: str = "auto",
) -> Image:
    """Return where the attention of a model looks from one place of the fixed image.

    The parameters and errors are those of `similarity_map`. The model that ships has no
    attention; those that are trained have, unless its loss is left out.

    Returns
    -------
    Image
        One channel, float32, of sum 1, a sample for each coarse feature of the moving image.

    Raises
    ------
    ModelError
        If the model has no attention.
    """
    at, (first, second), learned = _prepared(fixed, moving, point, transform, model, device)
    network = learned.model
    if network.attention is None:
        raise ModelError(f"the model {learned.name} has no attention; train one that has")
    with torch.no_grad():
        with Precision.of(at.device)():
            coarse = [network(v.data, v.valid, v.modality).coarse for v in (first, second)]
        maps = network.attention(coarse[0].float(), coarse[1].float()).maps()[0]
    shape = coarse[0].shape[2:]
    last = torch.tensor(shape, device=at.device) - 1
    token = ((at - COARSE_CENTER) / COARSE).round().clamp(min=0).minimum(last).long().tolist()
    looked = maps[int(np.ravel_multi_index(token, shape))].reshape(coarse[1].shape[2:])
    grid = second.grid
    step = tuple(COARSE * s for s in grid.spacing)
    origin = grid.to_world(np.full(grid.ndim, float(COARSE_CENTER)))
    return _map(looked, Grid(tuple(looked.shape), step, tuple(origin.tolist()), grid.unit))


def _prepared(
    fixed: Image,
    moving: Image,
    point: Sequence[float] | Floats,
    transform: Transform | None,
    model: str,
    device: str,
) -> tuple[torch.Tensor, tuple[View, View], Learned]:
    """Return the place in samples, both images on the grid of the fixed one, and the features."""
    check_images(fixed, moving)
    ndim = fixed.grid.ndim
    place = np.asarray(point, float)
    if place.shape != (ndim,) or not _within(fixed.grid, place):
        raise IncompatibleImages(f"the point {place.tolist()} does not lie on the fixed image")
    transform = transform or Affine.identity(ndim)
    settings = Settings(device=device)
    pair = prepare(fixed, moving, settings, begin(fixed, moving, transform, None, settings))
    learned = Learned.of(model, ndim, pair.device)
    first, second = pair.views(pair.coarsest)
    # A reduced image may end before the last samples of the whole one.
    index = np.clip(first.grid.to_index(place), 0, np.array(first.grid.shape) - 1)
    at = torch.as_tensor(index, dtype=torch.float32, device=pair.device)
    return at, (first, laid(second, transform, first.grid)), learned


def _within(grid: Grid, place: Floats) -> bool:
    index = grid.to_index(place)
    return bool((index >= -0.5).all() and (index <= np.array(grid.shape) - 0.5).all())


def _map(values: torch.Tensor, grid: Grid) -> Image:
    return Image(values.cpu().numpy().astype(np.float32)[None], grid, Modality.OTHER)
