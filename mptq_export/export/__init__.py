"""From a request to the files of an export: the plan, the stages in order, what is refused, what is written."""
