from score_rl.core.errors import ScoreError, unknown_choice


def test_unknown_choice_names_the_value_the_choices_and_the_nearest():
    error = unknown_choice("task", "pinch_cub", ["door", "pinch_cube"])
    assert isinstance(error, ScoreError) and isinstance(error, ValueError)
    assert str(error) == "unknown task 'pinch_cub'; did you mean 'pinch_cube'? Choices: door, pinch_cube"


def test_unknown_choice_without_anything_near_suggests_nothing():
    assert str(unknown_choice("task", "zzz", ["door"])) == "unknown task 'zzz'; Choices: door"
    assert "Choices: (none)" in str(unknown_choice("task", "zzz", []))
