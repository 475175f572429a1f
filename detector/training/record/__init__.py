"""What a run keeps in its folder: last.pt, its numbers epoch by epoch, a picture of what it trains on."""
