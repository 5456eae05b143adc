"""The model that a training starts from, with the parts that it trains."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from napari_accr.errors import SettingsError
from napari_accr.models import Accr, ModelSettings
from napari_accr.models.extension import with_parts
from napari_accr.training.course import AnyObjective


def first_model(
    model: Accr | ModelSettings | None, ndim: int, objectives: Sequence[AnyObjective], seed: int
) -> tuple[Accr, tuple[str, ...]]:
    """Return the model to train, and what to say of its parts.

    Parameters
    ----------
    model
        To go on from, which is not changed; or the settings of a new one.
    ndim
        Axes of a new model where no settings are given.
    objectives
        What is made small, stage after stage.
    seed
        Of the weights that are new; the random numbers of others stay as they are.
    """
    if not isinstance(model, Accr):
        settings = model or ModelSettings(ndim=ndim)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Accr(settings.having(_trained(objectives))), ()
    fitted, anew = with_parts(model, _fitting(model, objectives), seed)
    left_out = sorted(model.settings.parts - fitted.settings.parts)
    said = [f"the model starts with new {' and '.join(anew)}"] if anew else []
    if left_out:
        said.append(f"without the {' and '.join(left_out)} of the model: its features will change")
    return fitted, tuple(said)


def hold(model: Accr, only: Sequence[str]) -> None:
    """Let nothing of a model's encoder learn but the layers of some modalities.

    The painters of other modalities do not learn either; what is neither does.

    Parameters
    ----------
    model
        Changed in place.
    only
        The modalities; where empty all learns.

    Raises
    ------
    SettingsError
        If the model has no layers of one.
    """
    if not only:
        return
    had = model.settings.modalities
    lacking = [name for name in only if name not in had]
    if lacking:
        raise SettingsError(
            f"the model has no layers of {', '.join(lacking)} that could learn alone; "
            f"it has those of {', '.join(had)}"
        )
    for name, parameter in model.named_parameters():
        path = name.split(".")
        own = [part for part in path if part in had]
        parameter.requires_grad_(own[0] in only if own else path[0] != "encoder")


def with_what_was_trained(model: Accr, objectives: Sequence[AnyObjective]) -> Accr:
    """Return a trained model without the parts that its stages did not come to.

    Parameters
    ----------
    model
        As trained.
    objectives
        Of the stages that began.
    """
    fitting = _fitting(model, objectives)
    if fitting == model.settings.parts:
        return model
    return with_parts(model, fitting, 0)[0]


def _trained(objectives: Sequence[AnyObjective]) -> frozenset[str]:
    """Return the parts that are trained."""
    return frozenset[str]().union(*(objective.parts for objective in objectives))


def _fitting(model: Accr, objectives: Sequence[AnyObjective]) -> frozenset[str]:
    """Return the parts that are trained, and those that fit the features as they stay."""
    trained = _trained(objectives)
    if any(objective.teaches_features for objective in objectives):
        return trained
    return trained | model.settings.parts
