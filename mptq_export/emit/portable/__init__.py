"""The portable form: the conventional QDQ graph that compilers recognise, as the table of a target says."""
