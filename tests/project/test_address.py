"""The project's address stands in one place; nothing names it while it is unknown."""

import json
import re
import tomllib

from conftest import ROOT

NOTEBOOK = ROOT / "notebooks" / "colab_tpu.ipynb"


def test_readme_and_notebook_name_the_address_that_pyproject_has():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    address = project.get("urls", {}).get("Repository")
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    notebook = "".join("".join(cell["source"]) + "\n" for cell in cells)
    assert re.findall(r'(?m)^ADDRESS = "(.*?)"', notebook) == [address or ""]
    for text in ((ROOT / "README.md").read_text(), notebook):
        cloned = re.findall(r"git clone (?:-\S+ )*(\S+)", text)
        badges = re.findall(r"colab\.research\.google\.com/(?:github/)?([\w-]+/[\w-]+)", text)
        if address is None:
            assert not cloned
            assert not badges
        assert all(url == address for url in cloned)
        assert all(badge == "assets/colab-badge" or address.endswith(badge) for badge in badges)
