import pytest

from hpsbench.protocols.catalog import get_protocol, list_protocols
from hpsbench.protocols.explain import explain, explain_lines


@pytest.mark.parametrize("name", list_protocols())
def test_every_protocol_is_told_in_words(name: str) -> None:
    protocol = get_protocol(name)
    text = explain(protocol)
    for dataset, rule in protocol.rules.items():
        topics = {line.topic for line in explain_lines(protocol) if line.dataset == dataset}
        assert {
            "data",
            "frames seen",
            "frames scored",
            "windows",
            "gaps",
            "target",
            "prediction",
            "root",
        } <= topics
        assert {f"metric {metric.name}" for metric in rule.metrics} <= topics
    for defect in protocol.table.defects:
        assert defect.official in text
        assert defect.ours in text
    assert protocol.sha256 in text


def test_the_words_say_what_differs() -> None:
    assert "bridged" in explain(get_protocol("tcmr"))
    assert "end a segment" in explain(get_protocol("meva"))
    assert "float16" in explain(get_protocol("vibe-strict"))
    assert "acceleration runs across track joins" in explain(get_protocol("vibe-strict"))
    assert "male or female SMPL" in explain(get_protocol("spin"))
    assert "exactly 87 tracks" in explain(get_protocol("3dpw-challenge"))
    assert "no: no paper reports numbers of this setting" in explain(get_protocol("wham-world"))
    assert "needs:                predictions with transl" in explain(get_protocol("wham-world"))
    assert "mirrored video" in explain(get_protocol("wham-camera"))
    assert "of video means" in explain(get_protocol("hmmr"))
    assert "mean of track means" in explain(get_protocol("meva"))
