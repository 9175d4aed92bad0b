"""What may stand for a preset: its name, a file, either with switches; and what may not.

Run: python -m pytest tests/test_preset_names.py
"""

import pytest
import yaml

from restor_interp.errors import ConfigError
from restor_interp.presets import resolve


def test_a_file_may_have_switches_as_a_preset_has(tmp_path):
    folder = tmp_path / "a+b.yaml runs"
    folder.mkdir()
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(resolve("bios").model_dump(mode="json")))
    assert resolve(str(path)) == resolve("bios")
    assert resolve(f"{path}+fast") == resolve("bios+fast") != resolve("bios")
    assert resolve(f"{path}+fast+greedy").preset == "bios+fast+greedy"
    with pytest.raises(ConfigError, match=r"no switch 'fsat'\. Did you mean fast"):
        resolve(f"{path}+fsat")


def test_the_folder_of_a_run_is_answered_with_its_settings_file(tmp_path):
    (tmp_path / "config.yaml").write_text("{}")
    with pytest.raises(ConfigError, match=r"is a folder of a run.* give .*config\.yaml"):
        resolve(str(tmp_path))


def test_what_is_no_text_file_is_one_message(tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "bytes.yaml").write_bytes(bytes(range(128, 256)))
    with pytest.raises(ConfigError, match="cannot be read"):
        resolve(str(tmp_path / "folder.yaml"))
    with pytest.raises(ConfigError, match="is not YAML"):
        resolve(str(tmp_path / "bytes.yaml"))
