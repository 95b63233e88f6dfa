"""The part that is the paper: anchors, assignment, coding, losses, criterion, decoding."""
