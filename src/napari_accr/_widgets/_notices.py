"""Errors as napari's notifications."""

from __future__ import annotations

from napari.utils.notifications import ErrorNotification, notification_manager, show_error

from napari_accr.errors import AccrError


def show_problem(error: Exception) -> str:
    """Notify the user of an error, and return it as a sentence.

    One that a user can mend is told in its own words. Any other is a mistake of ours: napari's
    notification then holds the details for a report.
    """
    if isinstance(error, AccrError):
        show_error(str(error))
        return f"{error}."
    notification_manager.dispatch(ErrorNotification(error))
    return (
        f"Something went wrong that should not have ({type(error).__name__}: {error}). "
        "Please report it with the details in the notification."
    )
