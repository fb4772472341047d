"""The README's code runs as it stands there, and its links lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_your_own_images_in_ten_lines(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    (code,) = (block for block in blocks if "load_folder" in block)
    assert len(code.strip().splitlines()) <= 10
    folder = tmp_path / "my_pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(24):
        colour = rng.integers(0, 256, 3)
        picture = np.full((40 + index, 60, 3), colour, dtype=np.uint8)
        Image.fromarray(picture).save(folder / f"{index:02d}.{('png', 'jpg')[index % 2]}")
    code = code.replace("epochs=30", "epochs=1")
    check = "\nassert vae.reconstruct(x).shape == x.shape == (24, 32, 32, 3)\nprint('fine')\n"
    result = subprocess.run(
        [sys.executable, "-c", code + check],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0 and result.stdout.endswith("fine\n"), result.stderr


def test_every_link_and_picture_exists():
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    missing = [target for target in targets if "://" not in target and not (ROOT / target).exists()]
    assert not missing
