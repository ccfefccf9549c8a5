"""The Dockerfile and the compose files, held to what the rest of the repository really offers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from app.config import Settings
from cli.main import app
from cli.stack.ready import READY_FILE

ROOT = Path(__file__).parents[2]
OURS = ("migrate", "api", "relay", "worker-io", "worker-gpu")


class _Loader(yaml.SafeLoader):
    """Compose's own `!reset` tag, read as its value."""


_Loader.add_constructor("!reset", lambda loader, node: None)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    text = (ROOT / "docker-compose.yml").read_text()
    loaded: dict[str, Any] = yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader with one harmless tag
    return loaded


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text().replace("\\\n", " ")


class TestCompose:
    def test_has_every_part(self, compose: dict[str, Any]) -> None:
        assert set(compose["services"]) == {"postgres", "redis", *OURS}

    @pytest.mark.parametrize("name", OURS)
    def test_commands_are_commands_of_the_cli(self, compose: dict[str, Any], name: str) -> None:
        command = compose["services"][name]["command"]
        group = typer.main.get_command(app)
        known = group.commands  # type: ignore[attr-defined]  # the root command is a group
        assert command[0] in known
        options = {option for parameter in known[command[0]].params for option in parameter.opts}
        assert {word for word in command[1:] if word.startswith("--")} <= options

    @pytest.mark.parametrize("name", OURS)
    def test_our_containers_are_locked_down(self, compose: dict[str, Any], name: str) -> None:
        service = compose["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]

    def test_no_secret_is_in_an_environment(self, compose: dict[str, Any]) -> None:
        for service in compose["services"].values():
            for name, value in (service.get("environment") or {}).items():
                assert name.endswith("_FILE") or not re.search("PASSWORD|SECRET_KEY|TOKEN", name), (name, value)

    def test_settings_named_there_exist(self, compose: dict[str, Any]) -> None:
        known = {f"RLAIF_{name}".upper() for name in Settings.model_fields} | {"RLAIF_SECRETS_DIR", READY_FILE}
        assert set(compose["services"]["api"]["environment"]) <= known

    def test_the_gpu_worker_asks_for_the_nvidia_runtime(self, compose: dict[str, Any]) -> None:
        devices = compose["services"]["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
        assert devices == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]


class TestDockerfile:
    def test_every_install_is_the_shared_script(self, dockerfile: str) -> None:
        runs = re.findall(r"^RUN (.+)$", dockerfile, flags=re.MULTILINE)
        installs = [run for run in runs if "useradd" not in run]
        assert installs == ["scripts/install.sh api /opt/rlaif", "scripts/install.sh worker /opt/rlaif"]

    def test_what_it_copies_exists(self, dockerfile: str) -> None:
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, flags=re.MULTILINE):
            for source in line.split():
                assert (ROOT / source).exists(), source

    def test_nothing_runs_as_root(self, dockerfile: str) -> None:
        runtime = dockerfile.split(" AS runtime")[1]
        assert "USER 10001:10001" in runtime
        assert "USER root" not in runtime

    def test_the_api_image_never_sees_the_workers_environment(self, dockerfile: str) -> None:
        stage = dockerfile.split(" AS api\n")[1].split("\nFROM")[0]
        assert "api-build" in stage
        assert "worker-build" not in stage


class TestInstall:
    def test_api_set_serves_without_torch(self, tmp_path: Path) -> None:
        venv = tmp_path / "venv"
        subprocess.run(
            [ROOT / "scripts/install.sh", "api", venv], check=True, env={**_environment(), "PYTHON": sys.executable}
        )
        code = "import app.main, cli.main; from importlib.util import find_spec; assert not find_spec('torch')"
        subprocess.run([venv / "bin/python", "-P", "-c", code], check=True, cwd=tmp_path)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("VIRTUAL_ENV", "PYTHON"))}
