from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hpsbench.errors import UsageError
from hpsbench.models._catalog import load_system
from hpsbench.models._checkpoints import save_checkpoint
from hpsbench.models.catfa import LIMIT, Catfa

WIDTH = 24
NARROW = {"feature_width": WIDTH, "variance_hidden": 10, "regressor_hidden": 12}
VARIANTS = {
    "catfa": {},
    "catfa-equal": {"aggregation": "equal"},
    "catfa-gru": {"aggregation": "gru"},
    "catfa-tcn": {"aggregation": "tcn"},
    "catfa-past": {"distances": [0, -1, -2, -3]},
    "catfa-single": {"single": -1},
}
# Table VII: the sets of predictors that the paper studies.
PAPER_SETS = [
    *[list(range(d, -d - 1, -1)) for d in (1, 2, 3)],
    *[list(range(d, -1, -1)) for d in (2, 3, 4)],
    *[list(range(0, -d - 1, -1)) for d in (2, 3, 4)],
]


@pytest.fixture
def given() -> torch.Tensor:
    return torch.randn(2, 7, WIDTH, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def made(fill):
    def make(**options) -> Catfa:
        return fill(Catfa(**{**NARROW, **options}))

    return make


def state_of(system: Catfa) -> dict[str, np.ndarray]:
    return {name: value.double().numpy() for name, value in system.state_dict().items()}


def predict_by_hand(state: dict[str, np.ndarray], number: int, feature: np.ndarray) -> np.ndarray:
    hidden = feature
    for layer in (0, 3, 6):
        prefix = f"predictors.{number}.layers.{layer}"
        hidden = state[f"{prefix}.weight"] @ hidden + state[f"{prefix}.bias"]
        hidden = np.maximum(hidden, 0) if layer < 6 else hidden
    return feature + hidden


def log_variance_by_hand(state: dict[str, np.ndarray], predicted: np.ndarray, own: np.ndarray) -> float:
    weight = state["variance.combine.weight"][:, :, 0]
    combined = weight[:, :WIDTH] @ predicted + weight[:, WIDTH:] @ own + state["variance.combine.bias"]
    hidden = np.maximum(state["variance.fc1.weight"] @ combined + state["variance.fc1.bias"], 0)
    return float(np.clip((state["variance.fc2.weight"] @ hidden + state["variance.fc2.bias"])[0], -10, 10))


@pytest.mark.parametrize("case", VARIANTS)
def test_outputs_stay(case: str, made, given, outputs_stay) -> None:
    system = made(**VARIANTS[case])
    with torch.no_grad():
        output, trained = system(given), system.forward_train(SimpleNamespace(features=given))
    outputs_stay(
        case,
        {
            **{name: getattr(output, name) for name in ("rotmat", "betas", "camera")},
            "weights": output.aux["weights"],
            "trained betas": trained.betas,
            "predicted betas": trained.aux["predicted"].betas,
        },
    )


@pytest.mark.parametrize("distances", [[2, 1, 0, -1, -2], [0, 3], [0]])
def test_the_aggregate_by_hand(made, given, distances) -> None:
    """Frame by frame and neighbour by neighbour in float64: equations 6, 9, 10, 17 and 18, with the window's ends."""
    system = made(distances=distances)
    state = state_of(system)
    with torch.no_grad():
        predicted, valid = system.predict_features(given)
        log_variance = system.log_variance(predicted, given)
        weights = system.weights(log_variance, valid)
        got = system.aggregate(predicted, weights, valid).numpy()
    for sample, features in enumerate(given.double().numpy()):
        for t in range(7):
            neighbours = [(n, d) for n, d in enumerate(distances) if 0 <= t + d < 7]
            made_of = [predict_by_hand(state, n, features[t + d]) for n, d in neighbours]
            s = np.array([log_variance_by_hand(state, f, features[t]) for f in made_of])
            precision = np.exp(-s) / np.exp(-s).sum()
            np.testing.assert_allclose(got[sample, t], precision @ np.array(made_of), atol=1e-5)
            for (n, _), weight, value in zip(neighbours, precision, s, strict=True):
                assert weights[sample, t, n] == pytest.approx(weight, abs=1e-5)
                assert log_variance[sample, t, n] == pytest.approx(value, abs=1e-5)
    assert valid.tolist() == [[0 <= t + d < 7 for d in distances] for t in range(7)]
    assert (weights[:, ~valid] == 0).all()


def test_equal_weights_are_the_mean_of_the_predictions_that_exist(made, given) -> None:
    system = made(aggregation="equal")
    with torch.no_grad():
        predicted, valid = system.predict_features(given)
        weights = system.weights(system.log_variance(predicted, given), valid)
        got = system.aggregate(predicted, weights, valid)
    torch.testing.assert_close(got[:, 3], predicted[:, 3].mean(1))
    torch.testing.assert_close(got[:, 0], predicted[:, 0, :3].mean(1))
    torch.testing.assert_close(got[:, 6], predicted[:, 6, 2:].mean(1))


@pytest.mark.parametrize("aggregation", ["gru", "tcn"])
def test_sequence_aggregations_run_from_past_to_future(made, given, aggregation) -> None:
    system = made(aggregation=aggregation)
    with torch.no_grad():
        predicted, valid = system.predict_features(given)
        got = system.aggregate(predicted, torch.zeros(()), valid)
        for t, here in ((3, [4, 3, 2, 1, 0]), (0, [None, None, 2, 1, 0]), (6, [4, 3, 2, None, None])):
            zeros = torch.zeros(2, WIDTH)
            steps = torch.stack([zeros if n is None else predicted[:, t, n] for n in here], dim=1)
            if aggregation == "gru":
                expected = system.sequence.gru(steps)[0][:, -1]
            else:
                weight, bias = system.sequence.conv.weight, system.sequence.conv.bias
                expected = torch.einsum("ndf,gfd->ng", steps, weight) + bias
            torch.testing.assert_close(got[:, t], expected, atol=1e-5, rtol=1e-5)


def test_one_predictor_alone_speaks_through_the_first_generator(made, given) -> None:
    """Table IV; the same weights under another option."""
    whole = made()
    for distance in (2, 0, -1):
        system = made(single=distance)
        assert list(system.state_dict()) == list(whole.state_dict())
        number = whole.distances.index(distance)
        with torch.no_grad():
            source = given[:, [min(max(t + distance, 0), 6) for t in range(7)]]
            expected = system.generator.frames(whole.predictors[number](source))
            torch.testing.assert_close(system(given).betas, expected.betas, atol=1e-5, rtol=1e-5)


def test_training_rows(made, given) -> None:
    system = made()
    with torch.no_grad():
        output = system(given)
        trained = system.forward_train(SimpleNamespace(features=given))
        predicted, _ = system.predict_features(given)
    torch.testing.assert_close(trained.betas, output.betas)
    rows = trained.aux["predicted"]
    assert rows.rotmat.shape == (2, 7 * 5, 24, 3, 3)
    assert trained.aux["log_variance"].shape == (2, 7, 5)
    with torch.no_grad():
        one = system.generator.frames(predicted[:, 4, 1:2])
    torch.testing.assert_close(rows.betas[:, 4 * 5 + 1], one.betas[:, 0])


@pytest.mark.parametrize("case", ["catfa", "catfa-gru", "catfa-tcn"])
def test_the_second_loss_trains_the_second_generator_alone(made, given, case) -> None:
    """Section III.F; a GRU's or convolution's weights belong to the second loss."""
    system = made(**VARIANTS[case]).train()
    trained = system.forward_train(SimpleNamespace(features=given))
    trained.rotmat.sum().backward(retain_graph=True)
    own = {name for name, value in system.named_parameters() if value.grad is not None}
    assert {name.split(".")[0] for name in own} == {"regressor"} | (
        {"sequence"} if case != "catfa" else set()
    )
    system.zero_grad()
    predicted = trained.aux["predicted"]
    error = predicted.rotmat.square().mean((2, 3, 4)) + predicted.betas.square().mean(-1)
    s = trained.aux["log_variance"]
    (error.reshape(2, 7, 5) / s.exp() + s)[:, trained.aux["valid"]].mean().backward()
    touched = {name.split(".")[0] for name, value in system.named_parameters() if value.grad is not None}
    assert touched == {"predictors", "variance", "generator"}


def test_log_variance_is_clamped(made, given) -> None:
    system = made()
    with torch.no_grad():
        system.variance.fc2.bias += 1e4
        output = system(given)
    assert (output.aux["log_variance"] == LIMIT).all()
    assert torch.isfinite(output.rotmat).all()


@pytest.mark.parametrize("distances", PAPER_SETS, ids=str)
def test_the_papers_sets_of_predictors(made, given, distances) -> None:
    system = made(distances=distances)
    assert len(system.predictors) == len(distances)
    with torch.no_grad():
        output = system(given)
        alone = system(given[:, :1])
    torch.testing.assert_close(output.aux["weights"].sum(-1), torch.ones(2, 7))
    assert output.betas.shape == (2, 7, 10)
    assert alone.aux["weights"][0, 0].tolist() == [float(d == 0) for d in distances]


@pytest.mark.parametrize("distances", [[1, -1], [-2], [3, 2]], ids=str)
@pytest.mark.parametrize("aggregation", ["adaptive", "mean", "gru", "tcn"])
def test_a_set_without_the_frame_itself(made, given, distances, aggregation) -> None:
    """A frame none of whose neighbours lies in the window is predicted from the nearest frame, for every distance."""
    system = made(distances=distances, aggregation=aggregation)
    with torch.no_grad():
        output = system(given)
        predicted, valid = system.predict_features(given)
    assert torch.isfinite(output.rotmat).all()
    torch.testing.assert_close(output.aux["weights"].sum(-1), torch.ones(2, 7))
    for t in range(7):
        inside = [0 <= t + d < 7 for d in distances]
        assert valid[t].tolist() == (inside if any(inside) else [True] * len(distances))
        for number, d in enumerate(distances):
            made_of = given[:, min(max(t + d, 0), 6)]
            torch.testing.assert_close(predicted[:, t, number], system.predictors[number](made_of))


def test_mean_and_equal_weights_are_the_same(made, given) -> None:
    with torch.no_grad():
        mean, equal = made(aggregation="mean")(given), made(aggregation="equal")(given)
    torch.testing.assert_close(mean.betas, equal.betas, atol=0, rtol=0)


def test_parameter_count() -> None:
    width, regressor = 2048, 3469469
    predictor = 3 * (width * width + width)
    variance = (2 * width * width + width) + (width * 1024 + 1024) + 1025
    for distances in ([2, 1, 0, -1, -2], [1, 0, -1]):
        with torch.device("meta"):
            count = sum(p.numel() for p in Catfa(distances=distances).parameters())
        assert count == len(distances) * predictor + variance + 2 * regressor


def test_wrong_options_are_refused() -> None:
    for distances in ([], [0, 0, 1]):
        with pytest.raises(UsageError, match="give at least one, each once"):
            Catfa(distances=distances)
    with pytest.raises(UsageError, match="aggregation='max' is not one of adaptive, equal, mean, gru, tcn"):
        Catfa(aggregation="max")
    with pytest.raises(UsageError, match="single=3 is not one of the distances"):
        Catfa(single=3)


def test_own_checkpoints_keep_their_options(tmp_path, made, given) -> None:
    system = made(distances=(3, 0, -2), aggregation="gru")
    loaded = load_system(save_checkpoint(system, tmp_path / "a.safetensors"))
    assert loaded.options == system.options
    with torch.no_grad():
        torch.testing.assert_close(loaded(given).rotmat, system(given).rotmat)
