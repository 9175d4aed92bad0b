"""CITATION.cff says what the package says, and cites the paper."""

import tomllib

import yaml


def test_it_agrees_with_the_package_and_cites_restor(root):
    cited = yaml.safe_load((root / "CITATION.cff").read_text())
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(cited)  # what the format requires
    assert (cited["title"], cited["version"]) == (project["name"], project["version"])
    assert cited["license"] == project["license"]
    (paper,) = cited["references"]
    assert paper["title"] == "RESTOR: Knowledge Recovery in Machine Unlearning"
    assert [author["family-names"] for author in paper["authors"]][:2] == ["Rezaei", "Chandu"]
    assert paper["year"] == 2025
