"""What each runtime takes, as data, and the form of the file that follows from it."""
