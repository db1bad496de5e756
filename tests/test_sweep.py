"""The sweep over the configs of a repository counts what is accepted, and says why the others are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sweep import main

FILES = {
    "configs/_base_/schedule.py": "optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))\n",
    "configs/good.py": "_base_ = '_base_/schedule.py'\n",
    "configs/typo.py": "optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1), paramwise_cfg=dict(norm_decay=0))\n",
    "configs/strange.py": "optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1), constructor='Strange')\n",
    "configs/model.py": "model = dict(type='Net')\n",
    "configs/_base_/runtime.py": "optim_wrapper = dict(constructor='MultiOptimWrapperConstructor')\n",
    "configs/broken.py": "raise ValueError('half written')\n",
    "configs/test_only.py": "optim_wrapper = None\n",
    "configs/metafile.yml": "- {Name: a model}\n",
    "configs/data.yaml": "TRAIN: {BASE_LR: 0.1}\n",
    "tools/train.py": "raise SystemExit('not a config')\n",
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_sweep_counts_by_constructor_and_by_reason(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(repository)]) == 1
    out = capsys.readouterr().out
    assert "10 files: 5 with an optimizer, 4 without, 1 that fail" in out
    assert "of those with an optimizer 3 are accepted, and 2 refused" in out
    rows = {line.rsplit(maxsplit=2)[0]: line.split()[-2:] for line in out.splitlines() if line[-1:].isdecimal()}
    assert rows["(none named)"] == ["3", "1"]
    assert rows["Strange"] == ["0", "1"]
    assert "1  optim_wrapper.paramwise_cfg: unknown key 'norm_decay'  (such as typo.py)" in out
    assert "1  ValueError: 'half written'  (such as broken.py)" in out


def test_a_sweep_can_name_every_refused_file(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(repository / "configs" / "typo.py"), "--list"])
    assert f"{repository / 'configs' / 'typo.py'}: optim_wrapper.paramwise_cfg" in capsys.readouterr().out


def test_a_sweep_over_what_is_accepted_is_a_success(repository: Path) -> None:
    assert main([str(repository / "configs" / "good.py")]) == 0
