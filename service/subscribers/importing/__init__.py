"""Readers from a file: a list of addresses whose consent the operator holds becomes readers, a chunk at a time.

``records`` cuts the file into rows, ``columns`` understands a row, ``store`` enters a chunk of them in one transaction,
``importer`` brings them together and goes on where a killed import stopped. ``export`` is the way out.
"""

from service.subscribers.importing.columns import Shape
from service.subscribers.importing.importer import ImportOptions, ImportRefused, ImportReport, run

__all__ = ["ImportOptions", "ImportRefused", "ImportReport", "Shape", "run"]
