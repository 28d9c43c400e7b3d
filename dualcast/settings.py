"""Every setting, typed, from the environment (``DUALCAST_*``).

``dualcast up`` writes the addresses of the embedded stack to ``<state_dir>/stack.env``; environment variables
override that file, so that ``DUALCAST_KAFKA`` selects another broker.
"""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from dualcast.namespace import NAMESPACE_PATTERN, Namespace
from dualcast.timegrid import Clock


def _python_is_a_library() -> bool:
    """Whether this Python is a shared library, which a JVM can load."""
    folder, name = sysconfig.get_config_vars("LIBDIR", "INSTSONAME")
    return bool(sysconfig.get_config_var("Py_ENABLE_SHARED")) and Path(folder, name).exists()


class SettingsError(ValueError):
    """A setting cannot be used. The message names it and not its value, which may be a secret."""


class Settings(BaseSettings):
    """All settings. Field ``x`` is read from ``DUALCAST_X``."""

    # errors do not show the input, which may be a secret
    model_config = SettingsConfigDict(env_prefix="DUALCAST_", extra="ignore", frozen=True, hide_input_in_errors=True)

    environment: Literal["demo", "production"] = Field("demo", description="'demo' allows development defaults")
    namespace: str = Field(
        "",
        pattern=NAMESPACE_PATTERN,
        description="prefix of all names on shared servers: letters and digits; empty: none",
    )
    state_dir: Path = Field(Path(".dualcast"), description="folder of the state of the embedded stack")
    use_cases: Path = Field(Path("use_cases"), description="folder of the use case YAML files")
    use_case: str = Field("de_load", description="default use case of commands")

    kafka: str = Field("127.0.0.1:9092", description="bootstrap servers")
    kafka_cluster: str = Field(
        "", description="id of the Kafka cluster to write to; another one is refused; empty: any"
    )
    registry: str = Field("http://127.0.0.1:8081", description="Confluent-compatible schema registry")
    redis: str = Field("redis://127.0.0.1:6379/0", description="Redis of the online feature store")
    mlflow: str = Field("http://127.0.0.1:5000", description="MLflow tracking and registry")
    store: SecretStr = Field(
        SecretStr(""), description="SQLAlchemy URL of the relational store; empty: SQLite in <state_dir>/store.db"
    )
    lake: str = Field("", description="URI of the lake; empty: <state_dir>/lake")
    feast_registry: str = Field("", description="folder of the Feast registries; empty: <state_dir>/feast")
    da_svc: str = Field("http://127.0.0.1:8000", description="address of da-svc")
    id_svc: str = Field("http://127.0.0.1:8001", description="address of id-svc")

    spark_master: str = Field("local[2]", description="Spark master")
    flink_target: str = Field("local", description="'local': in process; 'submitted': by `flink run`; else host:port")
    flink_python: Literal["thread", "process"] = Field(
        default_factory=lambda: "thread" if _python_is_a_library() else "process",
        description="where Flink runs Python: in its JVM, which is fastest, or in a process for each subtask",
    )
    flink_state: Literal["hashmap", "rocksdb"] = Field(
        "hashmap", description="where Flink keeps state: in memory, or on disk if the entities do not fit in memory"
    )
    flink_checkpoint_seconds: float = Field(
        10, ge=0.1, description="time between Flink's checkpoints, each of which also commits published rows"
    )

    java_home: str = Field("", description="JAVA_HOME for Spark and Flink; empty: the environment's")
    spark_jars: str = Field("", description="jars that Spark needs besides its own: paths, comma-separated")
    flink_jars: str = Field("", description="jars that Flink needs besides its own: paths, comma-separated")

    clock: Clock = Field(Clock(), description='JSON, such as {"start":"2022-03-01T00:00:00Z","speed":3600}')

    otlp_endpoint: str = Field("", description="OTLP/HTTP collector; empty: traces and metrics are not exported")
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @property
    def names(self) -> Namespace:
        """Makes the names that are used on shared servers."""
        return Namespace(self.namespace)

    @property
    def spark_jar_paths(self) -> list[str]:
        """``spark_jars`` as a list."""
        return [path for path in self.spark_jars.split(",") if path]

    @property
    def flink_jar_paths(self) -> list[str]:
        """``flink_jars`` as a list."""
        return [path for path in self.flink_jars.split(",") if path]

    @property
    def lake_uri(self) -> str:
        """The lake's root: a local path or any URI that Spark and fsspec know."""
        return self.names.lake(self.lake or str((self.state_dir / "lake").resolve()))

    @property
    def store_url(self) -> str:
        """The relational store's URL, which may hold a password: not for logs."""
        return self.store.get_secret_value() or f"sqlite:///{(self.state_dir / 'store.db').resolve()}"

    @property
    def feast_registry_dir(self) -> str:
        """The folder with one Feast registry for each use case."""
        return self.feast_registry or str((self.state_dir / "feast").resolve())


def load_settings() -> Settings:
    """Read the settings from the environment, and what is not set there from the embedded stack's ``stack.env``.

    Raises SettingsError.
    """
    file = Path(os.environ.get("DUALCAST_STATE_DIR", ".dualcast")) / "stack.env"
    try:
        found = Settings(_env_file=file)
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file} is damaged: {error}. Delete it; `dualcast up` writes it again.") from error
    except ValidationError as error:
        faults = "; ".join(f"DUALCAST_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"{faults} (from the environment or {file})") from error
    if "DUALCAST_KAFKA" in os.environ and "DUALCAST_KAFKA_CLUSTER" not in os.environ:
        # the identity in the file is that of the embedded broker, and the environment names another
        return found.model_copy(update={"kafka_cluster": ""})
    return found
