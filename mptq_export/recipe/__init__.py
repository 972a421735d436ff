"""Everything that was decided about an export, in a form that can be stored, read and replayed."""
