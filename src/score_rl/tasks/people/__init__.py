"""People at the controls: what demonstrators of all tasks share."""
