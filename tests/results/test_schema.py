import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpsbench as hb
from hpsbench.results.schema import check_document, json_schema, schema_text

PUBLISHED = Path(__file__).resolve().parents[2] / "docs" / "results.schema.json"


@pytest.fixture
def document() -> dict[str, Any]:
    joints = np.random.default_rng(0).normal(0, 0.3, (40, 14, 3))
    return hb.score("tcmr", {"joints3d": joints}, {"joints3d": joints}, track=["a_0"] * 40).to_json()


def test_what_is_written_is_what_the_schema_says(document: dict[str, Any]) -> None:
    check_document(document, "here")
    properties = json_schema()["properties"]
    assert set(document) == set(properties), "every key that is written is published, and the other way round"
    assert set(document["metrics"]["mpjpe"]) == set(
        properties["metrics"]["additionalProperties"]["properties"]
    )
    known = set(properties["accounting"]["properties"])
    assert set(document["accounting"]) <= known
    for key in ("protocol", "protocol_sha256"):
        assert re.search(properties[key]["pattern"], document[key])
    assert document["format"] == properties["format"]["const"]
    assert document["windowing"] in properties["windowing"]["enum"]
    assert document["kind"] in properties["kind"]["enum"]


def test_the_schema_is_json_schema() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(schema["required"]) <= set(schema["properties"])


def test_the_published_file_is_the_schema_of_the_code() -> None:
    text = PUBLISHED.read_text(encoding="utf-8")
    assert json.loads(text) == json_schema()
    assert text == schema_text(), (
        "write it again: python -m hpsbench.results.schema > docs/results.schema.json"
    )


def test_the_module_prints_the_file() -> None:
    command = [sys.executable, "-m", "hpsbench.results.schema"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == schema_text()
