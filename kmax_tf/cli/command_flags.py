"""Flags that several commands have."""

from absl import flags

from protos.paths import expand_home


class _PathParser(flags.ArgumentParser):
    """A path in which `~` is the home directory."""

    syntactic_help = "a path; ~ is the home directory"

    def parse(self, argument: str) -> str:
        return expand_home(argument)

    def flag_type(self) -> str:
        return "path"


def define_path(name: str, help_text: str, *, default: str | None = None, required: bool = False) -> flags.FlagHolder[str]:
    """Defines a flag that names a file or folder; its value has no `~` left."""
    return flags.DEFINE(_PathParser(), name, default, help_text, serializer=flags.ArgumentSerializer(), required=required)


def define_paths(name: str, help_text: str, *, required: bool = False) -> flags.FlagHolder[list[str]]:
    """Defines a flag that names a file or folder and can be repeated."""
    return flags.DEFINE_multi(_PathParser(), flags.ArgumentSerializer(), name, None, help_text, required=required)


def define_config_flags(
    *, required: bool = True, help_text: str = "The experiment, a text file of protos/experiment.proto."
) -> None:
    """Defines --config_file and --override."""
    define_path("config_file", help_text, required=required)
    flags.DEFINE_multi_string("override", [], "field.path=value, changes a field of the config; [a,b] for lists.")
