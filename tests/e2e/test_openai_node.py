"""OpenAI's own Node client: node/openai.mjs, each of its checks a test here."""

import json
import os
import re
import shutil
import subprocess

import pytest

from gateway import KEY, LIMITED_KEY, PATIENCE, ROOT

SCRIPT = ROOT / "tests" / "e2e" / "node" / "openai.mjs"
PACKAGES = ROOT / ".deps" / "node"


def names():
    """As they stand in the script; a name made from a variable has a test for each value."""
    text = SCRIPT.read_text()
    found = re.findall(r'^check\("([^"]+)"', text, re.M)
    loop = re.search(r"for \(const model of \[(.*?)\]\)\n\s+check\(`(.*?)\$\{model\}`", text)
    return found + [loop[2] + model for model in re.findall(r'"([^"]+)"', loop[1])]


@pytest.fixture(scope="module")
def results(mocked):
    assert shutil.which("node"), "node is not installed (see tools/packages.txt)"
    assert (PACKAGES / "node_modules" / "openai").exists(), "run tools/install_packages.sh test"
    done = subprocess.run(
        ["node", str(SCRIPT)], capture_output=True, text=True, check=False, timeout=120 * PATIENCE,
        env={**os.environ, "NODE_PACKAGES": str(PACKAGES), "BASE_URL": f"{mocked.url}/v1",
             "KEY": KEY, "LIMITED_KEY": LIMITED_KEY})
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["name"]: line["problem"] for line in lines}


@pytest.mark.parametrize("name", names())
def test_node(results, name):
    assert results[name] is None, results[name]
