"""Real servers for every test that needs one: PostgreSQL and Redis, one each per test process, started lazily.

Databases are cloned from one migrated template, so a test that writes has its own.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection, create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from cli.stack.home import Home
from cli.stack.postgres import Postgres
from cli.stack.redis import Redis, connect
from cli.stack.schema import migrate
from cli.stack.stack import Stack, StackOptions
from tests.stack import RealStack

# Before torch is imported anywhere: threads that spin while they wait make tiny models slow on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "2")

TEMPLATE = "template_migrated"


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of which only the servers are ever started."""
    root = tmp_path_factory.mktemp("servers")
    with Stack(Home.at(root), StackOptions(durable=False)) as stack:
        yield stack
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def postgres_server(servers: Stack) -> Postgres:
    """A running PostgreSQL without a safe disk."""
    servers.start("postgres")
    assert servers.postgres is not None
    return servers.postgres


@pytest.fixture(scope="session")
def redis_server(servers: Stack) -> Redis:
    """A running Redis."""
    servers.start("redis")
    assert servers.redis is not None
    return servers.redis


@pytest.fixture(scope="session")
def database_template(postgres_server: Postgres) -> str:
    """The name of a migrated database that nobody may be connected to."""
    postgres_server.ensure_database(TEMPLATE)
    migrate(postgres_server.url(TEMPLATE))
    return TEMPLATE


@pytest.fixture(scope="session")
def clone_database(postgres_server: Postgres, database_template: str) -> Callable[[], str]:
    """A function that makes a fresh migrated database and returns its name."""
    numbers = itertools.count(1)

    def clone() -> str:
        name = f"clone_{next(numbers)}"
        with postgres_server.connect() as connection:
            connection.execute(
                SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(database_template))
            )
        return name

    return clone


def _drop(server: Postgres, name: str) -> None:
    with server.connect() as connection:
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@pytest.fixture
def database(postgres_server: Postgres, clone_database: Callable[[], str]) -> Iterator[str]:
    """The SQLAlchemy URL of a migrated database of this test's own."""
    name = clone_database()
    yield postgres_server.url(name)
    _drop(postgres_server, name)


@pytest.fixture(scope="module")
def module_database(postgres_server: Postgres, clone_database: Callable[[], str]) -> Iterator[str]:
    """The SQLAlchemy URL of a migrated database that the tests of one module share."""
    name = clone_database()
    yield postgres_server.url(name)
    _drop(postgres_server, name)


@pytest.fixture(scope="session")
def rolled_back_database(postgres_server: Postgres, clone_database: Callable[[], str]) -> str:
    """The SQLAlchemy URL of the database in which nothing is ever committed."""
    return postgres_server.url(clone_database())


@pytest.fixture
def connection(rolled_back_database: str) -> Iterator[Connection]:
    """A connection inside a transaction that is rolled back when the test ends."""
    engine = create_engine(rolled_back_database, poolclass=NullPool)
    with engine.connect() as connection:
        transaction = connection.begin()
        yield connection
        transaction.rollback()
    engine.dispose()


@pytest.fixture
def session(connection: Connection) -> Iterator[Session]:
    """A session whose commits are savepoints of a transaction that is rolled back when the test ends."""
    with Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as session:
        yield session


@pytest.fixture
def redis_url(redis_server: Redis) -> str:
    """The URL of an emptied Redis, as `Settings.redis_url` takes it."""
    with connect(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture(scope="session")
def prepared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data directory of a stopped stack: a cluster with the schema and the first key, ready to be copied."""
    root = tmp_path_factory.mktemp("prepared")
    with RealStack(root) as stack:
        stack.start_servers()
        stack.api_key()
    yield root
    shutil.rmtree(root)


@pytest.fixture
def stack(tmp_path: Path, prepared_home: Path) -> Iterator[RealStack]:
    """Servers of this test's own with schema and first key in place; the test starts the other parts that it needs."""
    root = tmp_path / "stack"
    subprocess.run(["cp", "-a", prepared_home, root], check=True)
    with RealStack(root) as stack:
        stack.start_servers()
        yield stack
    shutil.rmtree(stack.home.cluster)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test of a real stack shows the end of every part's log."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for value in item.funcargs.values():
            if isinstance(value, RealStack):
                report.sections += [(f"log of {name}", text) for name, text in value.logs().items()]
    return report
