"""Where in one image a place of the other is seen again: maps to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from napari_accr.errors import IncompatibleImages, ModelError
from napari_accr.image import Floats, Grid, Image, Modality
from napari_accr.models.precision import Precision
from napari_accr.models.settings import COARSE, COARSE_CENTER
from napari_accr.progress import drain
from napari_accr.pyramid import iter_completed
from napari_accr.registration.inputs import check_images
from napari_accr.registration.learned import Learned
from napari_accr.registration.methods import prepare
from napari_accr.registration.settings import SHIPPED, Settings
from napari_accr.registration.start import begin
from napari_accr.registration.views import View, laid
from napari_accr.sampling import sample
from napari_accr.transforms import Affine, Transform


@dataclass(frozen=True, eq=False)
class Correspondence:
    """Two images and a model, ready to answer for one place after the other.

    What a place does not change is computed once, when it is first needed.

    Parameters
    ----------
    grid
        Of the fixed image.
    views
        Both images on the grid on which they are compared, the moving one laid there.
    learned
        The model.
    """

    grid: Grid
    views: tuple[View, View]
    learned: Learned

    @classmethod
    def of(
        cls,
        fixed: Image,
        moving: Image,
        *,
        transform: Transform | None = None,
        model: str = SHIPPED,
        device: str = "auto",
    ) -> Correspondence:
        """Prepare two images; see `similarity_map` for the parameters and errors."""
        check_images(fixed, moving)
        fixed, moving = (drain(iter_completed(image)) for image in (fixed, moving))
        ndim = fixed.grid.ndim
        transform = transform or Affine.identity(ndim)
        settings = Settings(device=device)
        pair = prepare(fixed, moving, settings, begin(fixed, moving, transform, None, settings))
        learned = Learned.of(model, ndim, pair.device)
        first, second = pair.views(pair.coarsest)
        return cls(fixed.grid, (first, laid(second, transform, first.grid)), learned)

    def computed(self, *, attention: bool = False) -> Correspondence:
        """Return the same, with what `similar` needs, or `attended`, computed now.

        Raises
        ------
        ModelError
            If the model has no attention.
        """
        _ = self._attention if attention else self._features
        return self

    def similar(self, point: Sequence[float] | Floats) -> Image:
        """Return what `similarity_map` returns, for one place."""
        at = self._place(point)
        ndim = len(at)
        described = self._features
        here = sample(described[0], at.reshape(1, *[1] * ndim, ndim)).flatten()
        if not float(here.norm()) > 0:
            raise IncompatibleImages("there is nothing to see at the point; choose another")
        lengths = described[1].norm(dim=1)[0] * here.norm()
        cosine = torch.einsum("c,c...->...", here, described[1][0]) / lengths.clamp(min=1e-6)
        cosine = torch.where(self.views[1].valid[0, 0] > 0, cosine, torch.nan)
        return _map(cosine, self.views[0].grid)

    def attended(self, point: Sequence[float] | Floats) -> Image:
        """Return what `attention_map` returns, for one place."""
        at = self._place(point)
        maps, shapes = self._attention
        last = torch.tensor(shapes[0], device=at.device) - 1
        token = ((at - COARSE_CENTER) / COARSE).round().clamp(min=0).minimum(last).long().tolist()
        looked = maps[int(np.ravel_multi_index(token, shapes[0]))].reshape(shapes[1])
        grid = self.views[1].grid
        step = tuple(COARSE * s for s in grid.spacing)
        origin = grid.to_world(np.full(grid.ndim, float(COARSE_CENTER)))
        return _map(looked, Grid(tuple(looked.shape), step, tuple(origin.tolist()), grid.unit))

    def _place(self, point: Sequence[float] | Floats) -> Tensor:
        """Return a place of the fixed world in samples of the views."""
        place = np.asarray(point, float)
        if place.shape != (self.grid.ndim,) or not _within(self.grid, place):
            raise IncompatibleImages(f"the point {place.tolist()} does not lie on the fixed image")
        # A reduced image may end before the last samples of the whole one.
        first = self.views[0]
        index = np.clip(first.grid.to_index(place), 0, np.array(first.grid.shape) - 1)
        return torch.as_tensor(index, dtype=torch.float32, device=first.data.device)

    @cached_property
    def _features(self) -> tuple[Tensor, Tensor]:
        first, second = (self.learned(v.data, v.valid, v.modality) for v in self.views)
        return first, second

    @cached_property
    def _attention(self) -> tuple[Tensor, tuple[torch.Size, torch.Size]]:
        """Where each coarse feature looks, ``(fixed, moving)``, and the shapes of both."""
        network = self.learned.model
        if network.attention is None:
            raise ModelError(f"the model {self.learned.name} has no attention; train one that has")
        with torch.no_grad():
            with Precision.of(self.views[0].data.device)():
                coarse = [network(v.data, v.valid, v.modality).coarse for v in self.views]
            maps = network.attention(coarse[0].float(), coarse[1].float()).maps()[0]
        return maps, (coarse[0].shape[2:], coarse[1].shape[2:])


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
    found = Correspondence.of(fixed, moving, transform=transform, model=model, device=device)
    return found.similar(point)


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
    found = Correspondence.of(fixed, moving, transform=transform, model=model, device=device)
    return found.attended(point)


def _within(grid: Grid, place: Floats) -> bool:
    index = grid.to_index(place)
    return bool((index >= -0.5).all() and (index <= np.array(grid.shape) - 0.5).all())


def _map(values: Tensor, grid: Grid) -> Image:
    return Image(values.cpu().numpy().astype(np.float32)[None], grid, Modality.OTHER)
