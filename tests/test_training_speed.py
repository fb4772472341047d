"""The benchmark of training: how the ratio is computed, what is recorded, and what is said without a record."""

import json

import pytest

from tools import training_speed
from vae_utils import load_mnist

# The example ends at 150 after five epochs of 10 s; ours is at 149 after 4 s and at 148 after 6 s.
USUAL = {"losses": [200.0, 170.0, 160.0, 155.0, 150.0], "seconds": [12.0, 10.0, 9.0, 9.0, 10.0]}
OURS = [{"seconds": seconds, "loss": loss, "recipe": {"train_images": 300}} for seconds, loss in ((4, 149), (6, 148))]


def test_the_ratio_is_that_of_the_seconds_to_the_examples_own_final_loss():
    result = training_speed.compare(USUAL, OURS, pace=None)
    assert (result["target_loss"], result["usual_epochs"], result["usual_seconds"]) == (150.0, 5, 50.0)
    assert (result["our_digits"], result["our_seconds"], result["our_loss"]) == (300, 5, 149)
    assert result["ratio"] == 10.0


def test_with_a_new_pace_the_losses_are_the_recorded_ones():
    result = training_speed.compare(USUAL, OURS, pace=[7.0, 9.0])
    assert (result["usual_epochs"], result["usual_seconds"], result["ratio"]) == (5, 40.0, 8.0)


def test_the_example_is_not_charged_for_epochs_after_it_was_there():
    usual = {**USUAL, "losses": [200.0, 170.0, 150.0, 149.0, 150.0]}
    assert training_speed.compare(usual, OURS, pace=None)["usual_seconds"] == 31.0
    assert training_speed.compare(usual, OURS, pace=[10.0])["usual_seconds"] == 30.0


def test_a_run_that_does_not_reach_the_loss_has_no_ratio():
    with pytest.raises(ValueError, match="train for longer"):
        training_speed.compare(USUAL, [*OURS, {"seconds": 1, "loss": 150.1, "recipe": {}}], pace=None)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The benchmark on 300 digits, with a record of its own."""
    (x, y), (x_test, y_test) = load_mnist(limit=300)
    monkeypatch.setattr(training_speed, "load_mnist", lambda: ((x, y), (x_test[:100], y_test[:100])))
    monkeypatch.setattr(training_speed, "RECORD_PATH", tmp_path / "record.json")
    monkeypatch.setattr(training_speed, "USUAL_EPOCHS", 1)
    monkeypatch.setattr(training_speed, "OUR_BATCH_SIZE", 10)
    monkeypatch.setattr(training_speed, "OUR_RUNS", 2)
    monkeypatch.setattr(training_speed, "time_overhead", lambda x: (1.0, 2.0))

    def run(*options):
        monkeypatch.setattr("sys.argv", ["bench", *options])
        training_speed.main()
        return json.loads(training_speed.RECORD_PATH.read_text())

    return run


def test_without_a_recorded_curve_the_benchmark_says_how_to_get_one(small, capsys):
    with pytest.raises(SystemExit):
        small("--record")
    assert "--full --record" in capsys.readouterr().err


@pytest.mark.slow
def test_a_full_run_records_both_curves_and_the_next_one_measures_the_pace_again(small, capsys):
    full = small("--full", "--record")
    assert len(full["usual"]["losses"]) == len(full["usual"]["seconds"]) == 1 and full["usual_pace"] is None
    assert len(full["ours"]) == 2 and len({run["loss"] for run in full["ours"]}) == 1
    for run in full["ours"]:
        assert run["recipe"]["batch_size"] == 10 and run["digits_seen"][-1] == 300
        assert len(run["digits_seen"]) == len(run["training_losses"])
    assert full["target_loss"] == full["usual"]["losses"][-1] >= full["our_loss"]
    assert full["fit_over_bare_step"] == 0.5
    capsys.readouterr()

    short = small("--record")
    assert short["usual"] == full["usual"] and len(short["usual_pace"]) == training_speed.PACE_EPOCHS
    assert "measured earlier" in capsys.readouterr().out


def test_what_was_measured_for_long_survives_a_run_that_does_not_reach_it(small, monkeypatch):
    monkeypatch.setattr(training_speed, "time_ours", lambda x, x_test: {"loss": 999.0, "seconds": 1.0})
    with pytest.raises(ValueError, match="train for longer"):
        small("--full", "--record")
    assert len(json.loads(training_speed.RECORD_PATH.read_text())["usual"]["losses"]) == 1


def test_the_overhead_compares_the_same_steps():
    fit, bare = training_speed.time_overhead(load_mnist(limit=2560)[0][0], epochs=1)
    assert 0 < fit < 100 * bare and 0 < bare < 100 * fit
