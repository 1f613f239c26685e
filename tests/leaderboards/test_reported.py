from pathlib import Path

import pytest

from hpsbench.data_dir import data_dir
from hpsbench.errors import BrokenFile
from hpsbench.leaderboards.reported import read_flags, read_reported

BOARDS = data_dir("leaderboards")


def test_every_printed_number_is_there_and_the_known_wrong_ones_are_flagged() -> None:
    numbers = read_reported(BOARDS)
    assert len(numbers) == 791
    flagged = {
        (n.row["paper"], n.row["table"], n.row["metric"], n.row["value"]): n for n in numbers if n.flags
    }
    retracted = flagged["vibe", "table1", "mpjpe", "82.9"]
    assert [f.name for f in retracted.flags] == ["retracted"]
    assert "withdraws" in retracted.flags[0].reason
    assert "not-an-error" in [f.name for f in flagged["vibe", "table1", "accel_err", "27.1"].flags]
    assert ("vibe", "table1", "pa_mpjpe", "56.5") not in flagged


def test_a_flag_without_a_reason_is_refused(tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()
    flags = tmp_path / "papers" / "flags.toml"
    flags.write_text('[[flag]]\nname = "x"\nmatch = { method = "vibe" }\n', encoding="utf-8")
    with pytest.raises(BrokenFile, match="flag 1: no 'reason'"):
        read_flags(tmp_path)
    flags.write_text('[[flag]]\nname = "x"\nmatch = { metho = "vibe" }\nreason = "y"\n', encoding="utf-8")
    with pytest.raises(BrokenFile, match="unknown column 'metho'"):
        read_flags(tmp_path)
