"""Fixtures: gateways, the mock provider, scripted upstreams; each ends with its test, judged."""

import subprocess

import pytest

from gateway import KEY, LIMITED_KEY, PROVIDER_KEY, Gateway, Mock
from upstream import Upstream


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes minutes; left out of the normal run")


@pytest.fixture(scope="session")
def mock(tmp_path_factory):
    """`penstock mock`, one for all tests."""
    process = Mock(tmp_path_factory.mktemp("mock")).start()
    yield process
    process.stop()


@pytest.fixture
def upstream():
    with Upstream() as server:
        yield server


@pytest.fixture
def start_gateway(tmp_path):
    """start_gateway(settings): a running gateway; at the end it is stopped, and judged."""
    started = []

    def start(settings=None, environment=None, **more):
        folder = tmp_path / f"gateway-{len(started)}"
        folder.mkdir()
        gateway = Gateway(folder, {**(settings or {}), **more}, environment)
        started.append(gateway)
        return gateway.start()

    yield start
    problems = []
    for gateway in started:
        try:
            gateway.stop()
        except AssertionError as problem:
            problems.append(problem)
    assert not problems, problems


def over(base_url, **more):
    """The usual configuration over one provider: every model of a caller is its."""
    settings = {
        "providers": {"house": {"dialect": "openai", "base_url": base_url,
                                "api_key": PROVIDER_KEY}},
        "models": {"*": "house/*"},
    }
    return {**settings, **more}


@pytest.fixture
def gateway(start_gateway, upstream):
    """A gateway over the scripted upstream."""
    return start_gateway(over(upstream.base_url))


@pytest.fixture(scope="session")
def mocked(tmp_path_factory, mock):
    """A gateway over the mock provider, one for all tests that only call."""
    house = {"dialect": "openai", "base_url": mock.base_url, "api_key": PROVIDER_KEY}
    process = Gateway(tmp_path_factory.mktemp("mocked"), {
        "providers": {"house": house},
        "models": {"mock-*": "house/mock-*", "small": "house/mock-ok",
                   "two": {"targets": ["house/mock-status-500", "house/mock-ok"]}},
        "keys": [{"name": "caller", "key": KEY},
                 {"name": "limited", "key": LIMITED_KEY, "models": ["small"]}],
    }).start()
    yield process
    try:
        process.stop()
    except subprocess.TimeoutExpired:
        process.kill_all()
        raise
