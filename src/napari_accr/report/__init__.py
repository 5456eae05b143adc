"""A folder with pictures and one page that show how a registration went."""

from napari_accr.report.page import check_report, iter_report, write_report

__all__ = ["check_report", "iter_report", "write_report"]
