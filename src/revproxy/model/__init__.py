"""The values everything else speaks in: frozen, valid by construction, free of I/O."""
