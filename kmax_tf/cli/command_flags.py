"""Flags that several commands share."""

from absl import flags

from protos.text_files import expand_home


class _PathParser(flags.ArgumentParser):
    """A path in which `~` is the home directory."""

    syntactic_help = "a path; ~ is the home directory"

    def parse(self, argument: str) -> str:
        return expand_home(argument)

    def flag_type(self) -> str:
        return "path"


def define_path(name: str, help_text: str, *, default: str | None = None, required: bool = False) -> flags.FlagHolder[str]:
    """Defines a flag that names a file or folder, and expands `~` in its value."""
    return flags.DEFINE(_PathParser(), name, default, help_text, serializer=flags.ArgumentSerializer(), required=required)


def define_paths(name: str, help_text: str, *, required: bool = False) -> flags.FlagHolder[list[str]]:
    """Defines a flag that names a file or folder and can be repeated."""
    return flags.DEFINE_multi(_PathParser(), flags.ArgumentSerializer(), name, None, help_text, required=required)


def define_config_flags(
    *, required: bool = True, help_text: str = "Path of the experiment config, in the text format of protos/experiment.proto."
) -> None:
    """Defines --config_file and --override."""
    define_path("config_file", help_text, required=required)
    flags.DEFINE_multi_string("override", [], "path.of.field=value sets a field of the config; write lists as [a,b].")
