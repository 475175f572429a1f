"""What can be set, the presets, and the preset that follows from the data. `config` and `presets` import no torch."""
