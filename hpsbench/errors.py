"""The error tree. Every error says what is wrong, where, and what to do next.

The CLI prints the message of an `HpsbenchError` alone and exits with its `exit_code`:

    HpsbenchError                  1  failed
    ├── UsageError                 2  the call itself is wrong
    │   └── UnknownName               a name that is not in a catalogue ("did you mean ...?")
    ├── MissingData                3  something that the job needs is not there
    │   ├── MissingRawFiles
    │   ├── MissingBodyModel
    │   ├── MissingCheckpoint
    │   ├── MissingStore
    │   ├── IncompleteStore           a store whose preparation was interrupted
    │   └── MissingFeatures
    ├── AccessStepMissing          4  a licence not accepted, an access step not done
    └── BadData                    5  corrupt, damaged or mismatching data
        ├── UnsafeFile                a file asks to run code
        ├── BrokenFile                truncated, unreadable, wrong content
        ├── NotAClipStore
        ├── StoreVersionError
        ├── ResumeMismatch            a half-written store of another recipe, code or raw data
        ├── UnknownCheckpoint         a checkpoint of no known layout
        ├── CheckpointMismatch        names or shapes that do not fit the system
        ├── FeatureMismatch           features of another width or extractor
        ├── ProtocolMismatch          a protocol that does not cover this dataset or prediction
        ├── ShapeError
        ├── UnitError
        └── MissingPrediction         scored frames without a prediction
"""

import difflib
from collections.abc import Iterable


class HpsbenchError(Exception):
    """Base of all errors that hpsbench raises on purpose."""

    exit_code = 1


class UsageError(HpsbenchError, ValueError):
    """The call is wrong: an option, a value, a combination."""

    exit_code = 2


class UnknownName(UsageError, LookupError):
    """A name that no catalogue holds; the message suggests the nearest one."""

    def __init__(self, kind: str, name: str, choices: Iterable[str]) -> None:
        known = sorted(choices)
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"unknown {kind} {name!r}.{hint} Known: {', '.join(known) or 'none'}.")


class MissingData(HpsbenchError, FileNotFoundError):
    """Something that the job needs is not on disk."""

    exit_code = 3

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class MissingRawFiles(MissingData):
    """Raw dataset files are absent."""


class MissingBodyModel(MissingData):
    """A body model or joint regressor that the protocol names is absent."""


class MissingCheckpoint(MissingData):
    """No checkpoint file where one was named."""


class MissingStore(MissingData):
    """No clip store of this dataset under the root."""


class IncompleteStore(MissingData):
    """The store exists, but its preparation was interrupted."""


class MissingFeatures(MissingData):
    """The store has no feature set of the wanted name."""


class AccessStepMissing(HpsbenchError, PermissionError):
    """A licence has not been accepted, or an access step is open."""

    exit_code = 4

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class BadData(HpsbenchError, ValueError):
    """Data that is damaged or does not match what it is used with."""

    exit_code = 5


class UnsafeFile(BadData):
    """A file that would run code when loaded; the message names what it asked for."""


class BrokenFile(BadData):
    """A file that is truncated, unreadable or of the wrong content."""


class NotAClipStore(BadData):
    """A folder that is not a clip store."""


class StoreVersionError(BadData):
    """A clip store of a version that this hpsbench does not read."""


class ResumeMismatch(BadData):
    """A half-written store that was begun with another recipe, code or raw manifest."""


class UnknownCheckpoint(BadData):
    """A checkpoint whose layout no system recognises."""


class CheckpointMismatch(BadData):
    """Names or shapes of a checkpoint that do not fit the system."""


class FeatureMismatch(BadData):
    """Features of another width or extractor than the system was made for."""


class ProtocolMismatch(BadData):
    """A protocol that cannot be applied to this dataset or to these predictions."""


class ShapeError(BadData):
    """An array of the wrong shape."""


class UnitError(BadData):
    """An array that seems to be in another unit."""


class MissingPrediction(BadData):
    """Frames that the protocol scores have no prediction."""
