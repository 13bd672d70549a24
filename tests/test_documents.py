"""Figures in the documents are those the code gives."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_generated_parts_of_the_documents_are_up_to_date():
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
