"""What new-plugin writes: a package under the given name. That its own tests pass, CI tries in a real environment."""

from __future__ import annotations

import pytest

from optimbuild import ConfigError
from optimbuild.cli import main
from optimbuild.plugin_template import write_plugin


def test_the_command_writes_files_in_which_only_the_new_name_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new-plugin", "slow-embeddings"]) == 0
    written = [path for path in (tmp_path / "slow-embeddings").rglob("*") if path.is_file()]
    assert {path.relative_to(tmp_path).as_posix() for path in written} == {
        "slow-embeddings/README.md",
        "slow-embeddings/pyproject.toml",
        "slow-embeddings/slow_embeddings/__init__.py",
        "slow-embeddings/slow_embeddings/optimizers.py",
        "slow-embeddings/slow_embeddings/rules.py",
        "slow-embeddings/tests/test_slow_embeddings.py",
    }
    assert [path for path in written if "example" in path.read_text("utf-8").replace("Example:", "")] == []
    assert capsys.readouterr().err.count("Wrote: ") == len(written)


@pytest.mark.parametrize("name", ["", "Slow", "../slow", "1st", "class", "a b", "slow.embeddings", "slow-", "slow_"])
def test_a_name_that_no_package_can_have_is_refused(name, tmp_path):
    with pytest.raises(ConfigError, match=r"cannot name a package. Write lowercase letters"):
        write_plugin(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_plugin_hides_no_module(tmp_path):
    with pytest.raises(ConfigError, match="there is a module torch already"):
        write_plugin("torch", tmp_path)


def test_a_plugin_is_not_called_like_the_folder_of_its_tests(tmp_path):
    with pytest.raises(ConfigError, match="'tests' is the folder of the package's own tests"):
        write_plugin("tests", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_not_touched(tmp_path):
    (tmp_path / "slow-embeddings").mkdir()
    with pytest.raises(ConfigError, match=r"slow-embeddings exists already, and nothing in it is replaced"):
        write_plugin("slow-embeddings", tmp_path)
    assert list((tmp_path / "slow-embeddings").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write .*Not a directory"):
        write_plugin("slow-embeddings", tmp_path / "file")
