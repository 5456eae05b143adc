"""More modalities and other parts for a model that is trained."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import replace

import torch

from napari_accr.errors import SettingsError
from napari_accr.image import Modality
from napari_accr.models.model import Accr


def extended(model: Accr, modalities: Iterable[str], like: str | None = None) -> Accr:
    """Return a model with layers for further modalities, to be trained.

    They start as copies of those of a modality that the model has. All that the
    model had stays as it is, and what it knows of its modalities too.

    Parameters
    ----------
    model
        Is not changed.
    modalities
        What to add; those that it has are passed over.
    like
        Modality whose layers are copied; where not given ``phase``, or the first
        one of a model without it: those that such images went through before.

    Raises
    ------
    SettingsError
        If a modality is not known, or the model lacks `like`.
    """
    had = model.settings.modalities
    added = tuple(dict.fromkeys(m for m in map(Modality.parse, modalities) if m not in had))
    if like is None:
        source = str(Modality.PHASE if Modality.PHASE in had else had[0])
    else:
        source = str(Modality.parse(like))
    if source not in had:
        raise SettingsError(f"the model has no {source}; use one of: {', '.join(had)}")
    with torch.random.fork_rng(devices=[]):  # all weights are replaced at once
        new = Accr(replace(model.settings, modalities=(*had, *added)))
    weights = model.state_dict()
    new.load_state_dict(
        {
            name: weights[name if name in weights else _original(name, added, source, weights)]
            for name in new.state_dict()
        }
    )
    first = next(model.parameters())
    return new.to(first.device, first.dtype).train(model.training)


def with_parts(model: Accr, parts: Set[str], seed: int) -> tuple[Accr, tuple[str, ...]]:
    """Return a model with the same encoder and just these parts beside it.

    Parameters
    ----------
    model
        Is not changed.
    parts
        Of `PARTS`. Those that the model has are copied, others start anew.
    seed
        Of the weights that are new; the random numbers of others stay as they are.

    Returns
    -------
    model : Accr
        On the device of the one that was given.
    anew : tuple of str
        Names of the parts that start anew.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        new = Accr(model.settings.having(parts))
    left_out = model.settings.parts - parts
    weights = model.state_dict()
    anew = new.take({k: v for k, v in weights.items() if k.partition(".")[0] not in left_out})
    first = next(model.parameters())
    return new.to(first.device, first.dtype).train(model.training), anew


def _original(
    name: str, added: tuple[str, ...], source: str, weights: dict[str, torch.Tensor]
) -> str:
    """Return the name of the weights of `source` that new ones are copied from."""
    parts = [source if part in added else part for part in name.split(".")]
    if ".".join(parts) not in weights:
        parts[-2] = "0"  # both stains of bright-field from the one filter of the others
    return ".".join(parts)
