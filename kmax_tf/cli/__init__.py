"""What all commands share: flags, and errors that become one line and an exit code."""
