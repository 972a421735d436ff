"""The dossier: one document for those who must argue that what runs is what was trained and checked."""
