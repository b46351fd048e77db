"""The peers' packages: each pinned, installed from its registry into an environment that is thrown away."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

PINNED = {
    "procrastinate": ("procrastinate==3.10.0", "psycopg[binary,pool]==3.3.9"),
    "pgqueuer": ("pgqueuer==1.6.0", "asyncpg==0.32.0", "uvloop==0.23.0"),
    "fastapi": (
        "fastapi==0.165.0",
        "starlette==1.10.0",
        "uvicorn[standard]==0.54.0",
        "uvloop==0.23.0",
        "httptools==0.9.0",
        "asyncpg==0.32.0",
    ),
}
NODE = Path(__file__).parent / "express"  # its package.json pins express and bullmq


def install_python(name: str, folder: Path) -> Path:
    """Make an environment with a peer's packages and return its interpreter.

    Raises `CalledProcessError` when the registry cannot be reached or has them no more.
    """
    python = folder / "bin" / "python"
    if (maker := shutil.which("uv")) is not None:
        subprocess.run([maker, "venv", "-q", "--python", sys.executable, str(folder)], check=True)
        command = [maker, "pip", "install", "-q", "--python", str(python)]
    else:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        command = [str(python), "-m", "pip", "install", "-q"]
    subprocess.run([*command, *PINNED[name]], check=True)
    return python


def install_node(folder: Path) -> Path:
    """Copy the Node peer, install what it needs, and return its folder."""
    shutil.copytree(NODE, folder)
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=folder, check=True)
    return folder
