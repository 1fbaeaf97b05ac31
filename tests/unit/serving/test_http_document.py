"""The endpoint keeps to its own OpenAPI document, whatever is sent: schemathesis asks."""

import pytest
import schemathesis
import serving_folders as folders
from httpserver import running
from hypothesis import HealthCheck, given, settings
from schemathesis import checks

from scrimp.serving.hosting import gather
from scrimp.serving.http.gate import Limits

# not among them: that whatever fits the schema is taken. It may ask for more tokens than there is room for.
_CHECKS = [checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
           checks.response_schema_conformance, checks.negative_data_rejection, checks.unsupported_method]


@pytest.fixture(scope="module")
def api(tmp_path_factory, causal_folder):
    folder = folders.make(tmp_path_factory.mktemp("served"), causal_folder)
    models = gather(folder, base=str(causal_folder), dtype="float32", rows=4, context=256)
    with running(models, limits=Limits(new_tokens=16)) as (url, _):
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


_READ = ("/health", "/metrics", "/v1/models", "/v1/models/{name}")
_ASKED = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/classify")


@pytest.mark.parametrize(("path", "method", "mode"), [
    *((path, "GET", schemathesis.GenerationMode.POSITIVE) for path in _READ),
    *((path, "POST", mode) for path in _ASKED for mode in schemathesis.GenerationMode)])
def test_every_answer_is_as_the_document_says(api, path, method, mode):
    operation = api[path][method]
    answered = []

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case):
        if mode is schemathesis.GenerationMode.POSITIVE and isinstance(case.body, dict):
            case.body["model"] = "films" if path == "/v1/classify" else "bare"
        answered.append(case.call_and_validate(checks=_CHECKS, timeout=300).status_code)

    ask()
    if mode is schemathesis.GenerationMode.POSITIVE and "{name}" not in path:
        assert 200 in answered


def test_the_document_names_every_path_that_is_counted(api):
    from scrimp.serving.http.app import PATHS

    assert set(api) == {*PATHS, "/v1/models/{name}"} - {"/openapi.json"}
