"""Everything this project does to itself; `nox -l` lists it.

All sessions share one environment, so that torch is installed once.
"""

import hashlib
import os
import shutil
import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["tests", "lint", "check-memory"]

ROOT = Path(__file__).parent
ENVIRONMENT = ROOT / ".nox" / "peakbench"
PYPROJECT = nox.project.load_toml("pyproject.toml")


def _install(session: nox.Session) -> None:
    """Create the shared environment and install the checkout with all groups, unless that is done already."""
    requirements = nox.project.dependency_groups(PYPROJECT, "test", "lint")
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + sys.version.encode()).hexdigest()
    stamp = ENVIRONMENT / "installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    session.run(sys.executable, "-m", "virtualenv", "--quiet", "--clear", str(ENVIRONMENT), external=True)
    _run(session, "python", "-m", "pip", "install", "--quiet", "-e", ".", *requirements)
    stamp.write_text(wanted)


def _run(session: nox.Session, program: str, *arguments: str, **variables: str) -> None:
    path = os.pathsep.join([str(ENVIRONMENT / "bin"), os.environ.get("PATH", "")])
    session.run(str(ENVIRONMENT / "bin" / program), *arguments, env={"PATH": path, **variables}, external=True)


def _install_browser(session: nox.Session) -> None:
    """Chromium and axe-core for the tests of the page, where that is possible; without them those skip and say so."""
    can_install = shutil.which("apt-get") and os.geteuid() == 0
    if not shutil.which("chromium") and can_install:
        session.run("apt-get", "update", external=True, silent=True, success_codes=range(256))
        install = ("apt-get", "install", "--yes", "--no-install-recommends", "chromium")
        session.run(*install, external=True, silent=True, success_codes=range(256))
    axe = ROOT / ".nox" / "axe"
    if not axe.exists() and shutil.which("npm"):
        install = ("npm", "install", "--silent", "--prefix", str(axe), "axe-core@4")
        session.run(*install, external=True, silent=True, success_codes=range(256))


@nox.session(name="bench-cifar")
def bench_cifar(session: nox.Session) -> None:
    """Overhead report of ResNet-32 and ResNet-110 on CIFAR-10; resumes an earlier run."""
    _install(session)
    out = "runs/cifar"
    _run(session, "peakbench", "run", "cifar", "--out", out, *session.posargs)
    for name in ("overhead", "memory", "table10", "table12"):
        _run(session, "peakbench", "report", name, "--run", out)


@nox.session(name="bench-smoke")
def bench_smoke(session: nox.Session) -> None:
    """The same for a network of eight layers, in a minute."""
    _install(session)
    _run(session, "peakbench", "run", "smoke", "--out", "runs/smoke", *session.posargs)
    _run(session, "peakbench", "report", "overhead", "--run", "runs/smoke")


@nox.session
def tests(session: nox.Session) -> None:
    """The tests, in two processes."""
    _install(session)
    _install_browser(session)
    _run(session, "python", "-m", "pytest", "-n", "2", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types, and the direction of imports."""
    _install(session)
    _run(session, "ruff", "check", ".")
    _run(session, "ruff", "format", "--check", ".")
    _run(session, "pyright")
    _run(session, "lint-imports")


@nox.session(name="check-memory")
def check_memory(session: nox.Session) -> None:
    """This project's own suites against the memory they had."""
    _install(session)
    for suite in ("smoke", "cifar"):
        _run(session, "peakbench", "check", suite, *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Planted faults in real processes, and runs that are ended at a hundred moments."""
    _install(session)
    files = [f"tests/bench/test_{name}.py" for name in ("isolate", "attempt", "kills")]
    _run(session, "python", "-m", "pytest", *files, *session.posargs, PEAKBENCH_KILLS="100")


@nox.session
def combinations(session: nox.Session) -> None:
    """Predicted against simulated peaks of three hundred random combinations of method, options, network and split."""
    _install(session)
    path = "tests/bench/test_combinations.py"
    _run(session, "python", "-m", "pytest", "-n", "2", path, *session.posargs, PEAKBENCH_COMBINATIONS="300")


@nox.session
def gpu(session: nox.Session) -> None:
    """The tests that need a CUDA device, with the Python and the torch of the image that nox runs in.

    Nothing is installed: a CUDA image has its own torch. Only files with such tests are read, because others need more
    packages than an image has.
    """
    files = [str(path) for path in sorted(ROOT.glob("tests/**/test_*.py")) if "mark.gpu" in path.read_text()]
    where = {"PYTHONPATH": str(ROOT)}
    session.run(sys.executable, "-m", "pytest", "-m", "gpu", *files, *session.posargs, env=where, external=True)


@nox.session
def build(session: nox.Session) -> None:
    """A wheel, installed and tried outside the checkout."""
    _install(session)
    _run(session, "python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "dist", ".")


@nox.session
def docs(session: nox.Session) -> None:
    """Rewrite the generated parts of the documents; with `-- --check`, say which are out of date."""
    _install(session)
    _run(session, "python", "docs/generate.py", *session.posargs)


@nox.session
def oracle(session: nox.Session) -> None:
    """The simulator beside torch's own CUDA allocator on a stand-in for the device; needs a C++ compiler.

    Words after `--` choose cases by name.
    """
    _install(session)
    python = str(ENVIRONMENT / "bin" / "python")
    ask = "from importlib.metadata import version; print(version('nvidia-cuda-runtime').rpartition('.')[0])"
    cuda = str(session.run(python, "-c", ask, external=True, silent=True)).strip()
    # Headers of another CUDA version do not compile.
    headers = (f"nvidia-cuda-{part}=={cuda}.*" for part in ("crt", "cccl"))
    _run(session, "python", "-m", "pip", "install", "--quiet", "--no-deps", *headers)
    built = ROOT / ".nox" / "hollow"
    path = os.pathsep.join([str(ENVIRONMENT / "bin"), os.environ.get("PATH", "")])
    session.run("bash", "tests/oracle/hollow/build.sh", str(built), env={"PATH": path}, external=True)
    hollow = {
        "PATH": path,
        "PYTHONPATH": str(ROOT),
        "LD_LIBRARY_PATH": str(built / "lib"),
        "LD_PRELOAD": str(built / "libhollow.so"),
    }
    session.run(python, "tests/oracle/measure.py", env=hollow, external=True)
    session.run(python, "tests/oracle/compare.py", *session.posargs, env=hollow, external=True)
    for suite in ("smoke", "cifar"):
        session.run(str(ENVIRONMENT / "bin" / "peakbench"), "validate", suite, env=hollow, external=True)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Speed of the simulator and its growth."""
    _install(session)
    _run(session, "python", "-m", "pytest", "benchmarks", "--benchmark-columns=min,median,rounds", *session.posargs)
