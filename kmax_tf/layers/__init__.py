"""The few blocks that several rooms share."""
