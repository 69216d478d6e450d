"""What the layers of an encoder know: translation retrieval, and linear probes for language and part of speech."""

from dlfa.probing.measure import LAYER_COLUMNS, measure_layers
from dlfa.probing.parallel import PARALLEL, ParallelText, read_parallel

__all__ = ["LAYER_COLUMNS", "PARALLEL", "ParallelText", "measure_layers", "read_parallel"]
