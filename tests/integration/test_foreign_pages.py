"""Any page in a browser can send requests to this machine: Prefect's and MLflow's servers give it nothing."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from pipelines.flows.serve import LOGIN, POOL, PREFECT, limit_pool, running, server_environment, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
PAGE = "http://page.example"
Ask = Callable[..., requests.Response]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def asker(address: str) -> Ask:
    def ask(method: str, path: str, **options: object) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, address + path, timeout=60, **options)  # type: ignore[arg-type]

    return ask


class TestPrefect:
    @pytest.fixture(scope="class")
    def server(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ask, tuple[str, str], int]]:
        root, port = tmp_path_factory.mktemp("prefect"), free_port()
        (root / LOGIN).parent.mkdir()
        variables = server_environment(root, port, os.environ)
        login = variables["PREFECT_API_AUTH_STRING"]
        api = variables["PREFECT_API_URL"]
        start = (*PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port))
        with running(start, root, variables, root / "log") as process:
            wait_for(f"{api}/health", {"server": process})
            # As one that Prefect's worker had made before.
            for _ in range(2):
                limit_pool(api, login)
            user, password = login.split(":")
            yield asker(api), (user, password), port
        assert (root / LOGIN).stat().st_mode & 0o077 == 0

    @pytest.mark.parametrize(
        "path", ["/flow_runs/filter", "/deployments/", f"/work_pools/{POOL}/get_scheduled_flow_runs"]
    )
    def test_a_foreign_page_gets_nothing(self, server: tuple[Ask, tuple[str, str], int], path: str) -> None:
        ask, _, port = server
        # As a browser sends it without asking the server first, and by a name that was made to point here.
        for headers in ({"Origin": PAGE, "Content-Type": "text/plain"}, {"Host": f"page.example:{port}"}):
            answer = ask("POST", path, data="{}", headers=headers)
            assert (answer.status_code, answer.json()) == (401, {"exception_message": "Unauthorized"})
            assert "Access-Control-Allow-Origin" not in answer.headers
        asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
        assert ask("OPTIONS", path, headers=asked).status_code == 400

    def test_its_own_page_gets_what_it_asks_for(self, server: tuple[Ask, tuple[str, str], int]) -> None:
        ask, login, port = server
        own = {"Origin": f"http://localhost:{port}"}
        answer = ask("POST", "/flow_runs/filter", json={}, headers=own, auth=login)
        assert answer.json() == []
        assert answer.headers["Access-Control-Allow-Origin"] == own["Origin"]

    def test_nobody_gives_the_command_of_a_run(self, server: tuple[Ask, tuple[str, str], int]) -> None:
        ask, login, _ = server
        flow = ask("POST", "/flows/", json={"name": "retrain"}, auth=login).json()["id"]
        deployment = {"name": "retrain", "flow_id": flow, "work_pool_name": POOL}
        evil = {"job_variables": {"command": "touch evil"}}
        assert 400 <= ask("POST", "/deployments/", json=deployment | evil, auth=login).status_code < 500
        made = ask("POST", "/deployments/", json=deployment, auth=login).json()["id"]
        path = f"/deployments/{made}/create_flow_run"
        assert 400 <= ask("POST", path, json=evil, auth=login).status_code < 500
        template = ask("GET", f"/work_pools/{POOL}", auth=login).json()["base_job_template"]
        assert "{{" not in str(template["job_configuration"])


class TestMlflow:
    @pytest.fixture(scope="class")
    def server(
        self, tmp_path_factory: pytest.TempPathFactory, empty_database: Path
    ) -> Iterator[tuple[Ask, int]]:
        root, port = tmp_path_factory.mktemp("mlflow"), free_port()
        (root / "mlflow.db").write_bytes(empty_database.read_bytes())
        # As `make ui` starts it.
        exported = re.findall(r"^export (MLFLOW_\w+) := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", "sqlite:///mlflow.db"]
        command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        with running(command, root, {**os.environ, **dict(exported)}, root / "log") as process:
            wait_for(f"http://127.0.0.1:{port}/health", {"server": process})
            yield asker(f"http://127.0.0.1:{port}/api/2.0/mlflow"), port

    def test_a_foreign_page_gets_nothing(self, server: tuple[Ask, int]) -> None:
        ask, port = server
        search = "/experiments/search?max_results=10"
        before = ask("GET", search).json()
        for headers in ({"Origin": PAGE}, {"Host": "page.example"}, {"Host": f"10.page.example:{port}"}):
            answer = ask("POST", "/experiments/create", json={"name": "evil"}, headers=headers)
            assert answer.status_code == 403 and "Access-Control-Allow-Origin" not in answer.headers
        assert ask("GET", search, headers={"Host": "10.page.example"}).status_code == 403
        # What it only reads the browser keeps from it.
        assert "Access-Control-Allow-Origin" not in ask("GET", search, headers={"Origin": PAGE}).headers
        assert ask("GET", search).json() == before
