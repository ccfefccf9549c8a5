"""Settings of every process, read from RLAIF_* environment variables and secret files."""

from __future__ import annotations

import os
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url


class Settings(BaseSettings):
    """One object, passed down explicitly; each field is `RLAIF_` and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="RLAIF_", extra="ignore", frozen=True)

    database_url: str = Field(description="SQLAlchemy URL of PostgreSQL 15 or newer, postgresql+psycopg://...")
    database_password: SecretStr | None = Field(
        None, description="Put into database_url where that names none; meant for a secret file"
    )
    redis_url: str = Field("redis://localhost:6379/0", description="redis://, rediss:// or unix:///path of the broker")
    artifacts_dir: Path = Field(Path("artifacts"), description="Where checkpoints and training state are kept")
    models_dir: Path | None = Field(
        None, description="Directory of base models that clients may register as `local:NAME`; none may when unset"
    )
    secret_key: SecretStr | None = Field(
        None, description="Encrypts stored secrets: urlsafe base64 of 32 bytes. Without it no secret can be stored."
    )
    prices: Path | None = Field(
        None, description="JSON or TOML table of what judges' tokens cost, for judges that do not state it"
    )
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    database_pool: Annotated[int, Field(ge=1, le=200)] = Field(10, description="Connections a process may hold")
    database_wait_s: Annotated[float, Field(gt=0, le=60)] = Field(5.0, description="Longest wait for a connection")
    max_body_bytes: Annotated[int, Field(ge=1024)] = Field(16 * 2**20, description="Largest JSON request body")
    max_line_bytes: Annotated[int, Field(ge=1024)] = Field(4 * 2**20, description="Largest line of a JSONL upload")
    max_upload_bytes: Annotated[int, Field(ge=1024)] = Field(4 * 2**30, description="Largest upload, decompressed")
    private_networks: str = Field(
        "", description="CIDR ranges, comma-separated, that judges may reach although they are private"
    )
    lease_s: Annotated[float, Field(ge=1, le=600)] = Field(15.0, description="How long a shard stays its holder's")
    heartbeat_s: Annotated[float, Field(gt=0, le=200)] = Field(5.0, description="How often the holder renews its lease")
    rescue_s: Annotated[float, Field(gt=0, le=60)] = Field(2.0, description="How often expired leases are looked for")
    ring_again_s: Annotated[float, Field(gt=0, le=600)] = Field(
        8.0, description="Silence after which a queued shard is rung again"
    )
    stop_grace_s: Annotated[float, Field(gt=0, le=60)] = Field(
        4.0, description="How long a child may take to stop before it is killed"
    )
    stage_registry: str = Field(
        "workers.stages.registry:STAGES", description="`module:name` of the mapping that says which function runs what"
    )
    sampler: Literal["transformers", "vllm"] = Field(
        "transformers",
        description="What draws completions and rollouts on gpu workers; `vllm` needs its extra and a GPU",
    )
    training_processes: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="How many processes of its machine a gpu worker trains in, each with a GPU where there are GPUs"
    )
    accelerate_config: Path | None = Field(
        None, description="accelerate's YAML for those processes (FSDP2, DeepSpeed); unset, each holds the whole model"
    )
    log_json: bool = Field(True, description="Structured JSON logs; false for a person's terminal")

    @model_validator(mode="before")
    @classmethod
    def _password_goes_into_the_url(cls, values: dict[str, Any]) -> dict[str, Any]:
        password, url = values.get("database_password"), values.get("database_url")
        if not password or not url or make_url(url).password is not None:
            return values
        plain = password.get_secret_value() if isinstance(password, SecretStr) else str(password).strip()
        whole = make_url(url).set(password=plain).render_as_string(hide_password=False)
        return values | {"database_url": whole}

    @model_validator(mode="after")
    def _accelerate_needs_processes(self) -> Settings:
        if self.accelerate_config is not None and self.training_processes == 1:
            raise ValueError("RLAIF_ACCELERATE_CONFIG spreads a model over processes: set RLAIF_TRAINING_PROCESSES")
        return self

    @model_validator(mode="after")
    def _networks_are_networks(self) -> Settings:
        self.allowed_networks()
        return self

    def allowed_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """`private_networks` parsed; raises ValueError naming what is not a network."""
        return tuple(ip_network(part.strip()) for part in self.private_networks.split(",") if part.strip())


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The process's settings, read once. RLAIF_SECRETS_DIR names a directory of files such as `rlaif_secret_key`."""
    return Settings(_secrets_dir=os.environ.get("RLAIF_SECRETS_DIR"))
