"""Training steps whose event streams are recorded: our methods, networks for images and language, layers, options.

Each `build` makes everything on torch's default device and returns (step, network, optimizer, inputs ...), as
`bench.simulator.simulate_step` wants it; the recorder calls it with CUDA as default.
"""

from tests.oracle.cases.language import LANGUAGE
from tests.oracle.cases.layers import LAYERS
from tests.oracle.cases.methods import METHODS
from tests.oracle.cases.options import OPTIONS
from tests.oracle.cases.train import Build
from tests.oracle.cases.vision import VISION

__all__ = ["CASES", "Build"]

CASES: dict[str, Build] = {**METHODS, **VISION, **LANGUAGE, **LAYERS, **OPTIONS}
