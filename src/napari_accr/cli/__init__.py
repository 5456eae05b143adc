"""The command line: one module a command, and what they share.

Exit codes: 0 done, 2 bad input or settings, 3 not accepted, 130 interrupted, 143 ended by SIGTERM.
Each command's module is loaded when the command is used, so that ``--help`` is quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, ArgumentCollection, CycloptsError, Parameter

from napari_accr.errors import AccrError

DONE, BAD_INPUT, NOT_ACCEPTED, INTERRUPTED, TERMINATED = 0, 2, 3, 130, 143


def _settings_from_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Take the flags that were not given from the file of ``--settings``.

    Not those of ``train``, whose settings have more depth than flags can show.
    """
    if commands == ("train",):
        return
    from napari_accr.cli._options import fill_from_settings_file

    fill_from_settings_file(arguments)


app = App(
    name="napari-accr",
    help="Register microscopy images across modalities.",
    version=lambda: version("napari-accr"),
    help_format="restructuredtext",
    config=_settings_from_file,
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,
)
for _name, _help in {
    "register": "Lay a moving image on a fixed one.",
    "warp": "Apply a saved transform to an image, labels, shapes or points.",
    "transform": "Convert, compose and invert transform files.",
    "evaluate": "Measure a method on pairs whose truth is known.",
    "demo": "Register the sample images and compare with the truth.",
    "train": "Train a model on pairs of images.",
}.items():
    app.command(f"napari_accr.cli.{_name}:{_name}", name=_name, help=_help)
app.command("napari_accr.cli.models:app", name="models", help="List the trained models.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Parameters
    ----------
    arguments
        Those of the process where not given.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except (AccrError, CycloptsError) as error:
        print(f"napari-accr: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        return BAD_INPUT
    except KeyboardInterrupt:
        print("napari-accr: interrupted", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    return code or DONE
