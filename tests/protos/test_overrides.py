import pytest

from protos import experiment_pb2
from protos.descriptions import ConfigError
from protos.overrides import apply_overrides


def applied(*overrides):
    config = experiment_pb2.ExperimentOptions()
    config.train_dataset_options.crop_size.extend([641, 641])
    config.train_dataset_options.batch_size = 64
    apply_overrides(config, overrides)
    return config


def test_values_of_every_type():
    config = applied(
        "trainer_options.solver_options.training_number_of_steps=100",
        "trainer_options.solver_options.base_learning_rate=5e-4",
        "trainer_options.deterministic=true",
        "trainer_options.mixed_precision=BFLOAT16",
        "trainer_options.seed=4294967296",
        "evaluator_options.eval_steps = -1",
    )
    trainer = config.trainer_options
    assert trainer.solver_options.training_number_of_steps == 100
    assert trainer.solver_options.base_learning_rate == pytest.approx(5e-4)
    assert trainer.deterministic is True
    assert trainer.mixed_precision == trainer.BFLOAT16
    assert trainer.seed == 2**32
    assert config.evaluator_options.eval_steps == -1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("my run", "my run"),
        ('"my run"', "my run"),
        ("'it'", "it"),
        ("a=b", "a=b"),
        ('say "hi"', 'say "hi"'),
        ("ü\\d", "ü\\d"),
        ("", ""),
    ],
)
def test_strings_need_no_quotes(text, expected):
    assert applied(f"experiment_name={text}").experiment_name == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[129, 193]", [129, 193]),
        ("[129,193]", [129, 193]),
        ("129", [129]),
        ("[]", []),
    ],
)
def test_lists_replace_numbers(text, expected):
    assert list(applied(f"train_dataset_options.crop_size={text}").train_dataset_options.crop_size) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data/a-*.tfrecord", ["data/a-*.tfrecord"]),
        ("[a-*, b-*]", ["a-*", "b-*"]),
        ('["a,1", b]', ["a,1", "b"]),
        ("[ab]-*", ["[ab]-*"]),
        ("[]", []),
    ],
)
def test_lists_replace_strings(text, expected):
    assert list(applied(f"train_dataset_options.file_pattern={text}").train_dataset_options.file_pattern) == expected


def test_messages_merge():
    options = applied("train_dataset_options={batch_size: 8}").train_dataset_options
    assert options.batch_size == 8
    assert list(options.crop_size) == [641, 641]


def test_empty_message_is_present():
    losses = applied("trainer_options.loss_options.pq_style_loss={}").trainer_options.loss_options
    assert losses.HasField("pq_style_loss") and not losses.HasField("semantic_loss")


def test_list_of_messages_is_replaced():
    path = "model_options.max_deeplab.auxiliary_low_level"
    levels = applied(f'{path}={{feature_key: "res3"}}', f'{path}=[{{feature_key: "res2" channels_project: 3}}]')
    assert [(x.feature_key, x.channels_project) for x in levels.model_options.max_deeplab.auxiliary_low_level] == [("res2", 3)]


def test_the_last_override_wins():
    assert (
        applied("train_dataset_options.batch_size=1", "train_dataset_options.batch_size=2").train_dataset_options.batch_size
        == 2
    )


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("experiment_name", "must have the form path.of.field=value"),
        ("=3", "must have the form path.of.field=value"),
        ("trainer_option.seed=3", 'ExperimentOptions has no field "trainer_option"; did you mean "trainer_options.seed"?'),
        ("seed=3", 'did you mean "trainer_options.seed"?'),
        (
            "batch_size=2",
            'no field "batch_size"; did you mean "train_dataset_options.batch_size" or "eval_dataset_options.batch_size"?',
        ),
        ("batch_sze=2", 'no field "batch_sze"; did you mean "train_dataset_options.batch_size" or "eval_dataset'),
        ("trainer_options.sed=3", 'TrainerOptions has no field "sed"; did you mean "seed"?'),
        ("trainer_options.zzz=3", 'TrainerOptions has no field "zzz"; its fields are num_checkpoints_to_keep,'),
        ("trainer_options.seed.x=3", "seed is a single value and has no fields"),
        ("trainer_options.seed=many", "seed: Couldn't parse integer: many"),
        ("trainer_options.seed=", "seed: Couldn't parse integer"),
        ("trainer_options.seed=1 accumulate_steps: 2", "the value also sets accumulate_steps; write one override per field"),
        ("trainer_options.mixed_precision=FLOAT16", 'FLOAT16 is not one of FLOAT32, BFLOAT16; did you mean "BFLOAT16"?'),
        ("trainer_options.deterministic=maybe", 'deterministic: Expected "true" or "false"'),
        ("trainer_options=3", "trainer_options: Expected"),
        ("model_options.max_deeplab.auxiliary_low_level.feature_key=res2", "auxiliary_low_level is a list of messages"),
    ],
)
def test_errors_name_the_override_and_suggest_a_correction(override, expected):
    with pytest.raises(ConfigError) as error:
        applied(override)
    assert str(error.value).startswith(f"override {override!r}: ")
    assert expected in str(error.value)
