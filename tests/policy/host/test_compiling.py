"""Compiled functions are kept for later processes, and what is kept is not trusted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CODE = """
import numpy as np
from policy.host import kernels
out = np.empty((1, 2), dtype=np.float32)
kernels.product(np.ones((1, 2), np.float32), np.ones((2, 2), np.float32), np.ones(0, np.float32), out)
print(kernels.__file__, out, kernels.product.stats.cache_hits)
"""


def says(folder: Path, **environment: str) -> str:
    ran = subprocess.run([sys.executable, "-c", CODE], cwd=folder, capture_output=True, text=True, check=False,
                         env={"PATH": os.environ["PATH"], **environment})
    assert ran.returncode == 0, ran.stderr
    assert "[[2. 2.]]" in ran.stdout
    return ran.stdout


def hits(folder: Path, cache: Path) -> bool:
    """Was it kept by a process before?"""
    return "Counter()" not in says(folder, NUMBA_CACHE_DIR=str(cache))


def copied(root: Path) -> Path:
    folder = root / "policy" / "host"
    folder.mkdir(parents=True)
    for name in ("__init__.py", "compiling.py", "kernels.py"):
        shutil.copy(ROOT / "policy" / "host" / name, folder)
    (root / "policy" / "__init__.py").touch()
    return folder


def test_where_nothing_can_be_kept_each_process_compiles_for_itself(tmp_path: Path) -> None:
    """A checkout that cannot be written to, of somebody without a home."""
    folder = copied(tmp_path)
    (folder / "__pycache__").touch()  # no folder can be made there
    home = tmp_path / "home"
    home.touch()
    env = {"HOME": str(home), "XDG_CACHE_HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    assert str(tmp_path) in says(tmp_path, **env)


@pytest.mark.parametrize("kind", ["*.nbi", "*.nbc"])
@pytest.mark.parametrize("left", [0, 30])
def test_what_a_crash_left_of_the_kept_files_is_thrown_away(kind: str, left: int, tmp_path: Path) -> None:
    assert not hits(ROOT, tmp_path) and hits(ROOT, tmp_path)
    for file in tmp_path.rglob(kind):
        os.truncate(file, left)
    assert not hits(ROOT, tmp_path) and hits(ROOT, tmp_path)


def test_what_another_version_made_is_compiled_anew(tmp_path: Path) -> None:
    """Also where only a function that others use has changed, and where a crash leaves an index without its files."""
    folder, cache = copied(tmp_path), tmp_path / "cache"
    assert not hits(tmp_path, cache) and hits(tmp_path, cache)
    for name in ("compiling.py", "kernels.py"):
        with (folder / name).open("a") as file:
            file.write("# changed\n")
        before = set(cache.rglob("*.nbc"))
        assert not hits(tmp_path, cache) and hits(tmp_path, cache)
        made = set(cache.rglob("*.nbc")) - before
        for one in made:
            one.unlink()
        assert made and not hits(tmp_path, cache)


def test_a_folder_that_takes_nothing_more(tmp_path: Path) -> None:
    """As on a full disk."""
    says(ROOT, NUMBA_CACHE_DIR=str(tmp_path))
    [folder] = [path for path in tmp_path.iterdir() if path.is_dir()]
    shutil.rmtree(folder)
    folder.touch()
    says(ROOT, NUMBA_CACHE_DIR=str(tmp_path))
