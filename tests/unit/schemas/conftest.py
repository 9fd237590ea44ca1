"""One valid row of ``core/sample``."""

import pytest


@pytest.fixture
def sample_row() -> dict:
    return {
        "sample_id": 1,
        "sample_key": "P1:A01",
        "dataset_id": "toy",
        "assay": "l1000",
        "context_id": "CVCL_0132",
        "compound_id": "RYYVLZVUVIJVGH-UHFFFAOYSA-N",
        "condition_id": 2,
        "sample_kind": "compound",
        "is_control": False,
        "control_kind": None,
        "dose_um": 10.0,
        "time_h": 24.0,
        "plate": "P1",
        "well": "A01",
        "replicate": None,
        "batch": None,
        "donor_id": None,
        "vehicle_group": "",
        "n_cells": None,
        "total_counts": None,
        "n_genes": None,
        "qc_flags": [],
        "context_reported": "A375",
        "compound_reported": "caffeine",
        "dose_reported": "10",
        "dose_unit_reported": "um",
        "time_reported": "24",
        "time_unit_reported": "h",
    }
