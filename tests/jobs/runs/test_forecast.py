"""What a training would do."""

from bitface.jobs.runs.forecast import Forecast
from bitface.training.trial import Trial, trial
from support.training import trainee
from training.test_loop import SHORT, state


def test_a_trial_leaves_everything_as_it_was() -> None:
    one = trainee(SHORT)
    before = {key: value.clone() for key, value in state(one).items()}
    told = trial(one, SHORT)
    assert (told.steps, told.device, told.precision) == (15, "cpu", "f32")
    assert told.step_seconds > 0
    assert told.bytes > 10_000_000
    assert all(value.equal(before[key]) for key, value in state(one).items())
    assert trial(one, SHORT, minutes=1e-9).steps == 1


def test_what_is_said() -> None:
    told = Forecast("w4a4", 5000, 12, 4.0, 64, 120.0, Trial(300, 0.5, 2_500_000_000, "cpu", "bf16"))
    assert str(told) == (
        "would train w4a4 on 5,000 faces of 12 people: 300 steps of 64 images, 4 epochs, on cpu in bf16\n"
        "about 4.5 minutes after the calibration: 2.0 for what the teacher embeds once, 0.5 s for a step "
        "(128 images/s)\n2.5 GB of memory at the peak of the trial"
    )
