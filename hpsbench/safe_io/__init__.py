"""Reading files from outside without running anything that is in them.

Every loader takes a path and gives plain values: NumPy arrays and scalars, SciPy sparse matrices, numbers, text and
containers of them (`load_torch`: tensors as well). A file that asks for more raises `UnsafeFile` with the name that it
asked for; a damaged one raises `BrokenFile`.
"""

from hpsbench.safe_io.archives import load_npy, load_npz
from hpsbench.safe_io.checkpoints import check_program, is_program, load_torch
from hpsbench.safe_io.joblib_dumps import StoredArray, load_joblib
from hpsbench.safe_io.matlab import load_matlab
from hpsbench.safe_io.pickles import load_pickle
from hpsbench.safe_io.trust import trust_pickles

__all__ = [
    "StoredArray",
    "check_program",
    "is_program",
    "load_joblib",
    "load_matlab",
    "load_npy",
    "load_npz",
    "load_pickle",
    "load_torch",
    "trust_pickles",
]
