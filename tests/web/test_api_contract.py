"""The API against its own description: generated requests, good and bad (schemathesis), a bounded number of them."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import CHECKS
from schemathesis.core.result import Ok

from tests import factories
from tests.web.test_api import given as signed_in

_CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")


def test_generated_requests_get_what_the_description_says(browser: TestClient, request: pytest.FixtureRequest) -> None:
    database, conf = request.getfixturevalue("database"), request.getfixturevalue("settings")
    factories.edition(database, factories.record(), factories.record())
    header = signed_in(database, conf, factories.reader(database, conf, queries=["robots"]))
    schema = schemathesis.openapi.from_dict(browser.get("/api/v1/openapi.json").json())
    checks = CHECKS.get_by_names(list(_CHECKS))
    tried = 0
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        strategy = operation.as_strategy()

        @given(case=strategy)
        @settings(
            max_examples=12,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def tries(case: schemathesis.Case[Any]) -> None:
            nonlocal tried
            tried += 1
            arguments = case.as_transport_kwargs(base_url="https://papers.example/api/v1")
            answer = browser.request(
                arguments["method"],
                arguments["url"],
                params=arguments.get("params"),
                headers={**dict(arguments.get("headers") or {}), **header},
                **{name: arguments[name] for name in ("json", "content") if arguments.get(name) is not None},
            )
            case.validate_response(schemathesis.Response.from_any(answer), checks=list(checks))  # type: ignore[arg-type]  # a list of what get_by_names gives

        tries()
    assert tried > 100
